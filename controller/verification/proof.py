"""What every way of proving a signature comes to, whoever made it and in whatever format it was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.model.evidence import LogEntry, Signer
from controller.verification.failures import NotVerified
from controller.verification.keys import PublicKey
from controller.verification.transparency import LoggedEntry

CLOCK_SKEW = timedelta(minutes=5)
"""How far another's clock may be ahead of ours before a time it vouches for lies in the future."""

MAX_SHOWN = 300  # bounds another's text within one of our sentences


@dataclass(frozen=True, slots=True)
class Proven:
    """A signature that was verified: whose it is, and when it was there.

    `key` is the one that signed. `steps` tell the proof. `timestamped` says that an RFC 3161 authority vouches for the
    time.
    """

    signer: Signer
    key: PublicKey
    log_entry: LogEntry | None
    signed_at: datetime | None
    timestamped: bool
    steps: tuple[str, ...]


def check_times(times: tuple[datetime, ...], *, now: datetime) -> datetime | None:
    """The earliest time that was vouched for, if any.

    Raises `NotVerified` (`SignedInFuture`): what was signed after the moment of the review is no evidence at it, be
    that a clock gone wrong or a replay of another day.
    """
    if any(time > now + CLOCK_SKEW for time in times):
        raise NotVerified("SignedInFuture", f"it was signed after the time of this review ({now:%Y-%m-%dT%H:%M:%SZ})")
    return min(times, default=None)


def told(entries: Iterable[LoggedEntry], stamped: Iterable[datetime]) -> Iterator[str]:
    """The steps for these log entries and timestamps."""
    for found in entries:
        yield (
            f"Entry {found.entry.index} ({found.kind}) is in the transparency log {found.entry.log_id}, and is that of "
            f"this signature, key and content."
        )
        if found.entry.integrated_at is not None:
            yield f"The log promised the entry at {shown_time(found.entry.integrated_at)}."
    for time in stamped:
        yield f"A timestamp authority saw the signature at {shown_time(time)}."


def shown_time(time: datetime) -> str:
    """A time as it stands in a sentence."""
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def shown(text: str) -> str:
    """Proven text of others as it may stand in a sentence: on one line, without control characters, and not long."""
    printable = "".join(character if character.isprintable() else "\ufffd" for character in text)
    return printable if len(printable) <= MAX_SHOWN else printable[:MAX_SHOWN] + "…"
