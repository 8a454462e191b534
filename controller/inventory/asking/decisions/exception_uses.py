"""Which exceptions were used, by whom they were approved, and how often."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, select

from controller.inventory import tables
from controller.inventory.asking import cursors
from controller.inventory.asking.asker import beyond, by_then, check_limit
from controller.inventory.records import ExceptionPage, ExceptionRecord

KEY = ("cluster", "name", "hash", "approval")
_exception, _use = tables.exception, tables.exception_use


def page(
    connection: Connection,
    *,
    name: str | None,
    limit: int,
    cursor: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
) -> ExceptionPage:
    """A page of `Queries.exceptions`, which says what it raises."""
    check_limit(limit)
    query, order = _uses(name, as_of, known_at)
    if cursor is not None:
        query = query.where(beyond(order, cursors.read(cursor, datetime, *(str for _ in KEY))))
    rows = connection.execute(query.limit(limit + 1)).mappings().all()
    items = tuple(ExceptionRecord(**row) for row in rows[:limit])
    after = (items[-1].last_used_at, *(getattr(items[-1], key) for key in KEY)) if items else ()
    return ExceptionPage(items=items, cursor=cursors.write(*after) if len(rows) > limit else None)


def _uses(
    name: str | None, as_of: datetime | None, known_at: datetime | None
) -> tuple[Select[Any], list[tuple[ColumnElement[Any], bool]]]:
    """The exceptions that were used, ordered, and by what: the columns, and whether they descend."""
    last = func.max(_use.c.decided_at, type_=tables.Instant)
    uses = select(
        *(_use.c[column] for column in KEY),
        func.count().label("uses"),
        func.min(_use.c.decided_at, type_=tables.Instant).label("first_used_at"),
        last.label("last_used_at"),
    ).group_by(*(_use.c[column] for column in KEY))
    if name is not None:
        uses = uses.where(_use.c.name == name)
    found = by_then(uses, _use, as_of=as_of, known_at=known_at).subquery()
    told = ("approver", "approved_at", "reason", "expires", "break_glass")
    query = select(
        *(_exception.c[column] for column in (*KEY, *told)),
        *(found.c.uses, found.c.first_used_at, found.c.last_used_at),
    ).join(found, and_(*(_exception.c[column] == found.c[column] for column in KEY)))
    order: list[tuple[ColumnElement[Any], bool]] = [
        (found.c.last_used_at, True),
        *((_exception.c[column], False) for column in KEY),
    ]
    return query.order_by(*(column.desc() if falls else column for column, falls in order)), order
