"""The proof that one of a policy's keys made a signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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


MAX_NAMED = 3  # keys that a message names; the rest is counted


@dataclass(frozen=True, slots=True)
class KeyInForce:
    """A key and the window in which it is believed; both ends belong to it, and None is open."""

    key: PublicKey
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    def believed(self, time: datetime) -> bool:
        """Whether the time lies in the window."""
        begun = self.valid_from is None or self.valid_from <= time
        return begun and (self.valid_until is None or time <= self.valid_until)


def prove_by_key(
    bundle: Bundle,
    *,
    image: Digest,
    keys: Sequence[KeyInForce],
    authority: Authority,
    root: RootSource,
    now: datetime,
    limits: DocumentSettings,
) -> Proven:
    """Prove that one of `keys` signed the bundle's content, with the log entry and timestamp that is asked for.

    The caller's duty: to check what the content is about (`read_statement`, `check_payload`).
    Raises `NotVerified` and `Unjudged`.
    """
    # (1) The signature is the key's, over exactly this content.
    used = _used(bundle, image=image, keys=keys, authority=authority)
    key = used.key
    # (2) Where timestamps count, each that is there is a trusted authority's, over this signature.
    stamped = check_timestamps(bundle, authority=authority, root=root)
    # (3) Where log entries count, each that is there is proven, and is the entry of this signature. One that says no
    #     time of its own is judged by a log's key that is believed when the signature was there.
    by = Verifier(key)
    entries = check_log(bundle, by=by, authority=authority, root=root, times=stamped or (now,), limits=limits)
    # (4) Nobody vouches for a time that is yet to come.
    promised = tuple(found.entry.integrated_at for found in entries if found.entry.integrated_at is not None)
    signed_at = check_times((*stamped, *promised), now=now)
    # (5) At each time that is vouched for, or now if none is, the key was one to be believed.
    if not all(used.believed(time) for time in (*stamped, *promised) or (now,)):
        raise NotVerified(
            "KeyOutsideValidity",
            f"the key {key.fingerprint} is not believed for the time of its signature (authority {authority.name})",
        )
    over = described(bundle.content, image)
    return Proven(
        signer=Signer(key=key.fingerprint),
        key=key,
        log_entry=entries[0].entry if entries else None,
        signed_at=signed_at,
        timestamped=bool(stamped),
        steps=(
            f"The signature over {over} verifies with the key {key.fingerprint} of authority {authority.name}.",
            *told(entries, stamped),
        ),
    )


def _used(bundle: Bundle, *, image: Digest, keys: Sequence[KeyInForce], authority: Authority) -> KeyInForce:
    """The key that made the signature. None of none made any."""
    if bundle.certificate is not None:
        raise NotVerified(
            "SignedWithCertificate", f"it was signed with a certificate, and authority {authority.name} is a key"
        )
    for candidate in keys:
        if is_signed_by(bundle.content, image=image, key=candidate.key):
            return candidate
    names = ", ".join(candidate.key.fingerprint for candidate in keys[:MAX_NAMED]) or "none"
    more = f" and {len(keys) - MAX_NAMED} more" if len(keys) > MAX_NAMED else ""
    which = "the key" if len(keys) == 1 else "a key"
    raise NotVerified(
        "SignatureInvalid", f"its signature was not made with {which} of authority {authority.name} ({names}{more})"
    )


def check_log(
    bundle: Bundle,
    *,
    by: Verifier,
    authority: Authority,
    root: RootSource,
    times: Sequence[datetime],
    limits: DocumentSettings,
) -> tuple[LoggedEntry, ...]:
    """The log entries, each proven to be of this signature, as far as the authority asks for any."""
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
    return verify_entries(bundle, by=by, root=root(), times=times, limits=limits)


def check_timestamps(bundle: Bundle, *, authority: Authority, root: RootSource) -> tuple[datetime, ...]:
    """The times of the timestamps, each proven to be over this signature, as far as the authority asks for any."""
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
