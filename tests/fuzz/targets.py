"""What is fuzzed: each reader of strangers' bytes, real bytes to begin with, and what must hold of any bytes at all.

Of every reader: nothing but its own named failure comes out. Of the verifier: what comes out is by one of the recorded
signers over bytes that this signer did sign, and never about another digest.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import functools
import hashlib
import ipaddress
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from controller import documents
from controller.documents import image_config
from controller.errors import InputError, Unacceptable
from controller.model.access import parse_docker_config
from controller.model.evidence import Artifact, ArtifactKind, VerifiedEvidence
from controller.model.image import ConfigBlob
from controller.model.policy import Authority, CertificateAuthority, CertificateIdentity, Cryptography, Need, TrustRoot
from controller.model.reference import Digest
from controller.policy.cel.shown import as_json
from controller.policy.cel.values import to_cel
from controller.registry.challenges import parse_challenges
from controller.registry.manifests import OCI_INDEX, OCI_MANIFEST, parse_manifest
from controller.settings import DocumentSettings
from controller.verification import legacy, strict_json
from controller.verification.bundle import Bundle, Content, Envelope, MessageSignature, parse_bundle, parse_envelope
from controller.verification.certificates import load_certificate
from controller.verification.failures import EvidenceFailure
from controller.verification.fulcio import signer_of
from controller.verification.keys import checked_key, load_public_key
from controller.verification.signatures import signed_bytes
from controller.verification.simple_signing import check_payload
from controller.verification.statement import read_statement
from controller.verification.transparency import Verifier, verify_entries
from controller.verification.trust import parse_root
from controller.verification.verifier import verify
from tests.contract.registry_servers.scripted import descriptor, encoded
from tests.support.authorities import WHO, Ca, new_ca
from tests.support.fixtures import (
    CHECKOUT,
    RecordedLayer,
    recorded_bundle,
    recorded_bundles,
    recorded_layer,
    recorded_layers,
    recorded_manifest,
)
from tests.support.own_log import OwnLog
from tests.unit.documents.predicates import look_through
from tests.unit.verification.evidence import IMAGE, NOW, ROOTS, Signer, artifact, authority_for, b64, statement
from tests.unit.verification.legacy import LEGACY_ROOT, layer_artifact, layer_authority

LIMITS = DocumentSettings(document_max_bytes=4 * 1024 * 1024)
OTHER = Digest.of(b"an image that nobody signed")
ALL_ROOTS: dict[str, TrustRoot] = {**ROOTS, "legacy": LEGACY_ROOT}


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes for a target, and what they are about (a digest, a media type …), which is never changed."""

    about: str
    content: bytes

    def to_bytes(self) -> bytes:
        """The input as a file: a line, and the content."""
        return self.about.encode() + b"\n" + self.content

    @classmethod
    def from_bytes(cls, raw: bytes) -> Input:
        """The input of a file."""
        about, _, content = raw.partition(b"\n")
        return cls(about.decode(), content)


@dataclass(frozen=True, slots=True)
class Target:
    """One reader. `check` returns for whatever is right, failures with a name included, and raises otherwise."""

    name: str
    check: Callable[[Input], None]
    inputs: Callable[[], Iterator[Input]]


# JSON, statements, payloads


def _json(given: Input) -> None:
    with contextlib.suppress(EvidenceFailure):
        value = strict_json.parse(given.content, what="it", max_bytes=LIMITS.document_max_bytes, max_depth=100)
        # Whoever writes it down again writes JSON, and what that says is the same.
        written = json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        assert strict_json.parse(written, what="it", max_bytes=2**40, max_depth=100) == value


def _jsons() -> Iterator[Input]:
    for bundle in recorded_bundles()[::8]:
        yield Input("", bundle.raw)
    yield Input("", b'{"a": [1, -2.5e3, true, false, null, "\\u00e9\\n"], "b": {"c": []}}')


