"""What every family of questions shares: one state of the database for each answer, bounded pages, cursors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.blobs.store import Blobs
from controller.inventory.dialect import unavailable

MAX_LIMIT = 500  # items on one page
DEFAULT_LIMIT = 50
MAX_CURSOR_LENGTH = 256

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
