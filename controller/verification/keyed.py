"""The proof that a policy's key made a signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from controller.model.evidence import Signer
from controller.model.policy import Authority, Need
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.bundle import Bundle
from controller.verification.failures import NotVerified
from controller.verification.keys import PublicKey
from controller.verification.proof import Proven, check_times, told
from controller.verification.signatures import described, is_signed_by
from controller.verification.timestamps import verify_timestamps
from controller.verification.transparency import LoggedEntry, Verifier, verify_entries
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

    The caller's duty: to check what the content is about (`read_statement`, `check_payload`).
    Raises `NotVerified` and `Unjudged`.
    """
    # (1) The signature is the key's, over exactly this content.
    _check_signature(bundle, image=image, key=key, authority=authority)
    # (2) Where timestamps count, each that is there is a trusted authority's, over this signature.
    stamped = _check_timestamps(bundle, authority=authority, root=root)
    # (3) Where log entries count, each that is there is proven, and is the entry of this signature. One that says no
    #     time of its own is judged by a log's key that is believed when the signature was there.
    entries = _check_log(bundle, key=key, authority=authority, root=root, times=stamped or (now,), limits=limits)
    # (4) Nobody vouches for a time that is yet to come.
    promised = tuple(found.entry.integrated_at for found in entries if found.entry.integrated_at is not None)
    signed_at = check_times((*stamped, *promised), now=now)
    over = described(bundle.content, image)
    return Proven(
        signer=Signer(key=key.fingerprint),
        log_entry=entries[0].entry if entries else None,
        signed_at=signed_at,
        timestamped=bool(stamped),
        steps=(
            f"The signature over {over} verifies with the key {key.fingerprint} of authority {authority.name}.",
            *told(entries, stamped),
        ),
    )


def _check_signature(bundle: Bundle, *, image: Digest, key: PublicKey, authority: Authority) -> None:
    if bundle.certificate is not None:
        raise NotVerified(
            "SignedWithCertificate", f"it was signed with a certificate, and authority {authority.name} is a key"
        )
    if not is_signed_by(bundle.content, image=image, key=key):
        raise NotVerified(
            "SignatureInvalid",
            f"its signature was not made with the key of authority {authority.name} ({key.fingerprint})",
        )


def _check_log(
    bundle: Bundle,
    *,
    key: PublicKey,
    authority: Authority,
    root: RootSource,
    times: Sequence[datetime],
    limits: DocumentSettings,
) -> tuple[LoggedEntry, ...]:
    if authority.transparency_log is Need.IGNORE:
        return ()
    if not bundle.log_entries:
        if authority.transparency_log is Need.REQUIRED:
            raise NotVerified(
                "LogEntryMissing",
                f"it is in no transparency log, and authority {authority.name} requires that "
                f"(transparencyLog: Required)",
            )
        return ()
    return verify_entries(bundle, by=Verifier(key), root=root(), times=times, limits=limits)


def _check_timestamps(bundle: Bundle, *, authority: Authority, root: RootSource) -> tuple[datetime, ...]:
    if authority.timestamp is Need.IGNORE:
        return ()
    if not bundle.timestamps:
        if authority.timestamp is Need.REQUIRED:
            raise NotVerified(
                "TimestampMissing",
                f"it has no timestamp, and authority {authority.name} requires one (timestamp: Required)",
            )
        return ()
    return verify_timestamps(bundle.timestamps, stamped=bundle.stamped, root=root())
