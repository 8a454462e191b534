"""CEL values as people and programs get to see them."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable
from typing import Any

from controller.policy.cel.libraries.times import text_of_timestamp
from controller.policy.cel.values import (
    SECOND,
    Duration,
    Keyed,
    Timestamp,
    TypeValue,
    Uint,
    is_of,
    kind_of,
    to_cel,
    type_name,
)


def type_of(value: Any) -> str:
    """The name of a value's type: `int`, `list`, `google.protobuf.Timestamp`."""
    return type_name(value)


def as_json(value: Any) -> Any:
    """The value as JSON: bytes in base64, timestamps as RFC 3339, durations as Go writes them, types by their name.

    Doubles that JSON does not have are the texts `NaN`, `Infinity` and `-Infinity`; a map with keys other than strings
    is a list of pairs. Values that only their functions look into are their text.
    """
    convert = _BY_CLASS.get(type(value))
    if convert is not None:
        return convert(value)
    kind = kind_of(value)
    if is_of(kind, "list"):
        return [as_json(to_cel(entry)) for entry in value]
    if is_of(kind, "map"):
        return {key: as_json(to_cel(value[key])) for key in value}
    return str(value)


def _double(value: float) -> Any:
    return value if math.isfinite(value) else "NaN" if math.isnan(value) else f"{'-' * (value < 0)}Infinity"


def go_duration(length: Duration) -> str:
    """As Go's `Duration.String`: `1h30m0s`, `1.5s`, `250ms`, `0s`."""
    sign, ns = ("-" if length.ns < 0 else ""), abs(length.ns)
    if ns == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1000), ("ms", 10**6)):
        if ns < size * 1000:
            return f"{sign}{_decimal(ns, size)}{unit}"
    minutes, rest = divmod(ns, 60 * SECOND)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, SECOND)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else sign + text


def _decimal(count: int, unit: int) -> str:
    whole, rest = divmod(count, unit)
    digits = f".{rest:0{len(str(unit)) - 1}}".rstrip("0") if rest else ""
    return f"{whole}{digits}"


_BY_CLASS: dict[type, Callable[[Any], Any]] = {
    type(None): lambda value: value,
    bool: lambda value: value,
    str: lambda value: value,
    int: lambda value: value,
    Uint: int,
    float: _double,
    bytes: lambda value: base64.b64encode(value).decode(),
    Timestamp: text_of_timestamp,
    Duration: go_duration,
    TypeValue: lambda value: value.name,
    Keyed: lambda value: [[as_json(key), as_json(to_cel(value[key]))] for key in value],
}
