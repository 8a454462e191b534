"""Cursors: the place where a page ended, as a text by which a caller asks for what comes after it.

A place is made of the values by which its list is ordered. Most lists are ordered by a time and a leaf (`write_place`);
those and others of two values write them as two words, all others as a list in JSON. What a cursor says is not
believed: whatever this inventory would not have given out is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from controller.errors import InputError
from controller.inventory import tables

MAX_CURSOR = 2048  # characters

Value = str | int | datetime
Place = tuple[datetime, int]
"""Where a page ended: the time by which the list is ordered, and the leaf, of its last item."""


def write_place(moment: datetime, leaf: int) -> str:
    """The cursor that asks for what comes after this place."""
    return write_pair(moment, leaf)


def read_place(cursor: str) -> Place:
    """The place that a cursor names. Raises `InputError` (`CursorMalformed`)."""
    moment, leaf = read_pair(cursor, datetime, int)
    return moment, leaf


def write_pair(first: int | datetime, second: Value) -> str:
    """The same of a list that is ordered by these two."""
    return _encoded(f"{_plain(first)} {_plain(second)}")


def read_pair(cursor: str, *kinds: type[Value]) -> tuple[Any, ...]:
    """The two values of `write_pair`, of these kinds. Raises `InputError` (`CursorMalformed`)."""
    with _refusing():
        words = _decoded(cursor).split(" ", 1)
        return tuple(_of_kind(_read(word, kind), kind) for word, kind in zip(words, kinds, strict=True))


def write(*values: Value) -> str:
    """The same of a list that is ordered by any values."""
    return _encoded(json.dumps([_plain(value) for value in values], separators=(",", ":")))


def read(cursor: str, *kinds: type[Value]) -> tuple[Any, ...]:
    """The values of `write`, of these kinds. Raises `InputError` (`CursorMalformed`)."""
    with _refusing():
        values = json.loads(_decoded(cursor))
        if not isinstance(values, list):
            raise TypeError("no list")
        return tuple(_of_kind(value, kind) for value, kind in zip(values, kinds, strict=True))


@contextmanager
def _refusing() -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, RecursionError) as exc:
        raise InputError("CursorMalformed", "the cursor is none that this inventory gave out") from exc


def _encoded(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decoded(cursor: str) -> str:
    if len(cursor) > MAX_CURSOR:
        raise ValueError("too long")
    return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()


def _plain(value: Value) -> str | int:
    return tables.instant(value) if isinstance(value, datetime) else value


def _read(word: str, kind: type[Value]) -> Value:
    if kind is not int:
        return word
    if not word.isdecimal():
        raise ValueError("no number")
    return int(word)


def _of_kind(value: Any, kind: type[Value]) -> Value:
    if kind is datetime:
        return datetime.strptime(value, tables.INSTANT_FORMAT).replace(tzinfo=UTC)
    if type(value) is not kind:
        raise ValueError("another kind")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("no number that the databases know")
    if isinstance(value, str):
        value.encode()  # raises what is a `ValueError` for half a surrogate pair
        if "\0" in value:
            raise ValueError("no text that the databases know")
    return value
