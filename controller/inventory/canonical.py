"""Canonical JSON (RFC 8785): one decision has one byte string, which is what gets hashed, signed and replayed.

The `rfc8785` package is the reference; it takes 0.2 ms for an ordinary leaf, more than everything else about a record
together. Most leaves hold nothing but values on which orjson writes the same bytes (no floating point, integers below
2^53, ASCII names), so those take that way: 3 µs, and 6 to find out. A property test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

import orjson
import rfc8785

MAX_SAFE_INTEGER = 2**53 - 1  # RFC 8785 section 3.2.2.3: beyond it a number is no longer exact


def canonical(value: Any) -> bytes:
    """The one canonical form of a JSON value. Raises `ValueError` for what JSON cannot hold exactly."""
    return encoder(value)(value)


def joined(value: Mapping[str, Any], encoded: Mapping[str, bytes]) -> bytes:
    """The canonical form of an object, of whose members some are at hand in theirs. Raises as `canonical` does."""
    rest = {name: member for name, member in value.items() if name not in encoded}
    if encoder(rest) is _quick and all(map(str.isascii, encoded)):
        for name in encoded.keys() & value.keys():
            rest[name] = orjson.Fragment(encoded[name])
        with suppress(orjson.JSONEncodeError):
            return _copied(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS))
    return canonical(value)


def encoder(value: Any) -> Callable[[Any], bytes]:
    """The quickest function that writes this value, and every value inside it, in canonical form.

    Raises `ValueError` for a value nested too deeply to be looked through.
    """
    try:
        return _quick if _plain(value) else _reference
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _quick(value: Any) -> bytes:
    try:
        return _copied(orjson.dumps(value, option=orjson.OPT_SORT_KEYS))
    except orjson.JSONEncodeError:  # half of a surrogate pair, or nested more than 254 deep
        return _reference(value)


def _copied(written: bytes) -> bytes:
    """In as much memory as they have bytes: orjson leaves them in its buffer, which is up to ten times as long."""
    return bytes(memoryview(written))


def _reference(value: Any) -> bytes:
    try:
        return rfc8785.dumps(value)
    except RecursionError as exc:
        raise ValueError("nested too deeply") from exc


def _plain(value: Any) -> bool:
    """Whether orjson writes this as RFC 8785 asks for.

    ASCII names sort the same by code point and by UTF-16 unit, and need no look at surrogates.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is dict:
        for name in value:
            if type(name) is not str or not name.isascii():
                return False
        return _all_plain(value.values())
    if kind is list or kind is tuple:
        return _all_plain(value)
    return kind is int and -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER


def _all_plain(items: Iterable[Any]) -> bool:
    # Loops, and text seen at once: with generators it took longer than the writing itself.
    for item in items:  # noqa: SIM110
        if type(item) is not str and not _plain(item):
            return False
    return True
