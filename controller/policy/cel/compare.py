"""Equality and order of values: by CEL's rules, which are not Python's (`true == 1` is false, maps' keys are typed)."""

from __future__ import annotations

from typing import Any

from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import no_overload
from controller.policy.cel.values import Duration, Keyed, Timestamp, Uint, is_of, kind_of, to_cel

_NUMBERS = (int, Uint, float)
NO_ORDER = 2
_PLAIN = frozenset({int, float, Uint, str, bytes, bool, type(None)})


def equal(meter: Meter, a: Any, b: Any) -> bool:
    """CEL's equality: numbers by their mathematical value, everything else only within its type."""
    meter.step()
    one, other = type(a), type(b)
    if one in _PLAIN or other in _PLAIN:
        if one is other:
            if one is str or one is bytes:
                meter.charge(min(len(a), len(b)))
            return bool(a == b)
        return one in _NUMBERS and other in _NUMBERS and _sign(*_alike(a, b)) == 0
    kind_a, kind_b = kind_of(a), kind_of(b)
    if is_of(kind_a, "list") and is_of(kind_b, "list"):
        return len(a) == len(b) and all(equal(meter, to_cel(x), to_cel(y)) for x, y in zip(a, b, strict=True))
    if is_of(kind_a, "map") and is_of(kind_b, "map"):
        return _equal_maps(meter, a, b)
    return kind_a == kind_b and bool(a == b)


def _equal_maps(meter: Meter, a: Any, b: Any) -> bool:
    if len(a) != len(b):
        return False
    if isinstance(a, Keyed) != isinstance(b, Keyed):
        return not len(a)  # one of them has keys that are no strings
    return all(key in b and equal(meter, to_cel(a[key]), to_cel(b[key])) for key in a)


def contained(meter: Meter, value: Any, entries: Any) -> bool:
    """Whether a list has an entry that equals the value."""
    return any(equal(meter, value, to_cel(entry)) for entry in entries)


def order(meter: Meter, a: Any, b: Any) -> int:
    """-1, 0 or 1. Raises `CelError` for what has no order; `NO_ORDER` beside NaN."""
    meter.step()
    one, other = type(a), type(b)
    if one in _NUMBERS and other in _NUMBERS:
        return _sign(*_alike(a, b))
    if one is other:
        if one is str or one is bytes:
            meter.charge(min(len(a), len(b)))
            return _sign(a, b)
        if one is bool:
            return _sign(a, b)
        if one is Timestamp or one is Duration:
            return _sign(a.ns, b.ns)
    raise no_overload("_<_", (a, b))


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """An integer beside a double is compared as the nearest double (cel-spec, "lossy")."""
    return (float(a), float(b)) if type(a) is float or type(b) is float else (a, b)


def _sign(a: Any, b: Any) -> int:
    if a < b:
        return -1
    return 1 if a > b else 0 if a == b else NO_ORDER
