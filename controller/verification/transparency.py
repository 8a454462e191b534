"""Transparency-log entries of signatures by a key, which sigstore's own verifier does not take.

A log entry proves something only if (1) the log is trusted, (2) the entry is in it, and (3) it is the entry of *this*
signature, by *this* key, over *this* content. Leaving out the third is CVE-2022-36056 and CVE-2026-22703.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controller.model.evidence import LogEntry
from controller.settings import DocumentSettings
from controller.verification import strict_json
from controller.verification.bundle import Envelope, MessageSignature
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.inclusion import proven_entry, verify_inclusion
from controller.verification.keys import PublicKey
from controller.verification.trust import ParsedRoot

_HASHES = {"SHA2_256": hashlib.sha256, "SHA2_384": hashlib.sha384, "SHA2_512": hashlib.sha512}


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """A verified entry, and its kind and version (`hashedrekord/0.0.2`)."""

    entry: LogEntry
    kind: str


def verify_entry(
    raw: Mapping[str, Any],
    *,
    content: Envelope | MessageSignature,
    key: PublicKey,
    root: ParsedRoot,
    limits: DocumentSettings,
) -> LoggedEntry:
    """The entry, if it is in a trusted log and is the entry of exactly this content and key.

    Raises `NotVerified` (`LogEntryInvalid`, `LogUnknown`, `LogEntryMismatch`), `Unjudged` (`LogEntryMalformed`,
    `LogEntryKindUnsupported`, `InclusionProofUnsupported`).
    """
    # (1) + (2) The inclusion proof leads to a checkpoint that a trusted log signed; its promise, if any, is its own.
    entry = verify_inclusion(raw, root)
    # (3) The entry's body is about this signature, this key and this content, in every field.
    kind = f"{entry.kind_version.kind}/{entry.kind_version.version}"
    matches = _BODIES.get((kind, type(content)))
    if matches is None:
        raise Unjudged("LogEntryKindUnsupported", "its log entry is of a kind that is not supported for a key")
    body = strict_json.parse(
        entry.canonicalized_body,
        what="the log entry's body",
        max_bytes=limits.document_max_bytes,
        max_depth=limits.document_max_depth,
    )
    try:
        same = f"{body['kind']}/{body['apiVersion']}" == kind and matches(body["spec"], content, key)
    except (KeyError, TypeError, ValueError, AttributeError, UnsupportedAlgorithm) as exc:
        raise Unjudged("LogEntryMalformed", "its log entry's body is not of the form that its kind has") from exc
    if not same:
        raise NotVerified("LogEntryMismatch", "its log entry is that of another signature, key or content")
    return LoggedEntry(entry=proven_entry(entry), kind=kind)


def _hashedrekord_2(spec: Any, content: Envelope | MessageSignature, key: PublicKey) -> bool:
    """Rekor v2 logs both contents so: https://github.com/sigstore/rekor-tiles, `hashedrekord.proto`."""
    record = spec["hashedRekordV002"]
    algorithm, signature = record["data"]["algorithm"], record["signature"]
    return (
        set(spec) == {"hashedRekordV002"}
        and base64.b64decode(record["data"]["digest"], validate=True) == _digest(content, algorithm)
        and base64.b64decode(signature["content"], validate=True) == content.signature
        and base64.b64decode(signature["verifier"]["publicKey"]["rawBytes"], validate=True) == key.spki
    )


def _hashedrekord_1(spec: Any, content: Envelope | MessageSignature, key: PublicKey) -> bool:
    return (
        spec["data"]["hash"]["algorithm"] == "sha256"
        and bytes.fromhex(spec["data"]["hash"]["value"]) == _digest(content, "SHA2_256")
        and base64.b64decode(spec["signature"]["content"], validate=True) == content.signature
        and _spki(spec["signature"]["publicKey"]["content"]) == key.spki
    )


def _dsse_1(spec: Any, content: Envelope | MessageSignature, key: PublicKey) -> bool:
    # The entry's envelopeHash is over JSON that no two programs write alike: payload and signature bind instead.
    (signature,) = spec["signatures"]
    return (
        isinstance(content, Envelope)
        and spec["payloadHash"]["algorithm"] == "sha256"
        and bytes.fromhex(spec["payloadHash"]["value"]) == hashlib.sha256(content.payload).digest()
        and base64.b64decode(signature["signature"], validate=True) == content.signature
        and _spki(signature["verifier"]) == key.spki
    )


_BODIES = {
    ("hashedrekord/0.0.2", Envelope): _hashedrekord_2,
    ("hashedrekord/0.0.2", MessageSignature): _hashedrekord_2,
    ("hashedrekord/0.0.1", MessageSignature): _hashedrekord_1,
    ("dsse/0.0.1", Envelope): _dsse_1,
}


def _digest(content: Envelope | MessageSignature, algorithm: str) -> bytes | None:
    """What the content hashes to by this algorithm; None (equal to nothing) where that is not known."""
    if isinstance(content, Envelope):
        return _HASHES[algorithm](content.pae()).digest()
    return content.digest if content.algorithm == algorithm else None


def _spki(pem_base64: str) -> bytes:
    key = serialization.load_pem_public_key(base64.b64decode(pem_base64, validate=True))
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
