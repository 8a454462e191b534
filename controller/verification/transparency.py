"""Transparency-log entries, held against the signature that they are said to be of.

A log entry proves something only if (1) the log is trusted, (2) the entry is in it, and (3) it is the entry of *this*
signature, by *this* key or certificate, over *this* content. Leaving out the third is CVE-2022-36056 and
CVE-2026-22703.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from controller.model.evidence import LogEntry
from controller.settings import DocumentSettings
from controller.verification import strict_json
from controller.verification.bundle import Bundle, Content, Envelope, MessageSignature, SimpleSigning
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.inclusion import verify_inclusion
from controller.verification.keys import PublicKey
from controller.verification.trust import ParsedRoot

_HASHES = {"SHA2_256": hashlib.sha256, "SHA2_384": hashlib.sha384, "SHA2_512": hashlib.sha512}
_REKOR_1_NAMES = {"sha256": "SHA2_256", "sha384": "SHA2_384", "sha512": "SHA2_512"}


@dataclass(frozen=True, slots=True)
class LoggedEntry:
    """A verified entry, and its kind and version (`hashedrekord/0.0.2`)."""

    entry: LogEntry
    kind: str


@dataclass(frozen=True, slots=True)
class Verifier:
    """What the signature was verified with: the key, and the certificate (DER) if the key is a certificate's."""

    key: PublicKey
    certificate: bytes | None = None


def verify_entries(
    bundle: Bundle, *, by: Verifier, root: ParsedRoot, times: Sequence[datetime], limits: DocumentSettings
) -> tuple[LoggedEntry, ...]:
    """The bundle's log entries, if each of them is in a trusted log and is the entry of exactly this content and key.

    All of them: one that is wrong is worse than none. `times` as in `verify_inclusion`.
    Raises `NotVerified` (`LogEntryInvalid`, `LogEntryUnproven`, `LogUnknown`, `LogOutsideValidity`,
    `LogEntryMismatch`), `Unjudged` (`LogEntryMalformed`, `LogEntryKindUnsupported`, `BundleMalformed`).
    """
    return tuple(_verify(raw, bundle, by=by, root=root, times=times, limits=limits) for raw in bundle.log_entries)


def _verify(
    raw: Mapping[str, Any],
    bundle: Bundle,
    *,
    by: Verifier,
    root: ParsedRoot,
    times: Sequence[datetime],
    limits: DocumentSettings,
) -> LoggedEntry:
    # (1) + (2) A trusted log says that the entry is in it.
    included = verify_inclusion(raw, root=root, times=times, by_promise=bundle.by_promise)
    # (3) The entry's body is about this signature, this key and this content, in every field.
    matches = _BODIES.get((included.kind, type(bundle.content)))
    if matches is None:
        raise Unjudged("LogEntryKindUnsupported", "its log entry is of a kind that is not supported for such content")
    body = strict_json.parse(
        included.body,
        what="the log entry's body",
        max_bytes=limits.document_max_bytes,
        max_depth=limits.document_max_depth,
    )
    try:
        stated = f"{body['kind']}/{body['apiVersion']}"
        same = stated == included.kind and matches(body["spec"], bundle.content, by)
    except (KeyError, TypeError, ValueError, AttributeError, UnsupportedAlgorithm, x509.InvalidVersion) as exc:
        raise Unjudged("LogEntryMalformed", "its log entry's body is not of the form that its kind has") from exc
    if not same:
        raise NotVerified("LogEntryMismatch", "its log entry is that of another signature, key or content")
    return LoggedEntry(entry=included.entry, kind=included.kind)


def _hashedrekord_2(spec: Any, content: Content, by: Verifier) -> bool:
    """Rekor v2 logs both contents so: https://github.com/sigstore/rekor-tiles, `hashedrekord.proto`."""
    record = spec["hashedRekordV002"]
    algorithm, signature = record["data"]["algorithm"], record["signature"]
    return (
        set(spec) == {"hashedRekordV002"}
        and base64.b64decode(record["data"]["digest"], validate=True) == _digest(content, algorithm)
        and base64.b64decode(signature["content"], validate=True) == content.signature
        and _is_raw(signature["verifier"], by)
    )


