"""A transparency log of one's own, made on the spot: it logs what it is told to, as Rekor would, and promises it.

Only so can an entry be in a trusted log, in every byte, and yet be that of something else in a single field: a real log
checks the signature that it is given, but anybody can compute another key for it, or have other content signed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import rfc8785
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.model.policy import TrustRoot
from controller.model.reference import Digest
from tests.support.fixtures import recorded_trusted_root
from tests.unit.verification.evidence import b64

PROMISED = 1_780_000_000  # seconds: when everything was logged


@dataclass(frozen=True)
class OwnLog:
    """The log. `root` is a recorded trust root with this log in place of its own."""

    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    @property
    def _key(self) -> bytes:
        public = self.private.public_key()
        return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)

    @property
    def root(self) -> TrustRoot:
        """The trust root `main`, which believes this log alone."""
        document = json.loads(recorded_trusted_root())
        key = {
            "rawBytes": b64(self._key),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": "2024-01-01T00:00:00Z"},
        }
        log_id = {"keyId": b64(hashlib.sha256(self._key).digest())}
        own = {"baseUrl": "https://own.example", "hashAlgorithm": "SHA2_256", "publicKey": key, "logId": log_id}
        content = json.dumps({**document, "tlogs": [own]}).encode()
        return TrustRoot("main", content, str(Digest.of(content)))

    def annotation(self, body: Mapping[str, Any] | bytes) -> str:
        """An entry with its promise as cosign annotates a layer with it (`RekorBundle`); bytes as they are."""
        payload = {
            "body": b64(body if isinstance(body, bytes) else json.dumps(body).encode()),
            "integratedTime": PROMISED,
            "logID": hashlib.sha256(self._key).hexdigest(),
            "logIndex": 7,
        }
        promise = self.private.sign(rfc8785.dumps(payload), ec.ECDSA(hashes.SHA256()))
        return json.dumps({"SignedEntryTimestamp": b64(promise), "Payload": payload})

    def entry(self, body: Mapping[str, Any] | bytes, *, kind: str = "") -> dict[str, Any]:
        """An entry with its promise as it stands in a bundle of version 0.1; `kind/version` is the body's own."""
        name, version = kind.split("/") if isinstance(body, bytes) else (body["kind"], body["apiVersion"])
        record = json.loads(self.annotation(body))
        return {
            "logIndex": "7",
            "logId": {"keyId": b64(hashlib.sha256(self._key).digest())},
            "kindVersion": {"kind": name, "version": version},
            "integratedTime": str(PROMISED),
            "inclusionPromise": {"signedEntryTimestamp": record["SignedEntryTimestamp"]},
            "canonicalizedBody": record["Payload"]["body"],
        }


def hashedrekord(signed: bytes, signature: bytes, pem: str) -> dict[str, Any]:
    """The body of an entry of Rekor v1 over bytes that were signed."""
    return {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": hashlib.sha256(signed).hexdigest()}},
            "signature": {"content": b64(signature), "publicKey": {"content": b64(pem.encode())}},
        },
    }


def hashedrekord_2(signed: bytes, signature: bytes, pem: str) -> dict[str, Any]:
    """The body of an entry of Rekor v2 over bytes that were signed."""
    verifier = {"keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": {"rawBytes": "".join(pem.splitlines()[1:-1])}}
    record = {
        "data": {"algorithm": "SHA2_256", "digest": b64(hashlib.sha256(signed).digest())},
        "signature": {"content": b64(signature), "verifier": verifier},
    }
    return {"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": record}}


def dsse(payload: bytes, signature: bytes, pem: str) -> dict[str, Any]:
    """The body of an entry of Rekor v1 over an envelope."""
    return {
        "apiVersion": "0.0.1",
        "kind": "dsse",
        "spec": {
            "envelopeHash": {"algorithm": "sha256", "value": "0" * 64},
            "payloadHash": {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()},
            "signatures": [{"signature": b64(signature), "verifier": b64(pem.encode())}],
        },
    }