def _statement(given: Input) -> None:
    image = Digest.parse(given.about)
    with contextlib.suppress(EvidenceFailure):
        found = read_statement(given.content, image=image, limits=LIMITS)
        assert found.digest == Digest.of(given.content)
        subjects = [subject["digest"] for subject in json.loads(given.content)["subject"]]
        assert image.hex in {digest.get("sha256") for digest in subjects}
    with contextlib.suppress(EvidenceFailure):
        read_statement(given.content, image=OTHER, limits=LIMITS)
        assert OTHER.hex.encode() in given.content


def _statements() -> Iterator[Input]:
    for bundle in recorded_bundles():
        if bundle.content == "dsse" and bundle.log == "none":
            yield Input(bundle.digest, base64.b64decode(bundle.parsed()["dsseEnvelope"]["payload"]))


def _simple_signing(given: Input) -> None:
    image = Digest.parse(given.about)
    with contextlib.suppress(EvidenceFailure):
        check_payload(given.content, image=image, limits=LIMITS)
        assert json.loads(given.content)["critical"]["image"]["docker-manifest-digest"] == str(image)


def _simple_signings() -> Iterator[Input]:
    for layer in recorded_layers():
        if layer.purpose == "signature" and layer.log == "none":
            yield Input(layer.digest, layer.content)


def _envelope(given: Input) -> None:
    with contextlib.suppress(EvidenceFailure):
        value = strict_json.parse(given.content, what="it", max_bytes=LIMITS.document_max_bytes, max_depth=100)
        found = parse_envelope(value, limits=LIMITS)
        assert base64.b64decode(value["payload"]) == found.payload
        assert len(value["signatures"]) == 1


def _envelopes() -> Iterator[Input]:
    for bundle in recorded_bundles():
        if bundle.content == "dsse" and bundle.log == "none":
            yield Input("", json.dumps(bundle.parsed()["dsseEnvelope"]).encode())


# Bundles and layers, as far as the verdict


@functools.cache
def _authorities() -> tuple[Authority, ...]:
    """Every recorded signer and a CA, once, in three tempers: what is required of logs and timestamps."""
    asked: dict[tuple[object, ...], Authority] = {}
    for need, stamp in ((Need.OPTIONAL, Need.OPTIONAL), (Need.REQUIRED, Need.OPTIONAL), (Need.IGNORE, Need.REQUIRED)):
        every = [authority_for(bundle, log=need, timestamp=stamp) for bundle in recorded_bundles()]
        every += [
            layer_authority(layer, log=need, timestamp=stamp, root=_root_of(layer)) for layer in recorded_layers()
        ]
        every.append(_own_authority(need, stamp))
        for authority in every:
            asked.setdefault((authority.kind, need), authority)
    return tuple(asked.values())


@functools.cache
def _own_ca() -> Ca:
    """A CA of one's own, with the same key in every run: what was found in one counts in another."""
    return new_ca(key=ec.derive_private_key(20260101, ec.SECP256R1()))


def _own_authority(need: Need, stamp: Need) -> Authority:
    usages = (ExtendedKeyUsageOID.CODE_SIGNING.dotted_string,)
    wanted = CertificateAuthority(_own_ca().chain, (CertificateIdentity(subject=WHO),), usages, "main")
    return Authority("ca", certificate=wanted, transparency_log=need, timestamp=stamp)


def _root_of(layer: RecordedLayer) -> str:
    return {"legacy": "legacy", "cosign2": "cosign2"}[layer.recording]


def _tempered(content: bytes) -> tuple[tuple[Authority, ...], Cryptography]:
    """The authorities to ask and by which rules, by the bytes themselves: so that a file says all."""
    chosen = hashlib.sha256(content).digest()[0]
    need = (Need.OPTIONAL, Need.REQUIRED, Need.IGNORE)[chosen % 3]
    asked = tuple(authority for authority in _authorities() if authority.transparency_log is need)
    return asked, Cryptography.FIPS if chosen >= 224 else Cryptography.DEFAULT


def _judged(found: Artifact, image: Digest) -> VerifiedEvidence:
    asked, cryptography = _tempered(found.content)
    return verify(
        image, [found], authorities=asked, trust_roots=ALL_ROOTS, now=NOW, limits=LIMITS, cryptography=cryptography
    )


