"""Cursors of lists that are ordered by other things than a time: the values of the place where a page ended."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence

from controller.errors import InputError

MAX_CURSOR = 2048  # characters

Value = str | int


def write(values: Sequence[Value]) -> str:
    """The cursor that asks for what comes after this place."""
    text = json.dumps(list(values), ensure_ascii=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(cursor: str, *kinds: type[str | int]) -> tuple[Value, ...]:
    """The values that a cursor names, which have to be of these kinds. Raises `InputError` (`CursorMalformed`)."""
    try:
        if len(cursor) > MAX_CURSOR:
            raise ValueError("too long")
        text = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        values = json.loads(text)
        if not isinstance(values, list) or [type(value) for value in values] != list(kinds):
            raise ValueError("other values")
        if any(isinstance(value, int) and not -(2**63) <= value < 2**63 for value in values):
            raise ValueError("a number out of range")
        if any(isinstance(value, str) and ("\0" in value or not value.isprintable()) for value in values):
            raise ValueError("no text")
    except (ValueError, binascii.Error, RecursionError) as exc:
        raise InputError("CursorMalformed", "the cursor is none that this inventory gave out") from exc
    return tuple(values)
