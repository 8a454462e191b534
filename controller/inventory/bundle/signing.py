"""Statements that Assay signs itself: in-toto in DSSE, in a Sigstore bundle with a bare key, as cosign verifies them.

https://github.com/secure-systems-lab/dsse/blob/v1.0.2/protocol.md,
https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto (0.3). The key is Ed25519, so that the
same statement has the same bytes. It is none of the ledger's: whoever exports need not be able to sign the ledger.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from controller.inventory.canonical import canonical

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
MAX_STATEMENT = 4 * 1024 * 1024  # bytes of a bundle that is opened; Assay's own have a few thousand


@dataclass(frozen=True, slots=True)
class ExportKey:
    """The private key that signs what is exported."""

    private: Ed25519PrivateKey

    def pem(self) -> bytes:
        """The public half (SubjectPublicKeyInfo)."""
        return self.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, statement: Mapping[str, Any]) -> bytes:
        """The statement's bundle, as JSON."""
        payload = canonical(statement)
        der = self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        envelope = {
            "payload": _b64(payload),
            "payloadType": IN_TOTO,
            "signatures": [{"sig": _b64(self.private.sign(pae(IN_TOTO, payload)))}],
        }
        hint = {"publicKey": {"hint": _b64(hashlib.sha256(der).digest())}}
        return canonical({"mediaType": BUNDLE, "verificationMaterial": hint, "dsseEnvelope": envelope})


def statement(name: str, content_hash: str, *, predicate_type: str, predicate: Mapping[str, Any]) -> Mapping[str, Any]:
    """An in-toto statement about one thing, by the hex of its SHA-256."""
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": content_hash}}],
        "predicateType": predicate_type,
        "predicate": predicate,
    }


def read_key(pem: bytes) -> Ed25519PublicKey:
    """A public key from PEM. Raises `ValueError` for one of another kind."""
    try:
        key = load_pem_public_key(pem)
    except Exception as exc:
        # The library says in many ways that these are no such bytes; its texts quote what it read.
        raise ValueError("is no public key in PEM") from exc
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("is no Ed25519 key")  # noqa: TRY004 - what is wrong is what was handed over
    return key


def open_statement(content: bytes, key: Ed25519PublicKey) -> Mapping[str, Any]:
    """The statement in a bundle that this key signed. Raises `ValueError` saying why it is none."""
    if len(content) > MAX_STATEMENT:
        raise ValueError(f"has more than {MAX_STATEMENT} bytes")
    try:
        value = json.loads(content)
        envelope = value["dsseEnvelope"]
        (signature,) = envelope["signatures"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signed = base64.b64decode(signature["sig"], validate=True)
        if value["mediaType"] != BUNDLE or envelope["payloadType"] != IN_TOTO:
            raise ValueError("another type")
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as exc:
        raise ValueError("is no Sigstore bundle 0.3 with one signed in-toto statement") from exc
    try:
        key.verify(signed, pae(IN_TOTO, payload))
    except InvalidSignature as exc:
        raise ValueError("was not signed by this key") from exc
    try:
        found = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise ValueError("holds no JSON") from exc
    if not isinstance(found, dict) or found.get("_type") != STATEMENT:
        raise ValueError("holds no in-toto statement")
    return found


def pae(payload_type: str, payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: what is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()