def _signed(content: Content) -> tuple[str, bytes]:
    """Which bytes are signed, and whether they are the image's own."""
    if isinstance(content, MessageSignature):
        return "image", content.digest
    return type(content).__name__, signed_bytes(content)


Genuine = frozenset[tuple[str, Digest, str, bytes]]


@functools.cache
def _genuine() -> Genuine:
    """Everything that was truly signed: by whom, about which image, and the bytes."""
    known = set()
    for given, read in [*((i, _bundle_of) for i in _bundles()), *((i, _layer_of) for i in _layers())]:
        image = Digest.parse(given.about)
        found, parsed = read(given)
        for need in (Need.OPTIONAL, Need.REQUIRED, Need.IGNORE):
            asked = [authority for authority in _authorities() if authority.transparency_log is need]
            evidence = verify(image, [found], authorities=asked, trust_roots=ALL_ROOTS, now=NOW, limits=LIMITS)
            for piece in (*evidence.signatures, *evidence.attestations):
                known.add((piece.proof.signer.identity, image, *_signed(parsed.content)))
    assert known
    return frozenset(known)


def _bundle_of(given: Input) -> tuple[Artifact, Bundle]:
    return artifact(given.content), parse_bundle(given.content, limits=LIMITS)


def _bundle(given: Input) -> None:
    _hold(given, _bundle_of, artifact(given.content))


def _hold(given: Input, read: Callable[[Input], tuple[Artifact, Bundle]], found: Artifact) -> None:
    """The verifier's promise: it raises nothing, and says nothing that is not so."""
    image = Digest.parse(given.about)
    parsed: Bundle | None = None
    with contextlib.suppress(EvidenceFailure):
        _, parsed = read(given)
    about_other = _judged(found, OTHER)
    assert (about_other.signatures, about_other.attestations) == ((), ()), "verified for another digest"
    evidence = _judged(found, image)
    for piece in (*evidence.signatures, *evidence.attestations):
        assert parsed is not None, "verified what cannot be read"
        claim = (piece.proof.signer.identity, image, *_signed(parsed.content))
        assert claim in _genuine(), "verified bytes that this signer never signed"
        assert piece.proof.signed_at is None or piece.proof.signed_at <= NOW
    for attestation in evidence.attestations:
        assert parsed is not None
        assert isinstance(parsed.content, Envelope)
        stated = json.loads(parsed.content.payload)
        assert attestation.statement == Digest.of(parsed.content.payload)
        assert (attestation.predicate_type, attestation.predicate) == (stated["predicateType"], stated.get("predicate"))


def _bundles() -> Iterator[Input]:
    for bundle in recorded_bundles():
        yield Input(bundle.digest, bundle.raw)
    signer = Signer()
    certified = signer.envelope(statement())
    certificate = _own_ca().issue(signer.private.public_key())
    certified["verificationMaterial"] = {"certificate": {"rawBytes": b64(certificate)}}
    yield Input(str(IMAGE), json.dumps(certified).encode())


def _layer_of(given: Input) -> tuple[Artifact, Bundle]:
    found = _unwrapped(given)
    assert found is not None
    return found, legacy.read(found, limits=LIMITS)


