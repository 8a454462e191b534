"""Until when something can have been decided, if it was known at an earlier time.

Nobody learns of a decision before it is made, but by a clock that was set back. So who asks what was known half a year
ago need not be kept waiting while everything that was decided since is looked at, row by row, and left out.
"""

from __future__ import annotations

from datetime import datetime
from typing import overload

from sqlalchemy import Connection, func, select

from controller.inventory import tables

_decision = tables.decision


@overload
def last_decided(connection: Connection, *, as_of: datetime, known_at: datetime | None) -> datetime: ...
@overload
def last_decided(connection: Connection, *, as_of: datetime | None, known_at: datetime | None) -> datetime | None: ...
def last_decided(connection: Connection, *, as_of: datetime | None, known_at: datetime | None) -> datetime | None:
    """The time by which all was decided that was decided by `as_of` (None: ever) and recorded by `known_at` (None: by
    now): not after `as_of`, and not before `known_at` if that is earlier."""
    if known_at is None or (as_of is not None and as_of <= known_at):
        return as_of
    foretold = (
        select(func.max(_decision.c.decided_at, type_=tables.Instant))
        .where(_decision.c.recorded_at < _decision.c.decided_at)
        .where(_decision.c.decided_at > known_at, _decision.c.recorded_at <= known_at)
        .with_hint(_decision, "INDEXED BY ix_decision_foretold", "sqlite")  # or it goes through all that was decided
    )
    if as_of is not None:
        foretold = foretold.where(_decision.c.decided_at <= as_of)
    last: datetime | None = connection.execute(foretold).scalar()
    return known_at if last is None else last
