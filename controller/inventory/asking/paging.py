"""Paging: all pages of a list are of one state of the inventory, that which the first page showed.

What a list is ordered by may be another by the time that its next page is asked for: an exception is used again, a
newer report is recorded, a container ends. Each page of what there is *then* would pass over what moved to before the
place where the last one ended, and tell twice what moved behind it. So a cursor carries the times of the first page,
which stand for those that a question leaves open. Lists to which is only ever added, in an order that stays (decisions,
reads), need none of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Connection, func, select

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking import cursors

LAST_YEAR = 9000  # of what can be asked about: the calendar's own end is too near to what is added to a time
LATEST = 100  # of the records, by position, of which the last is meant: those of one moment stand in no order


@dataclass(frozen=True, slots=True)
class Paging:
    """Where in a list a page begins, and at which times the list is looked at.

    `place` is None on the first page. `as_of` and `known_at` are those of the question, as all its pages have them.
    `read_by`: what was read into the index later is not there yet; None on the first page, which shows what there is.
    """

    name: str
    place: tuple[Any, ...] | None
    as_of: datetime | None
    known_at: datetime | None
    read_by: datetime | None
    _asked: datetime | None
    _began: datetime

    @classmethod
    def of(
        cls,
        name: str,
        cursor: str | None,
        *kinds: type[cursors.Value],
        as_of: datetime | None,
        known_at: datetime | None,
        now: bool = False,
        ever: bool = False,
    ) -> Self:
        """The page of the list of this name, whose places are of these `kinds`, that a cursor asks for.

        `now`: without `as_of` this moment is meant, and with `ever` whatever was at any time; else no time at all.
        Raises `InputError`: `TimeOutOfRange`, `CursorMalformed`, `CursorOfAnotherList`, and `CursorOfAnotherTime` for a
        time that is given with a cursor and is another than its list's.
        """
        began = datetime.now(UTC)
        if any(time is not None and time.year > LAST_YEAR for time in (as_of, known_at)):
            raise InputError("TimeOutOfRange", f"a time after the year {LAST_YEAR} is none that can be asked about")
        if cursor is None:
            return cls(name, None, as_of or (began if now else None), known_at, None, known_at, began)
        found = cursors.read(cursor, name, *kinds, times=3)
        true, known, read_by = found.times
        if read_by is None or any(time is not None and time.year > LAST_YEAR for time in found.times):
            raise InputError("CursorMalformed", "the cursor is none that this inventory gave out")
        for what, given, first in (("as of", as_of, true), ("known at", known_at, known or read_by)):
            if given not in {None, first} or (what == "as of" and ever and first is not None):
                of = "any time" if first is None else f"{tables.instant(first)}"
                message = f"the cursor is of a list {what} {of}: ask for that, or for none, or begin without a cursor"
                raise InputError("CursorOfAnotherTime", message)
        return cls(name, found.place, true, min(known or read_by, read_by), read_by, known, read_by)

    @property
    def at(self) -> datetime:
        """The moment that is asked about, of a list that always has one."""
        return self.as_of or self._began

    def after(self, connection: Connection, place: tuple[cursors.Value, ...] | None) -> str | None:
        """The cursor that asks for the page after this place; None (of no place) after the last. In the transaction
        that read this page."""
        if place is None:
            return None
        read_by = self.read_by or _read_by(connection, self._began)
        return cursors.write(self.name, place, (self.as_of, self._asked, read_by))


def _read_by(connection: Connection, began: datetime) -> datetime:
    """By when all was recorded that this state has: the clock of who records it may go ahead of this one."""
    leaf = tables.leaf
    latest = select(leaf.c.recorded_at).order_by(leaf.c.position.desc()).limit(LATEST).subquery()
    last: datetime | None = connection.execute(select(func.max(latest.c.recorded_at, type_=tables.Instant))).scalar()
    return began if last is None else max(began, last)