def _unwrapped(given: Input) -> Artifact | None:
    """The layer of an input; None where what holds it was broken, which is nothing of Assay's."""
    try:
        held = json.loads(given.content)
        content = base64.b64decode(held["content"], validate=True)
        annotations = tuple(sorted(held["annotations"].items()))
        kind, media_type = ArtifactKind(held["kind"]), held["mediaType"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    if not all(isinstance(text, str) for text in (media_type, *(text for pair in annotations for text in pair))):
        return None
    return Artifact(kind, media_type, content, Digest.of(content), "tag", annotations)


def _layer(given: Input) -> None:
    found = _unwrapped(given)
    if found is not None:
        _hold(given, _layer_of, found)


def _layers() -> Iterator[Input]:
    for layer in recorded_layers():
        found = layer_artifact(layer)
        held = {
            "kind": found.kind.value,
            "mediaType": found.media_type,
            "content": base64.b64encode(found.content).decode(),
            "annotations": dict(found.annotations),
        }
        yield Input(layer.digest, json.dumps(held).encode())


# Certificates


@functools.cache
def _certified() -> tuple[Signer, bytes]:
    """A signer whose key is the same in every run, and what it signed."""
    signer = Signer(ec.derive_private_key(20260102, ec.SECP256R1()))
    return signer, json.dumps(signer.envelope(statement())).encode()


def _certificate(given: Input) -> None:
    _, signed = _certified()
    with contextlib.suppress(EvidenceFailure):
        signer_of(load_certificate(given.content))
    bundle = json.loads(signed)
    bundle["verificationMaterial"] = {"certificate": {"rawBytes": b64(given.content)}}
    asked = [_own_authority(Need.OPTIONAL, Need.OPTIONAL)]
    evidence = verify(IMAGE, [artifact(bundle)], authorities=asked, trust_roots=ALL_ROOTS, now=NOW, limits=LIMITS)
    if evidence.signatures:
        x509.load_der_x509_certificate(given.content).verify_directly_issued_by(_own_ca().certificate)


def _certificates() -> Iterator[Input]:
    public = _certified()[0].private.public_key()
    yield Input("", _own_ca().issue(public))
    yield Input("", _own_ca().issue(public, [x509.DNSName("a.example"), x509.UniformResourceIdentifier("https://b")]))
    yield Input("", _own_ca().issue(public, [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))], usages=()))
    for bundle in recorded_bundles():
        if bundle.authority == "keyless":
            certificate = parse_bundle(bundle.raw, limits=LIMITS).certificate
            assert certificate is not None
            yield Input("", certificate)


# Log entries


def _recorded(name: str) -> tuple[Bundle, Verifier, TrustRoot]:
    """What a recorded log entry is the entry of."""
    kind, _, rest = name.partition(" ")
    if kind == "bundle":
        bundle = recorded_bundle(rest)
        parsed, key = parse_bundle(bundle.raw, limits=LIMITS), bundle.key and bundle.public_key
        authority = authority_for(bundle)
        assert authority.kind is not None
        root = ALL_ROOTS[authority.kind.trust_root]
    else:
        layer = recorded_layer(rest)
        parsed, key = legacy.read(layer_artifact(layer), limits=LIMITS), layer.key and layer.public_key
        root = ALL_ROOTS[_root_of(layer)]
    if parsed.certificate is None:
        return parsed, Verifier(load_public_key(key)), root
    return parsed, Verifier(checked_key(load_certificate(parsed.certificate).public_key()), parsed.certificate), root


_recorded_once = functools.cache(_recorded)


def _logged() -> Iterator[str]:
    yield from (f"bundle {bundle.name}" for bundle in recorded_bundles() if bundle.log.startswith("rekor"))
    yield from (f"layer {layer.name}" for layer in recorded_layers() if layer.log.startswith("rekor"))


def _entry(given: Input) -> None:
    parsed, by, root = _recorded_once(given.about)
    with contextlib.suppress(EvidenceFailure):
        value = strict_json.parse(given.content, what="it", max_bytes=LIMITS.document_max_bytes, max_depth=100)
        if isinstance(value, dict):
            changed = dataclasses.replace(parsed, log_entries=(value,))
            (found,) = verify_entries(changed, by=by, root=parse_root(root), times=(NOW,), limits=LIMITS)
            (known,) = verify_entries(parsed, by=by, root=parse_root(root), times=(NOW,), limits=LIMITS)
            assert found.entry.log_id == known.entry.log_id
            assert found.entry.integrated_at in {known.entry.integrated_at, None}


def _entries() -> Iterator[Input]:
    for name in _logged():
        parsed, _, __ = _recorded_once(name)
        yield Input(name, json.dumps(parsed.log_entries[0]).encode())


@functools.cache
def _own_log() -> OwnLog:
    return OwnLog()


