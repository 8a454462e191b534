"""Evidence for the tests of verification: recorded bundles put to the verifier, and bundles signed on the spot."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.model.evidence import Artifact, ArtifactKind, VerifiedEvidence
from controller.model.policy import Authority, Identity, KeyAuthority, KeylessAuthority, Need, TrustRoot
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.verifier import verify
from tests.support.fixtures import RecordedBundle, recorded_trusted_root

NOW = datetime(2100, 1, 1, tzinfo=UTC)
"""Later than anything recorded: no bundle is of the future."""

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNING = "https://sigstore.dev/cosign/sign/v1"
IMAGE = Digest.of(b"the image")
OTHER_IMAGE = Digest.of(b"another image")


def trust_root(name: str, file: str = "trusted_root.json") -> TrustRoot:
    """A recorded trust root under a name of the policy's choice."""
    content = recorded_trusted_root(file)
    return TrustRoot(name, content, str(Digest.of(content)))


ROOTS = {
    "main": trust_root("main"),
    "other": trust_root("other", "trusted_root.other.json"),
    "cosign2": trust_root("cosign2", "cosign2/trusted_root.json"),
}


def artifact(content: bytes | Mapping[str, Any], location: str = "referrer") -> Artifact:
    """Bytes, or a bundle as a dict, as they would be found beside an image."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Artifact(ArtifactKind.BUNDLE, BUNDLE_TYPE, raw, Digest.of(raw), location)


def authority_for(bundle: RecordedBundle, *, log: Need = Need.OPTIONAL, timestamp: Need = Need.OPTIONAL) -> Authority:
    """An authority that the recorded bundle is by, and nobody else."""
    root = next((name for name in ("other", "cosign2") if name in bundle.trusted_root), "main")
    if bundle.authority == "key":
        key = KeyAuthority(bundle.public_key, trust_root=root)
        return Authority("signer", key=key, transparency_log=log, timestamp=timestamp)
    identity = Identity(issuer=bundle.issuer, subject=bundle.identity)
    return Authority("signer", keyless=KeylessAuthority((identity,), root), transparency_log=log, timestamp=timestamp)


def judge(
    artifacts: Artifact | Iterable[Artifact],
    authorities: Authority | Sequence[Authority],
    *,
    image: Digest = IMAGE,
    roots: Mapping[str, TrustRoot] | None = None,
    now: datetime = NOW,
    limits: DocumentSettings | None = None,
) -> VerifiedEvidence:
    """`verify` with the tests' defaults."""
    return verify(
        image,
        [artifacts] if isinstance(artifacts, Artifact) else artifacts,
        authorities=[authorities] if isinstance(authorities, Authority) else authorities,
        trust_roots=ROOTS if roots is None else roots,
        now=now,
        limits=limits or DocumentSettings(),
    )


def counted(evidence: VerifiedEvidence) -> tuple[int, int]:
    """How many signatures and attestations were verified."""
    return len(evidence.signatures), len(evidence.attestations)


def only_rejection(evidence: VerifiedEvidence) -> tuple[str, bool]:
    """The code of the one rejection, and whether it says *could not be judged*; nothing else may have come out."""
    assert counted(evidence) == (0, 0)
    (rejection,) = evidence.rejections
    return rejection.code, rejection.unjudged


def statement(image: Digest = IMAGE, predicate_type: str = SIGNING, predicate: Any = None) -> dict[str, Any]:
    """An in-toto statement about an image."""
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"digest": {"sha256": image.hex}}],
        "predicateType": predicate_type,
        "predicate": {} if predicate is None else predicate,
    }


def pae(payload: bytes, kind: str = "application/vnd.in-toto+json") -> bytes:
    """DSSE's pre-authentication encoding, written down a second time on purpose."""
    return b" ".join([b"DSSEv1", str(len(kind)).encode(), kind.encode(), str(len(payload)).encode(), payload])


def b64(content: bytes) -> str:
    """Base64 as it stands in a bundle."""
    return base64.b64encode(content).decode()


@dataclass(frozen=True)
class Signer:
    """Signs truly, with a key of its own."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def pem(self) -> str:
        """The public key."""
        public = self.private.public_key()
        return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()

    def authority(self, name: str = "signer", *, log: Need = Need.OPTIONAL) -> Authority:
        """An authority for this key."""
        return Authority(name, key=KeyAuthority(self.pem, trust_root="main"), transparency_log=log)

    def sign(self, message: bytes) -> bytes:
        """A signature over `message`."""
        return self.private.sign(message, ec.ECDSA(hashes.SHA256()))

    def envelope(
        self, content: bytes | Mapping[str, Any], kind: str = "application/vnd.in-toto+json"
    ) -> dict[str, Any]:
        """A bundle with a signed statement, or with signed bytes that are none."""
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        signature = self.sign(pae(payload, kind))
        return {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": {"payload": b64(payload), "payloadType": kind, "signatures": [{"sig": b64(signature)}]},
        }

    def message(self, content: bytes) -> dict[str, Any]:
        """A bundle with a signature over the content itself."""
        return {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "messageSignature": {
                "messageDigest": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(content).digest())},
                "signature": b64(self.sign(content)),
            },
        }
