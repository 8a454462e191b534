"""Every kind of signed evidence there is a recording of, and what the verifier says of it: the page `verification.md`.

A row is a format, a signer and a witness; its evidence was made by real tools, or is such evidence with a part of it
left out or written as an older version writes it. The three answers are by what the authority's `transparencyLog` asks.
"""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.model.evidence import Artifact
from controller.model.policy import Authority, Need
from controller.model.reference import Digest
from controller.policy.parse import parse_policy
from tests.support.fixtures import RECORDED_LEGACY, RecordedBundle, recorded_bundles, recorded_layers
from tests.support.pipeline import policy
from tests.unit.verification import own_ca
from tests.unit.verification.evidence import ROOTS, artifact, authority_for, judge
from tests.unit.verification.legacy import layer_artifact, layer_authority, root_of

CONTENTS = {"dsse": "statement (DSSE)", "messageSignature": "message signature"}
OLD = "application/vnd.dev.sigstore.bundle+json;version=0."
SIGNERS = {"": "Fulcio certificate", "ed25519ph": "key, Ed25519ph", "ed25519": "key, Ed25519", "rsa-3072": "key, RSA"}
OWN_CA = "own CA's certificate, expired since"
WITNESSES = {
    "none": "none",
    "timestamp": "timestamp",
    "rekor1": "Rekor v1",
    "rekor1+timestamp": "Rekor v1, timestamp",
    "rekor2": "Rekor v2",
    "rekor2+timestamp": "Rekor v2, timestamp",
}
UNSUPPORTED = {
    "KMS key": {"kms": {"uri": "awskms:///alias/release"}},
    "Notation": {"notation": {"trustRootRef": {"name": "acme"}, "identities": ["x509.subject: O=Acme"]}},
}


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of evidence: what it is in words, and how it is put to the verifier."""

    format: str
    signer: str
    witness: str
    evidence: Artifact
    image: Digest
    authority: Authority
    roots: Mapping[str, Any]

    @property
    def kind(self) -> tuple[str, str, str]:
        """What tells rows apart."""
        return (self.format, self.signer, self.witness)

    def answer(self, log: Need) -> str:
        """What the verifier says where the authority's `transparencyLog` is this."""
        asked = dataclasses.replace(self.authority, transparency_log=log)
        found = judge(self.evidence, asked, image=self.image, roots=self.roots)
        if found.signatures or found.attestations:
            return "verified"
        (rejection,) = found.rejections
        return f"not supported (Error): `{rejection.code}`" if rejection.unjudged else f"refused: `{rejection.code}`"


def rows() -> list[Row]:
    """Every row once, in the order of the page."""
    unique: dict[tuple[str, str, str], Row] = {}
    for row in (*_bundles(), *_derived(), *_layers(), *_own_ca()):
        unique.setdefault(row.kind, row)
    return sorted(unique.values(), key=lambda row: row.kind)


def _bundles() -> Iterator[Row]:
    for bundle in recorded_bundles():
        if bundle.purpose != "blob":
            yield _row(bundle, bundle.parsed(), "v0.3", WITNESSES[bundle.log])
    for name, witness in (
        ("both", "Rekor v1 and v2, timestamp"),
        ("hashedrekord", "Rekor v1 (`hashedrekord`), timestamp"),
    ):
        for who in ("release", "workflow"):
            parsed = json.loads((RECORDED_LEGACY / "bundles" / f"{who}.{name}.signature.json").read_bytes())
            layer = next(layer for layer in recorded_layers() if layer.name == f"{who}.rekor1.signature")
            signer = _signer(layer.key, layer.key_type)
            kind = f"bundle v0.3, {CONTENTS['dsse']}"
            image, authority = Digest.parse(layer.digest), layer_authority(layer)
            yield Row(kind, signer, witness, artifact(parsed), image, authority, {"legacy": root_of(layer)})