def _hashedrekord_1(spec: Any, content: Content, by: Verifier) -> bool:
    hashed = spec["data"]["hash"]
    return (
        bytes.fromhex(hashed["value"]) == _digest(content, _REKOR_1_NAMES[hashed["algorithm"]])
        and base64.b64decode(spec["signature"]["content"], validate=True) == content.signature
        and _is_pem(spec["signature"]["publicKey"]["content"], by)
    )


def _dsse_1(spec: Any, content: Content, by: Verifier) -> bool:
    # The entry's envelopeHash is over JSON that no two programs write alike: payload and signature bind instead.
    (signature,) = spec["signatures"]
    return (
        isinstance(content, Envelope)
        and _is_sha256(spec["payloadHash"], content.payload)
        and base64.b64decode(signature["signature"], validate=True) == content.signature
        and _is_pem(signature["verifier"], by)
    )


def _intoto_2(spec: Any, content: Content, by: Verifier) -> bool:
    """Its `hash` is over JSON as well; signatures are base64 of base64 there.

    0.0.1 is not supported: its body has no signature, so nothing would tell whose of two entries it is.
    """
    logged = spec["content"]
    (signature,) = logged["envelope"]["signatures"]
    text = base64.b64decode(signature["sig"], validate=True)
    return (
        isinstance(content, Envelope)
        and logged["envelope"]["payloadType"] == content.payload_type
        and _is_sha256(logged["payloadHash"], content.payload)
        and base64.b64decode(text, validate=True) == content.signature
        and _is_pem(signature["publicKey"], by)
    )


_BODIES = {
    ("hashedrekord/0.0.2", Envelope): _hashedrekord_2,
    ("hashedrekord/0.0.2", MessageSignature): _hashedrekord_2,
    ("hashedrekord/0.0.1", Envelope): _hashedrekord_1,
    ("hashedrekord/0.0.1", MessageSignature): _hashedrekord_1,
    ("hashedrekord/0.0.1", SimpleSigning): _hashedrekord_1,
    ("dsse/0.0.1", Envelope): _dsse_1,
    ("intoto/0.0.2", Envelope): _intoto_2,
}


def _digest(content: Content, algorithm: str) -> bytes | None:
    """What the content hashes to by this algorithm; None (equal to nothing) where that is not known."""
    match content:
        case Envelope():
            return _HASHES[algorithm](content.pae()).digest()
        case SimpleSigning():
            return _HASHES[algorithm](content.payload).digest()
        case MessageSignature():
            return content.digest if content.algorithm == algorithm else None


def _is_sha256(hashed: Any, content: bytes) -> bool:
    return hashed["algorithm"] == "sha256" and bytes.fromhex(hashed["value"]) == hashlib.sha256(content).digest()


def _is_raw(logged: Any, by: Verifier) -> bool:
    """Whether a verifier as Rekor v2 logs it is the very one: a certificate is not the same as its bare key."""
    if by.certificate is not None:
        return base64.b64decode(logged["x509Certificate"]["rawBytes"], validate=True) == by.certificate
    return base64.b64decode(logged["publicKey"]["rawBytes"], validate=True) == by.key.spki


def _is_pem(logged: Any, by: Verifier) -> bool:
    """The same for Rekor v1, which logs a PEM in base64."""
    pem = base64.b64decode(logged, validate=True)
    if by.certificate is not None:
        (certificate,) = x509.load_pem_x509_certificates(pem)
        return certificate.public_bytes(serialization.Encoding.DER) == by.certificate
    key = serialization.load_pem_public_key(pem)
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return spki == by.key.spki
