"""A recorded verdict's proofs, made again from the stored bytes alone: no registry, no cluster, no clock.

What an auditor asks a year later is not whether Assay said that it had verified something, but whether it holds. So
each proof of a leaf is made anew by today's code from the artefact, the policy, the keys and the trust roots that the
record names by hash, for the moment of the decision. Every byte is hashed before it is used.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from controller.errors import AssayError, Unacceptable, Unavailable
from controller.model.evidence import Artifact, ArtifactKind, VerifiedEvidence
from controller.model.exception import EvidenceException
from controller.model.policy import Authority, Policy, Problem, TrustRoot
from controller.model.reference import Digest, Reference
from controller.policy.exception_index import ExceptionIndex
from controller.policy.exceptions import parse_exception
from controller.policy.kinds import API_VERSION, EXCEPTION, TRUST_ROOT
from controller.policy.parse import parse_policy
from controller.policy.trust import parse_trust_root
from controller.review.exceptions import known_to_run
from controller.review.leaf import exception_record, proof_record
from controller.settings import DocumentSettings, ExceptionSettings, Seconds
from controller.verification.verifier import verify

Blob = Callable[[str], bytes | None]
"""(`sha256:…`): the stored bytes of that digest, None where there are none."""

_TOLD = ("artifact", "location", "authority", "signer", "logEntry", "signedAt")
"""What must come out again. The sentences of `steps` are not among it: another version may put them better."""
_IMPOSSIBLE, _MISSING = "ReplayImpossible", "BytesMissing"
_UNBOUNDED = ExceptionSettings(exception_max_duration=Seconds("inf"))
"""The longest end that may be granted was another setting then, and is no part of the record."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One proof of the record, made again, or one exception that was used, applied again.

    `trouble`: why it could not be, or what came out instead; empty if it holds. `untold`: that is no word about the
    proof, which could not be made again here. `recorded` is the proof or exception as it stands in the leaf; `steps`
    are those of today's proof.
    """

    policy: str
    image: str
    recorded: Mapping[str, Any]
    trouble: str
    steps: tuple[str, ...]
    untold: bool = False

    @property
    def holds(self) -> bool:
        """Whether it holds."""
        return not self.trouble


def replay(leaf: Mapping[str, Any], blob: Blob, *, limits: DocumentSettings, digest: str = "") -> list[Replayed]:
    """Every proof and every exception of the leaf, made again; with `digest` those about that image alone.

    Raises nothing for what the bytes hold: that is in `trouble`.
    """
    decided = datetime.fromisoformat(leaf["decidedAt"])
    found: list[Replayed] = []
    for evaluation in leaf["evaluations"]:
        image = leaf["images"][evaluation["image"]]
        recorded = [*evaluation["signatures"], *evaluation["attestations"]]
        if digest and image["digest"] != digest:
            continue
        policy = "/".join(filter(None, (evaluation["policy"][name] for name in ("kind", "namespace", "name"))))
        about = evaluation.get("child", image)["digest"]
        for exception in evaluation.get("exceptions", ()):
            try:
                trouble, untold = _void(exception, leaf, evaluation, blob, decided), False
            except AssayError as exc:
                trouble, untold = f"{exc.code}: {exc.message}", _is_untold(exc)
            found.append(Replayed(policy, about or image["reference"], exception, trouble, (), untold))
        if not recorded:
            continue
        try:
            proven = list(_records(_again(evaluation, Digest.parse(about), blob, decided, limits)))
        except AssayError as exc:
            trouble, untold = f"{exc.code}: {exc.message}", _is_untold(exc)
            found.extend(Replayed(policy, about, proof, trouble, (), untold) for proof in recorded)
            continue
        for proof in recorded:
            same = next((made for made in proven if _same(made, proof)), None)
            trouble = "" if same else "the stored bytes no longer prove it"
            found.append(Replayed(policy, about, proof, trouble, tuple(same["steps"]) if same else ()))
    return found


def _is_untold(exc: AssayError) -> bool:
    """Whether this says nothing of a proof but that it cannot be made here: what it rests on is not to be had, or this
    version reads it in another way."""
    return isinstance(exc, Unavailable) or exc.code in {_IMPOSSIBLE, _MISSING}


def _void(
    recorded: Mapping[str, Any], leaf: Mapping[str, Any], evaluation: Mapping[str, Any], blob: Blob, decided: datetime
) -> str:
    """Why the exception, as it is stored, does not except the image from the policy at that time; empty if it does.
    Raises `AssayError` where that cannot be looked at."""
    image, named = leaf["images"][evaluation["image"]], evaluation["policy"]
    spec = json.loads(_read(blob, recorded["hash"]))["spec"]
    obj = {"apiVersion": API_VERSION, "kind": EXCEPTION, "metadata": {"name": recorded["name"]}, "spec": spec}
    exception = parse_exception(obj, claimed=recorded["claimed"])
    if not isinstance(exception, EvidenceException) or exception_record(exception) != recorded:
        return "the stored bytes say something else than the record"
    texts = (image["digest"], evaluation.get("child", {}).get("digest"))
    digests = known_to_run(
        *(Digest.parse(text) for text in texts if text),
        causes=((reason["rule"], reason["code"]) for reason in evaluation["reasons"]),
    )
    applying = ExceptionIndex([exception], settings=_UNBOUNDED).applying(
        (named["kind"], named["namespace"], named["name"]),
        name=Reference.parse(image["reference"]).name,
        digests=digests,
        namespace=leaf["request"]["namespace"],
        now=decided,
    )
    return "" if applying else "what is stored does not except this image from this policy at that time"


def _again(
    evaluation: Mapping[str, Any], image: Digest, blob: Blob, decided: datetime, limits: DocumentSettings
) -> VerifiedEvidence:
    """What the stored bytes prove. Raises `AssayError` where they are not there, or not what they were."""
    if "artifacts" not in evaluation:
        raise Unacceptable("ReplayImpossible", "the record does not say as what its evidence was found")
    policy = _policy(evaluation, blob)
    roots = [_root(name, digest, blob) for name, digest in evaluation["used"]["trustRoots"].items()]
    artifacts = [
        Artifact(
            ArtifactKind(found["kind"]),
            found["mediaType"],
            _read(blob, found["artifact"]),
            Digest.parse(found["artifact"]),
            found["location"],
            tuple(found["annotations"].items()),
        )
        for found in evaluation["artifacts"]
    ]
    return verify(
        image,
        artifacts,
        authorities=[_with_keys(authority, evaluation["used"], blob) for authority in policy.spec.authorities],
        trust_roots={root.name: root for root in roots},
        now=decided,
        limits=limits,
        cryptography=policy.spec.cryptography,
    )


def _policy(evaluation: Mapping[str, Any], blob: Blob) -> Policy:
    identity = evaluation["policy"]
    written = json.loads(_read(blob, identity["hash"]))
    metadata = {"name": identity["name"], "namespace": identity["namespace"] or None}
    obj = {"apiVersion": API_VERSION, "kind": identity["kind"], "metadata": metadata, "spec": written["spec"]}
    policy = parse_policy(obj)
    if policy.identity.hash != identity["hash"]:
        raise Unacceptable("ReplayImpossible", f"this version reads policy {identity['name']} in another way")
    return policy


def _root(name: str, digest: str, blob: Blob) -> TrustRoot:
    content = _read(blob, digest)
    try:
        value = json.loads(content)
        spec = {"trustedRoot": content.decode()} if "mediaType" in value else value
    except (ValueError, TypeError):
        # What stood in for a root that could not be had: what needed it was not proven, and other proofs needed none.
        return TrustRoot(name, content, digest, Problem("ReplayImpossible", "", "could not be had then"))
    found = parse_trust_root({"apiVersion": API_VERSION, "kind": TRUST_ROOT, "metadata": {"name": name}, "spec": spec})
    if isinstance(found, tuple) or found.hash != digest:
        raise Unacceptable("ReplayImpossible", f"trust root {name} was not one to judge by")
    return found


def _with_keys(authority: Authority, used: Mapping[str, Any], blob: Blob) -> Authority:
    """The authority with what its reference led to then."""
    key, certificate = authority.key, authority.certificate
    if key is not None and key.secret is not None:
        pems = (_pem(_read(blob, fingerprint)) for fingerprint in used["keys"].get(authority.name, ()))
        return dataclasses.replace(authority, key=dataclasses.replace(key, pem="".join(pems)))
    if certificate is not None and certificate.secret is not None and authority.name in used["chains"]:
        chain = _read(blob, used["chains"][authority.name]).decode()
        return dataclasses.replace(authority, certificate=dataclasses.replace(certificate, chain=chain))
    return authority


def _pem(der: bytes) -> str:
    return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _read(blob: Blob, digest: str) -> bytes:
    content = blob(digest)
    if content is None:
        raise Unacceptable("BytesMissing", f"{digest} is not stored")
    if str(Digest.of(content)) != digest:
        raise Unacceptable("BytesAltered", f"what is stored as {digest} has another digest")
    return content


def _records(evidence: VerifiedEvidence) -> Iterator[dict[str, Any]]:
    for signature in evidence.signatures:
        yield proof_record(signature.proof)
    for attestation in evidence.attestations:
        about = {"predicateType": attestation.predicate_type, "statement": str(attestation.statement)}
        yield about | proof_record(attestation.proof)


def _same(made: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    names = (*_TOLD, "predicateType", "statement")
    return all(made.get(name) == recorded.get(name) for name in names)
