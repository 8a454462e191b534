"""The proof that a policy's key made a signature, from a Sigstore bundle."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from controller.model.evidence import LogEntry, Signer
from controller.model.policy import Authority, Need
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.bundle import Bundle, MessageSignature
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.keys import PublicKey
from controller.verification.proof import Proven, check_times
from controller.verification.timestamps import verify_timestamps
from controller.verification.transparency import verify_entry
from controller.verification.trust import ParsedRoot

RootSource = Callable[[], ParsedRoot]
"""Gives the authority's trust root, or raises `Unjudged`: asked for only where logs or timestamps are to be judged."""


def prove_by_key(
    bundle: Bundle,
    *,
    image: Digest,
    key: PublicKey,
    authority: Authority,
    root: RootSource,
    now: datetime,
    limits: DocumentSettings,
) -> Proven:
    """Prove that `key` signed the bundle's content, with the log entry and timestamp that the authority asks for.

    The caller's duty: to check what a returned statement is about (`read_statement`).
    Raises `NotVerified` and `Unjudged`.
    """
    # (1) The signature is the key's, over exactly this content.
    steps = [_check_signature(bundle, image=image, key=key, authority=authority)]
    # (2) Where log entries count, each that is there is proven, and is the entry of this signature (all of them: one
    #     that is wrong is worse than none).
    entry, promised = _check_log(bundle, key=key, authority=authority, root=root, limits=limits, steps=steps)
    # (3) The same for timestamps.
    stamped = _check_timestamps(bundle, authority=authority, root=root, steps=steps)
    # (4) Nobody vouches for a time that is yet to come.
    signed_at = check_times((*stamped, *promised), now=now)
    return Proven(
        signer=Signer(key=key.fingerprint),
        statement=None if isinstance(bundle.content, MessageSignature) else bundle.content.payload,
        log_entry=entry,
        signed_at=signed_at,
        timestamped=bool(stamped),
        steps=tuple(steps),
    )


def _check_signature(bundle: Bundle, *, image: Digest, key: PublicKey, authority: Authority) -> str:
    content = bundle.content
    if bundle.certified:
        raise NotVerified(
            "SignedWithCertificate", f"it was signed with a certificate, and authority {authority.name} is a key"
        )
    if isinstance(content, MessageSignature):
        valid = _signs_image(content, image, key)
        over = f"the image's digest {image}"
    else:
        valid = key.verifies(content.signature, content.pae())
        over = "the signed statement and its type (DSSE)"
    if not valid:
        raise NotVerified(
            "SignatureInvalid",
            f"its signature was not made with the key of authority {authority.name} ({key.fingerprint})",
        )
    return f"The signature over {over} verifies with the key {key.fingerprint} of authority {authority.name}."


def _signs_image(content: MessageSignature, image: Digest, key: PublicKey) -> bool:
    if content.algorithm != "SHA2_256":
        raise Unjudged("DigestAlgorithmUnsupported", "its signature is over another digest than a SHA-256")
    if content.digest != bytes.fromhex(image.hex):
        raise NotVerified("SubjectMismatch", "its signature is over another digest than this image's")
    valid = key.verifies_sha256(content.signature, content.digest)
    if valid is None:
        raise Unjudged("KeyUnsupported", "Ed25519 signatures over a bare digest are not supported")
    return valid


def _check_log(
    bundle: Bundle,
    *,
    key: PublicKey,
    authority: Authority,
    root: RootSource,
    limits: DocumentSettings,
    steps: list[str],
) -> tuple[LogEntry | None, tuple[datetime, ...]]:
    if authority.transparency_log is Need.IGNORE:
        return None, ()
    if not bundle.log_entries and authority.transparency_log is Need.REQUIRED:
        raise NotVerified(
            "LogEntryMissing",
            f"it is in no transparency log, and authority {authority.name} requires that (transparencyLog: Required)",
        )
    logged = [
        verify_entry(raw, content=bundle.content, key=key, root=root(), limits=limits) for raw in bundle.log_entries
    ]
    for found in logged:
        steps.append(
            f"Entry {found.entry.index} ({found.kind}) is in the transparency log {found.entry.log_id}, and is that of "
            f"this signature, key and content."
        )
        if found.entry.integrated_at is not None:
            steps.append(f"The log promised the entry at {found.entry.integrated_at:%Y-%m-%dT%H:%M:%SZ}.")
    promised = tuple(found.entry.integrated_at for found in logged if found.entry.integrated_at is not None)
    return (logged[0].entry if logged else None), promised


def _check_timestamps(
    bundle: Bundle, *, authority: Authority, root: RootSource, steps: list[str]
) -> tuple[datetime, ...]:
    if authority.timestamp is Need.IGNORE:
        return ()
    if not bundle.timestamps:
        if authority.timestamp is Need.REQUIRED:
            raise NotVerified(
                "TimestampMissing",
                f"it has no timestamp, and authority {authority.name} requires one (timestamp: Required)",
            )
        return ()
    stamped = verify_timestamps(bundle.timestamps, signature=bundle.content.signature, root=root())
    steps.extend(f"A timestamp authority saw the signature at {when:%Y-%m-%dT%H:%M:%SZ}." for when in stamped)
    return stamped
