"""Joining tables that have rows of the same leaf: by its time as well, since PostgreSQL keeps them by month."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, false


def of_one_leaf(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    """What joins two tables that have rows of the same leaf: by its time as well, so that PostgreSQL looks for the one
    in the month of the other, and nowhere else (`partitions`)."""
    return and_(one.c.leaf == other.c.leaf, one.c.decided_at == other.c.decided_at)


def of_rows(table: FromClause, rows: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a row of the table is of the same leaf as one of these, which have `leaf` and `decided_at`; none: no."""
    times = [row.decided_at for row in rows]
    if not times:
        return false()
    return and_(table.c.leaf.in_([row.leaf for row in rows]), table.c.decided_at.between(min(times), max(times)))
