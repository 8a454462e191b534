"""What every family of questions shares: one state of the database for each answer, bounded pages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    FromClause,
    Select,
    and_,
    literal,
    or_,
    tuple_,
)
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking.cursors import Place
from controller.inventory.blobs.store import Blobs
from controller.inventory.database.failures import unavailable

MAX_LIMIT = 500  # items on one page
DEFAULT_LIMIT = 50

Q = TypeVar("Q", bound=Select[Any])


class Asker:
    """Asks an inventory. Blocking: call it off the event loop.

    Every method of a family raises `InputError` for a question that makes no sense (and every list for a cursor that
    is none of its own: `cursors.read`, `paging.Paging.of`) and `Unavailable` (`DatabaseBusy`,
    `DatabaseUnavailable`) when the answer would take too long or the database is away.
    """

    def __init__(self, engine: Engine, blobs: Blobs | None = None) -> None:
        """`blobs` reads raw bytes; without it, those that are in the database alone."""
        self._engine = engine
        self._blobs = blobs or Blobs()

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        """One state of the database for everything inside."""
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as exc:
            raise unavailable(exc) from exc


def check_limit(limit: int) -> None:
    """Raise `InputError` (`LimitOutOfRange`) for a page that is empty or too large."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InputError("LimitOutOfRange", f"limit must be between 1 and {MAX_LIMIT}")


def check_period(since: datetime | None, until: datetime | None) -> None:
    """Raise `InputError` (`PeriodEmpty`) for a time that ends before it begins: *nothing* would be no answer to it."""
    if since is not None and until is not None and until <= since:
        ends, begins = (f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for moment in (until, since))
        raise InputError("PeriodEmpty", f"the time that is asked about ends ({ends}) before it begins ({begins})")


def by_then(query: Q, rows: FromClause, *, as_of: datetime | None, known_at: datetime | None) -> Q:
    """Of these rows only what was true by `as_of` (`decided_at`) and recorded by `known_at`; None asks for nothing."""
    if as_of is not None:
        query = query.where(rows.c.decided_at <= as_of)
    return query if known_at is None else query.where(rows.c.recorded_at <= known_at)


def before_place(table: FromClause, place: Place) -> ColumnElement[bool]:
    """Whether a row comes after this place in a list that is ordered by `decided_at` and `leaf`, the latest first.

    The time is said by itself too: PostgreSQL leaves out no partition for a comparison of pairs.
    """
    return by_place(table, literal(place[0], tables.Instant), literal(place[1], BigInteger))


def by_place(table: FromClause, at: ColumnElement[Any], leaf: ColumnElement[Any]) -> ColumnElement[bool]:
    """`before_place`, for a place that is told when the question is asked."""
    return and_(table.c.decided_at <= at, tuple_(table.c.decided_at, table.c.leaf) < tuple_(at, leaf))


def beyond(order: Sequence[tuple[ColumnElement[Any], bool]], place: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a row comes after a place in a list ordered by these columns; True beside one means descending."""
    clauses = []
    for number, (column, descending) in enumerate(order):
        equal = [earlier == value for (earlier, _), value in zip(order[:number], place[:number], strict=True)]
        further = column < place[number] if descending else column > place[number]
        clauses.append(and_(*equal, further))
    return or_(*clauses)