def _body(given: Input) -> None:
    """The body of an entry that a log does hold: whatever it says, the log's word stands for it."""
    parsed, by, _ = _recorded_once(given.about)
    version = parsed.log_entries[0]["kindVersion"]
    entry = _own_log().entry(given.content, kind=f"{version['kind']}/{version['version']}")
    changed = dataclasses.replace(parsed, by_promise=True, log_entries=(entry,))
    with contextlib.suppress(EvidenceFailure):
        verify_entries(changed, by=by, root=parse_root(_own_log().root), times=(NOW,), limits=LIMITS)
        said = set(_readings(json.loads(given.content)))
        assert parsed.content.signature in said, "the entry of another signature"
        assert said & {by.key.spki, by.certificate}, "the entry of another key"
        assert said & set(_digests(parsed.content)), "the entry of other content"


def _digests(content: Content) -> Iterator[bytes]:
    if isinstance(content, MessageSignature):
        yield content.digest
    else:
        for signed in (signed_bytes(content), content.payload):
            yield from (hashlib.new(name, signed).digest() for name in ("sha256", "sha384", "sha512"))


_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----(.+?)-----END", re.DOTALL)


def _readings(value: Any) -> Iterator[bytes]:
    """Every string in there, in each way in which it could be read as bytes."""
    if isinstance(value, str):
        waiting = [value.encode("utf-8", "replace")]
        for _ in range(3):
            deeper = []
            for text in waiting:
                yield text
                with contextlib.suppress(ValueError):
                    yield bytes.fromhex(text.decode())
                with contextlib.suppress(ValueError):
                    deeper.append(base64.b64decode(text, validate=True))
                for block in _PEM.findall(text):
                    with contextlib.suppress(ValueError):
                        deeper.append(base64.b64decode(block))
            waiting = deeper
    elif isinstance(value, dict | list):
        for child in value.values() if isinstance(value, dict) else value:
            yield from _readings(child)


def _bodies() -> Iterator[Input]:
    for name in _logged():
        parsed, _, __ = _recorded_once(name)
        yield Input(name, base64.b64decode(parsed.log_entries[0]["canonicalizedBody"]))


# What a registry says


def _manifest(given: Input) -> None:
    with contextlib.suppress(Unacceptable):
        found = parse_manifest(given.content, content_type=given.about, what="it")
        assert found.digest == Digest.of(given.content)
        assert found.media_type == given.about
        value = json.loads(given.content)
        assert ("manifests" in value) is found.is_index, "two readings"
        for pair in (pair for layer in (*found.layers, *found.children) for pair in layer.annotations):
            "".join(pair).encode()
        assert value.get("mediaType", given.about) == given.about, "two readings"


def _manifests() -> Iterator[Input]:
    image = recorded_manifest()
    yield Input(json.loads(image).get("mediaType", OCI_MANIFEST), image)
    subject = {"mediaType": OCI_MANIFEST, "digest": str(OTHER), "size": 2}
    referrer = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "config": descriptor(b"{}", "application/vnd.oci.empty.v1+json"),
        "layers": [descriptor(b"x", "application/vnd.dev.sigstore.bundle.v0.3+json", annotations={"a": "b"})],
        "subject": subject,
    }
    yield Input(OCI_MANIFEST, encoded(referrer))
    platform = {"os": "linux", "architecture": "arm", "variant": "v7"}
    children = [descriptor(image, OCI_MANIFEST, platform=platform), descriptor(b"x", OCI_MANIFEST)]
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": children, "annotations": {"a": "b"}}
    yield Input(OCI_INDEX, encoded(index))


def _challenge(given: Input) -> None:
    with contextlib.suppress(Unacceptable):
        parse_challenges([given.content.decode("latin-1")], host="registry.example", insecure=False)


def _challenges() -> Iterator[Input]:
    yield Input("", b'Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull"')
    yield Input("", b'Basic realm="x", Bearer realm="https://auth.example/token"')
    yield Input("", b'Negotiate, Digest realm="a\\"b", nonce=c , Basic')


def _pull_secret(given: Input) -> None:
    with contextlib.suppress(InputError):
        parse_docker_config(given.content)


