"""Equality, order, membership, index and negation."""

from __future__ import annotations

from typing import Any

from controller.policy.cel.compare import NO_ORDER, contained, equal, order
from controller.policy.cel.failure import CelError
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import ENTRIES, SCANS, Library, no_overload
from controller.policy.cel.schema import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    B,
    list_of,
    map_of,
)
from controller.policy.cel.values import Uint, to_cel

LIBRARY = Library("operators", "What is written with signs. `&&`, `||` and `?:` evaluate only what they need.")

_COMPARED = f"{SCANS}, each entry of lists and maps included"
_NUMBERS = (INT, UINT, DOUBLE)


@LIBRARY.function("_==_", A, A, returns=BOOL, cost=_COMPARED)
def equals(meter: Meter, a: Any, b: Any) -> bool:
    """Whether two values are equal; values of different types are not, but numbers are compared by value."""
    return equal(meter, a, b)


@LIBRARY.function("_!=_", A, A, returns=BOOL, cost=_COMPARED)
def differs(meter: Meter, a: Any, b: Any) -> bool:
    """Whether two values are not equal."""
    return not equal(meter, a, b)


@LIBRARY.function("!_", BOOL, returns=BOOL)
def negated(_meter: Meter, value: bool) -> bool:
    """The other boolean."""
    return not value


def _ordering(name: str, accepted: frozenset[int], text: str) -> None:
    def compare(meter: Meter, a: Any, b: Any) -> bool:
        found = order(meter, a, b)
        if found == NO_ORDER:
            raise CelError("NaN has no order")
        return found in accepted

    pairs = [(t, t) for t in (BOOL, STRING, BYTES, TIMESTAMP, DURATION)]
    for left, right in [*pairs, *((x, y) for x in _NUMBERS for y in _NUMBERS)]:
        LIBRARY.function(name, left, right, returns=BOOL, cost=SCANS, text=text)(compare)


_ordering("_<_", frozenset({-1}), "Whether the first is less; numbers of different types are compared by value.")
_ordering("_<=_", frozenset({-1, 0}), "Whether the first is not greater.")
_ordering("_>_", frozenset({1}), "Whether the first is greater.")
_ordering("_>=_", frozenset({1, 0}), "Whether the first is not less.")


@LIBRARY.function("_in_", A, list_of(A), returns=BOOL, cost=f"{ENTRIES}, and {SCANS}")
def in_list(meter: Meter, value: Any, entries: Any) -> bool:
    """Whether a list has an entry that equals the value."""
    return contained(meter, value, entries)


@LIBRARY.function("_in_", A, map_of(B, A), returns=BOOL)
def in_map(_meter: Meter, key: Any, entries: Any) -> bool:
    """Whether a map has this key."""
    return type(key) in {str, int, Uint, bool, float} and key in entries


@LIBRARY.function("_[_]", list_of(A), INT, returns=A)
@LIBRARY.function("_[_]", list_of(A), UINT, returns=A)
@LIBRARY.function("_[_]", list_of(A), DOUBLE, returns=A)
def entry_of_list(_meter: Meter, entries: Any, index: Any) -> Any:
    """An entry of a list, from 0; an error past the end."""
    if type(index) is float and not index.is_integer():
        raise CelError("a list's index is an int")
    if not 0 <= index < len(entries):
        raise CelError("index out of range")
    return to_cel(entries[int(index)])


@LIBRARY.function("_[_]", map_of(B, A), A, returns=B)
def entry_of_map(_meter: Meter, entries: Any, key: Any) -> Any:
    """A value of a map; an error if there is no such key."""
    if type(key) not in {str, int, Uint, bool, float}:
        raise no_overload("_[_]", (entries, key))
    if key not in entries:
        raise CelError("no such key")
    return to_cel(entries[key])