def _derived() -> Iterator[Row]:
    """The recorded bundles as versions 0.1 and 0.2 write them, and with a part of the witness left out."""
    for bundle in recorded_bundles():
        if bundle.purpose == "blob" or not bundle.log.startswith("rekor"):
            continue
        for minor in (1, 2):
            parsed = bundle.parsed()
            parsed["mediaType"] = f"{OLD}{minor}"
            material = parsed["verificationMaterial"]
            if "certificate" in material:
                material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
            yield _row(bundle, parsed, f"v0.{minor}", WITNESSES[bundle.log])
            if bundle.log == "rekor1":
                yield _row(bundle, _without(parsed, "inclusionProof"), f"v0.{minor}", "Rekor v1 (promise alone)")
        parsed = bundle.parsed()
        if bundle.log == "rekor1":
            yield _row(bundle, _without(parsed, "inclusionProof"), "v0.3", "Rekor v1 (promise alone)")
            yield _row(bundle, _without(parsed, "inclusionPromise"), "v0.3", "Rekor v1 (inclusion proof alone)")
        if bundle.log == "rekor2+timestamp":
            parsed["verificationMaterial"].pop("timestampVerificationData")
            yield _row(bundle, parsed, "v0.3", WITNESSES["rekor2"])


def _layers() -> Iterator[Row]:
    for layer in recorded_layers():
        if layer.name.startswith("another-image"):
            continue
        kind = "`.sig` layer (simple signing)" if layer.purpose == "signature" else "`.att` layer (DSSE)"
        witness = WITNESSES[layer.log] + (f" (`{layer.entry.partition('/')[0]}`)" if layer.entry else "")
        signer = _signer(layer.key, layer.key_type)
        image, authority = Digest.parse(layer.digest), layer_authority(layer)
        yield Row(kind, signer, witness, layer_artifact(layer), image, authority, {"legacy": root_of(layer)})


def _own_ca() -> Iterator[Row]:
    """What is signed with a certificate of one's own CA, after that certificate has expired."""
    for name in own_ca.ROWS:
        form, _, log = name.partition(".")
        formats = {"`.sig` layer (simple signing)": ""}
        if form == "bundle":
            formats = {f"bundle v0.3, {CONTENTS['dsse']}": "", f"bundle v0.2, {CONTENTS['dsse']}": f"{OLD}2"}
        for kind, version in formats.items():
            evidence, image = own_ca.found(name, version=version), Digest.parse(own_ca.ROWS[name]["digest"])
            yield Row(kind, OWN_CA, WITNESSES[log], evidence, image, own_ca.authority(), {"main": own_ca.ROOT})


def _row(bundle: RecordedBundle, parsed: dict[str, Any], version: str, witness: str) -> Row:
    kind = f"bundle {version}, {CONTENTS[bundle.content]}"
    signer = _signer(bundle.key, bundle.key_type)
    return Row(kind, signer, witness, artifact(parsed), Digest.parse(bundle.digest), authority_for(bundle), ROOTS)


def _without(parsed: dict[str, Any], part: str) -> dict[str, Any]:
    changed = copy.deepcopy(parsed)
    for entry in changed["verificationMaterial"]["tlogEntries"]:
        entry.pop(part, None)
    return changed


def _signer(key: str, key_type: str) -> str:
    return SIGNERS.get(
        key_type if key else "", f"key, ECDSA {key_type.removeprefix('ecdsa-').upper().replace('P', 'P-')}"
    )


def unsupported() -> list[tuple[str, str]]:
    """Kinds of authorities that a policy may name and this version does not carry out, each with the policy's error."""
    found = []
    for kind, given in UNSUPPORTED.items():
        spec = {"authorities": [{"name": "signer", **given}], "signatures": {"authorities": ["signer"]}}
        problems = parse_policy(policy("unsupported", **spec)).problems
        codes = sorted({problem.code for problem in problems})
        found.append((kind, ", ".join(f"`{code}`" for code in codes)))
    return found


def page() -> str:
    """The tables, as Markdown."""
    lines = [
        "| format | signed with | witness | `Required` | `Optional` | `Ignore` |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows():
        answers = (row.answer(log) for log in (Need.REQUIRED, Need.OPTIONAL, Need.IGNORE))
        lines.append(f"| {row.format} | {row.signer} | {row.witness} | {' | '.join(answers)} |")
    lines += ["", "| authority | whatever the format and witness |", "| --- | --- |"]
    lines += [f"| {kind} | not supported (Error): {codes} |" for kind, codes in unsupported()]
    return "\n".join(lines)
