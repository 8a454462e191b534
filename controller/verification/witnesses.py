"""When a signature was there, and who vouches for that: transparency logs and timestamp authorities, as a policy asks.

The same for a policy's own keys and own CAs; a Fulcio certificate is nothing without a time and asks for itself
(`keyless`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.model.policy import Authority, Need
from controller.settings import DocumentSettings
from controller.verification.bundle import Bundle
from controller.verification.failures import NotVerified
from controller.verification.proof import check_times
from controller.verification.timestamps import verify_timestamps
from controller.verification.transparency import LoggedEntry, Verifier, verify_entries
from controller.verification.trust import ParsedRoot

RootSource = Callable[[], ParsedRoot]
"""Gives the authority's trust root, or raises `Unjudged`: asked for only where logs or timestamps are to be judged."""


@dataclass(frozen=True, slots=True)
class Witnessed:
    """What holds of a signature's log entries and timestamps. `times` are those that are vouched for, or now alone.

    `signed_at` is the earliest that is vouched for, if any.
    """

    entries: tuple[LoggedEntry, ...]
    stamped: tuple[datetime, ...]
    times: tuple[datetime, ...]
    signed_at: datetime | None


def witnessed(
    bundle: Bundle, *, by: Verifier, authority: Authority, root: RootSource, now: datetime, limits: DocumentSettings
) -> Witnessed:
    """What of the bundle's witnesses the authority asks for, each proven to be of this signature.

    Raises `NotVerified` (also `LogEntryMissing`, `TimestampMissing`, `SignedInFuture`) and `Unjudged`.
    """
    # (1) Where timestamps count, each that is there is a trusted authority's, over this signature.
    stamped = _timestamps(bundle, authority=authority, root=root)
    # (2) Where log entries count, each that is there is proven, and is the entry of this signature. One that says no
    #     time of its own is judged by a log's key that is believed when the signature was there.
    entries = _log(bundle, by=by, authority=authority, root=root, times=stamped or (now,), limits=limits)
    # (3) Nobody vouches for a time that is yet to come.
    promised = tuple(found.entry.integrated_at for found in entries if found.entry.integrated_at is not None)
    signed_at = check_times((*stamped, *promised), now=now)
    return Witnessed(entries, stamped, times=(*stamped, *promised) or (now,), signed_at=signed_at)


def _log(
    bundle: Bundle,
    *,
    by: Verifier,
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
    return verify_entries(bundle, by=by, root=root(), times=times, limits=limits)


def _timestamps(bundle: Bundle, *, authority: Authority, root: RootSource) -> tuple[datetime, ...]:
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
