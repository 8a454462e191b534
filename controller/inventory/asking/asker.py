"""What every family of questions shares: one state of the database for each answer, bounded pages, cursors."""

from __future__ import annotations

import base64
import binascii
import json
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
from controller.inventory.blobs.store import Blobs
from controller.inventory.database.failures import unavailable

MAX_LIMIT = 500  # items on one page
DEFAULT_LIMIT = 50
MAX_CURSOR_LENGTH = 2048

Q = TypeVar("Q", bound=Select[Any])

Place = tuple[datetime, int]
"""Where a page ended: the time by which the list is ordered, and the leaf, of its last item."""


class Asker:
    """Asks an inventory. Blocking: call it off the event loop.

    Every method of a family raises `InputError` for a question that makes no sense and `Unavailable` (`DatabaseBusy`,
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


def write_cursor(moment: datetime, leaf: int) -> str:
    """The cursor that asks for what comes after this place."""
    text = f"{tables.instant(moment)} {leaf}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> Place:
    """The place that a cursor names. Raises `InputError` (`CursorMalformed`)."""
    try:
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise ValueError("too long")
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        moment, leaf = text.split(" ")
        position = int(leaf)
        if not 0 <= position < 2**63:
            raise ValueError("position")
        return datetime.strptime(moment, tables.INSTANT_FORMAT).replace(tzinfo=UTC), position
    except (ValueError, binascii.Error) as exc:
        raise InputError("CursorMalformed", "the cursor is none that this inventory gave out") from exc


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


Kinds = Sequence[type[str] | type[int] | type[datetime]]
"""What the values of a place are, one after another."""


def write_place(*values: str | int | datetime) -> str:
    """The cursor that asks for what comes after a place in a list of any order: the values by which it is ordered."""
    plain = [tables.instant(value) if isinstance(value, datetime) else value for value in values]
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode(errors="surrogatepass")).decode().rstrip("=")


def read_place(cursor: str, kinds: Kinds) -> list[Any]:
    """The values of `write_place`, of these kinds. Raises `InputError` (`CursorMalformed`)."""
    try:
        if len(cursor) > MAX_CURSOR_LENGTH:
            raise ValueError("too long")
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
        values = json.loads(text)
        if not isinstance(values, list):
            raise TypeError("no list")
        return [_of_kind(value, kind) for value, kind in zip(values, kinds, strict=True)]
    except (ValueError, TypeError, RecursionError, binascii.Error) as exc:
        raise InputError("CursorMalformed", "the cursor is none that this inventory gave out") from exc


def _of_kind(value: Any, kind: type) -> Any:
    if kind is datetime:
        return datetime.strptime(value, tables.INSTANT_FORMAT).replace(tzinfo=UTC)
    if type(value) is not kind:
        raise ValueError("another kind")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("no number that the databases know")
    if isinstance(value, str) and "\0" in value:
        raise ValueError("no text that the databases know")
    return value


def beyond(order: Sequence[tuple[ColumnElement[Any], bool]], place: Sequence[Any]) -> ColumnElement[bool]:
    """Whether a row comes after a place in a list ordered by these columns; True beside one means descending."""
    clauses = []
    for number, (column, descending) in enumerate(order):
        equal = [earlier == value for (earlier, _), value in zip(order[:number], place[:number], strict=True)]
        further = column < place[number] if descending else column > place[number]
        clauses.append(and_(*equal, further))
    return or_(*clauses)
