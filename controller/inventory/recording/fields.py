"""A leaf's values as columns take them. Each raises `TypeError` or `ValueError` for what is none of its kind."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from controller.inventory.canonical import MAX_SAFE_INTEGER


def count(value: Any) -> int:
    """A number that is not negative, and exact."""
    number = int(value)
    if not 0 <= number <= MAX_SAFE_INTEGER:
        raise ValueError("a number that is none of this kind")
    return number


def moment(written: str) -> datetime:
    """A time, in UTC."""
    read = datetime.fromisoformat(written)
    if read.tzinfo is None:
        raise ValueError("a time without a zone")
    return read.astimezone(UTC)


def text(value: str | None) -> str:
    """A column's text; absent is empty. U+0000, which PostgreSQL cannot hold, stays in the leaf alone."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text is expected")
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if "\0" in value else value


def optional(value: str | None) -> str | None:
    """A column's text, or nothing where there is none."""
    return text(value) or None


def required(value: str | None) -> str:
    """A name that cannot be empty."""
    name = text(value)
    if not name:
        raise ValueError("an empty name")
    return name
