"""What a question of one's own comes to, and its bounds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

Cell = str | int | float | bool | None
OVERHEAD = 16  # bytes counted for a cell beside its text


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one question may take: `seconds`, rows and bytes of its answer."""

    seconds: float
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Columns by name, and rows. `cut` says that there were more: `rows` or `bytes`, whichever was full; else empty."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    cut: str


def collect(columns: Sequence[str], found: Iterable[Sequence[Any]], bounds: Bounds) -> Answer:
    """The answer as far as it may go. No row past that is fetched."""
    rows: list[tuple[Cell, ...]] = []
    size = 0
    for values in found:
        if len(rows) == bounds.rows:
            return Answer(tuple(columns), tuple(rows), "rows")
        row = tuple(map(plain, values))
        size += sum(OVERHEAD + (len(cell) if isinstance(cell, str) else 0) for cell in row)
        if size > bounds.bytes:
            return Answer(tuple(columns), tuple(rows), "bytes")
        rows.append(row)
    return Answer(tuple(columns), tuple(rows), "")


def plain(value: Any) -> Cell:
    """A database's value as JSON knows it: times as RFC 3339 in UTC, bytes in hex, numbers that are none as text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Decimal():
            return int(value) if value.is_finite() and value == value.to_integral_value() else str(value)
        case datetime():
            zoned = value.tzinfo is not None
            return f"{value.astimezone(UTC).isoformat(timespec='microseconds')[:26]}Z" if zoned else value.isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return str(value)
        case bytes() | bytearray() | memoryview():
            return bytes(value).hex()
    return json.dumps(value, ensure_ascii=False, default=str)