def _pull_secrets() -> Iterator[Input]:
    auth = base64.b64encode(b"user:password").decode()
    entries = {"https://index.docker.io/v1/": {"auth": auth}, "*.example.com/a": {"username": "u", "password": "p"}}
    yield Input("", json.dumps({"auths": {**entries, "ghcr.io": {"auth": auth, "identitytoken": "t"}}}).encode())


# Attested documents


def _document(given: Input) -> None:
    with contextlib.suppress(EvidenceFailure, Unacceptable):
        predicate = strict_json.parse(given.content, what="it", max_bytes=LIMITS.document_max_bytes, max_depth=100)
        look_through(documents.parse(given.about, predicate, LIMITS))


def _documents() -> Iterator[Input]:
    for given in _statements():
        stated = json.loads(given.content)
        yield Input(stated["predicateType"], json.dumps(stated.get("predicate")).encode())
    folder = CHECKOUT / "tests" / "fixtures" / "documents"
    for pattern, predicate_type in _DOCUMENTS.items():
        for file in sorted(folder.glob(pattern)):
            document = json.loads(file.read_bytes())
            stated = document if "predicateType" in document else {"predicate": document}
            yield Input(stated.get("predicateType", predicate_type), json.dumps(stated["predicate"]).encode())


_DOCUMENTS = {
    "cyclonedx-*.json": "https://cyclonedx.org/bom",
    "spdx-*.json": "https://spdx.dev/Document",
    "openvex-*.json": "https://openvex.dev/ns",
    "grype.json": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "trivy.json": "https://cosign.sigstore.dev/attestation/vuln/v1",
    "*.sarif.json": "https://json.schemastore.org/sarif-2.1.0.json",
    "slsa-0.1.json": "https://slsa.dev/provenance/v0.1",
    "slsa-0.2-*.json": "https://slsa.dev/provenance/v0.2",
    "slsa-1-*.json": "https://slsa.dev/provenance/v1",
    "vsa-1.json": "https://slsa.dev/verification_summary/v1",
    "scai-0.3.json": "https://in-toto.io/attestation/scai/attribute-report/v0.3",
    "release-github.json": "https://in-toto.io/attestation/release/v0.1",
    "test-result-0.1.json": "https://in-toto.io/attestation/test-result/v0.1",
    "vulns-0.2.json": "https://in-toto.io/attestation/vulns/v0.2",
}


def _config(given: Input) -> None:
    blob = ConfigBlob(None, IMAGE, Digest.of(given.content), given.content)
    with contextlib.suppress(Unacceptable):
        read = image_config.parse(blob, LIMITS)
        as_json(to_cel(read))
        assert not read.non_root or int(read.user.partition(":")[0]) > 0


def _configs() -> Iterator[Input]:
    config = {
        "User": "65532:0",
        "Labels": {"a": "b"},
        "Entrypoint": ["/app"],
        "Cmd": None,
        "ExposedPorts": {"80/tcp": {}},
    }
    whole = {"architecture": "amd64", "os": "linux", "created": "2026-01-02T03:04:05.1234Z", "config": config}
    for value in (whole, {}, {"config": None, "created": None}):
        yield Input("config", json.dumps(value).encode())


TARGETS = (
    Target("bundle", _bundle, _bundles),
    Target("layer", _layer, _layers),
    Target("certificate", _certificate, _certificates),
    Target("log-entry", _entry, _entries),
    Target("log-body", _body, _bodies),
    Target("statement", _statement, _statements),
    Target("simple-signing", _simple_signing, _simple_signings),
    Target("envelope", _envelope, _envelopes),
    Target("json", _json, _jsons),
    Target("manifest", _manifest, _manifests),
    Target("challenge", _challenge, _challenges),
    Target("pull-secret", _pull_secret, _pull_secrets),
    Target("document", _document, _documents),
    Target("config", _config, _configs),
)


def target(name: str) -> Target:
    """The target of this name. Raises `KeyError`."""
    return {known.name: known for known in TARGETS}[name]
