"""Finding what went on at a moment among intervals that began at any time before: by an index, not by looking at all.

Each interval has a class, its `span`: the power of two of minutes that its length stays below. One of class k that went
on at D began in the 2^k minutes before D, and of those that began there at least about half still went on: so the
classes, a range of the index each, hold what is looked for and little else.

What is recorded has two times. An end counts from when it was recorded, so an interval is as long as the later of the
two says; and what was known at K goes on at the earlier of D and K, or is not in doubt.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

UNIT = timedelta(minutes=1)  # what is shorter is of class 0
LONGEST = 24  # the class of all that is longer than 2^23 minutes, sixteen years
AHEAD = 62  # recorded before it began, by a clock that was ahead: its times are not in the order that windows rest on
OPEN = 63  # not known to have ended
SPANS = (*range(LONGEST + 1), AHEAD, OPEN)


def span_of(
    *, started_at: datetime, recorded_at: datetime, ended_at: datetime | None, end_recorded_at: datetime | None
) -> int:
    """The class of an interval."""
    if started_at > recorded_at:
        return AHEAD
    if ended_at is None or end_recorded_at is None:
        return OPEN
    units = (max(ended_at, end_recorded_at) - started_at) // UNIT
    return min(max(units, 0).bit_length(), LONGEST)


@dataclass(frozen=True, slots=True)
class Window:
    """Intervals of class `span` that can have gone on began after `after` and not after `until` (None: no bound)."""

    span: int
    after: datetime | None = None
    until: datetime | None = None


def windows(*, as_of: datetime | None, known_at: datetime | None) -> tuple[Window, ...]:
    """Where to look for what went on at `as_of` as it was known at `known_at` (None of both: all there ever was)."""
    if as_of is None:
        return tuple(Window(span, until=None if span == AHEAD else known_at) for span in SPANS)
    moment = as_of if known_at is None else min(as_of, known_at)
    return tuple(_window(span, moment=moment, as_of=as_of) for span in SPANS)


def _window(span: int, *, moment: datetime, as_of: datetime) -> Window:
    if span == AHEAD:
        return Window(span, until=as_of)
    if span in {OPEN, LONGEST}:
        return Window(span, until=moment)
    try:
        return Window(span, after=moment - UNIT * 2**span, until=moment)
    except OverflowError:  # it would begin before the first year
        return Window(span, until=moment)
