"""Cursors: the place where a page ended, as a text by which a caller asks for what comes after it.

A cursor names its list, the times of which its pages are (`paging`), and the place, which is made of the values by
which the list is ordered. What it says is not believed: whatever this inventory would not have given out is refused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from controller.errors import InputError
from controller.inventory import tables

MAX_CURSOR = 16_384  # characters: a package's name is in some, of which each control character takes six

Value = str | int | datetime
Place = tuple[datetime, int]
"""Where a page ended: the time by which the list is ordered, and the leaf, of its last item. Most lists have such."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a cursor says."""

    place: tuple[Any, ...]
    times: tuple[datetime | None, ...] = ()


def write(name: str, place: Sequence[Value], times: Sequence[datetime | None] = ()) -> str:
    """The cursor that asks for what comes after this place in the list of this name."""
    said = [name, [None if time is None else tables.instant(time) for time in times], [_plain(one) for one in place]]
    text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, name: str, *kinds: type[Value], times: int = 0) -> Cursor:
    """What `write` wrote for this list: a place of these kinds, and so many times.

    Raises `InputError`: `CursorMalformed`, `CursorOfAnotherList`.
    """
    try:
        whose, said, place = _decoded(cursor)
        found = Cursor(
            tuple(_of_kind(value, kind) for value, kind in zip(place, kinds, strict=True)) if whose == name else (),
            tuple(None if time is None else _moment(time) for time in said),
        )
        if whose == name and len(found.times) != times:
            raise ValueError("other times")
    except (ValueError, TypeError, RecursionError) as exc:
        raise InputError("CursorMalformed", "the cursor is none that this inventory gave out") from exc
    if whose != name:
        raise InputError("CursorOfAnotherList", f"the cursor is of another list: begin that of {name} without one")
    return found


def _decoded(cursor: str) -> list[Any]:
    if len(cursor) > MAX_CURSOR:
        raise ValueError("too long")
    text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode()
    found = json.loads(text)
    if not isinstance(found, list) or [type(part) for part in found] != [str, list, list]:
        raise TypeError("no name with lists of times and values")
    return found


def _plain(value: Value) -> str | int:
    return tables.instant(value) if isinstance(value, datetime) else value


def _of_kind(value: Any, kind: type[Value]) -> Value:
    if kind is datetime:
        return _moment(value)
    if type(value) is not kind:
        raise ValueError("another kind")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("no number that the databases know")
    if isinstance(value, str):
        value.encode()  # raises what is a `ValueError` for half a surrogate pair
        if "\0" in value:
            raise ValueError("no text that the databases know")
    return value


def _moment(value: Any) -> datetime:
    return datetime.strptime(value, tables.INSTANT_FORMAT).replace(tzinfo=UTC)
