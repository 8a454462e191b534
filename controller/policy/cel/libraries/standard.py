"""The functions of the CEL specification over texts, bytes, lists, maps and types."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from controller.errors import PolicyError, Unacceptable
from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries.numbers import text_of_double
from controller.policy.cel.libraries.times import text_of_duration, text_of_timestamp
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.overloads import SCANS, UNKNOWN, ConstantError, Library
from controller.policy.cel.schema import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    TYPE,
    UINT,
    A,
    B,
    list_of,
    map_of,
)
from controller.policy.cel.values import Duration, Timestamp, TypeValue, type_name
from controller.policy.regex import Pattern, compile_pattern

LIBRARY = Library("standard", "What the CEL specification has for texts, bytes, lists, maps and types.")

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_BUILDS = "1 step for each 16 bytes of the result"


@LIBRARY.function("size", STRING, returns=INT)
@LIBRARY.function("size", BYTES, returns=INT)
@LIBRARY.function("size", list_of(A), returns=INT)
@LIBRARY.function("size", map_of(B, A), returns=INT)
@LIBRARY.method("size", STRING, returns=INT)
@LIBRARY.method("size", BYTES, returns=INT)
@LIBRARY.method("size", list_of(A), returns=INT)
@LIBRARY.method("size", map_of(B, A), returns=INT)
def size(_meter: Meter, value: Any) -> int:
    """How many characters, bytes or entries there are."""
    return len(value)


@LIBRARY.method("contains", STRING, STRING, returns=BOOL, cost=SCANS)
def contains(meter: Meter, text: str, part: str) -> bool:
    """Whether the text has this part."""
    meter.charge(len(text) + len(part))
    return part in text


@LIBRARY.method("startsWith", STRING, STRING, returns=BOOL, cost=SCANS)
def starts_with(meter: Meter, text: str, part: str) -> bool:
    """Whether the text begins so."""
    meter.charge(len(part))
    return text.startswith(part)


@LIBRARY.method("endsWith", STRING, STRING, returns=BOOL, cost=SCANS)
def ends_with(meter: Meter, text: str, part: str) -> bool:
    """Whether the text ends so."""
    meter.charge(len(part))
    return text.endswith(part)


def check_pattern(_text: Any, pattern: Any, *_more: Any) -> None:
    """Refuse a constant regular expression that RE2 does not take."""
    if pattern is UNKNOWN or not isinstance(pattern, str):
        return
    try:
        compile_pattern(pattern)
    except PolicyError as exc:
        raise ConstantError(1, exc.code, f"the regular expression {exc.message}") from exc


@lru_cache(maxsize=64)  # each up to regex.MAX_PROGRAM_BYTES
def _compiled(pattern: str) -> Pattern:
    return compile_pattern(pattern)


def regular_expression(meter: Meter, text: str, pattern: str) -> Pattern:
    """A pattern ready for this text, which is paid for. A malformed one ends the evaluation: nothing passes over it."""
    meter.charge(len(text) * max(1, len(pattern) // 4) + len(pattern))
    try:
        return _compiled(pattern)
    except PolicyError as exc:
        # Not by RE2's own words, which quote it: a constant was checked before, so it was made of what the rule reads.
        raise Abort(Unacceptable(exc.code, "the regular expression is none that RE2 takes")) from exc


PATTERN_COST = "1 step for each 16 characters of the text, times a quarter of the pattern's length"


@LIBRARY.function("matches", STRING, STRING, returns=BOOL, cost=PATTERN_COST, check=check_pattern)
@LIBRARY.method("matches", STRING, STRING, returns=BOOL, cost=PATTERN_COST, check=check_pattern)
def matches(meter: Meter, text: str, pattern: str) -> bool:
    """Whether the regular expression (RE2) matches anywhere in the text; write `^…$` for the whole."""
    return regular_expression(meter, text, pattern).search(text) is not None


@LIBRARY.function("string", STRING, returns=STRING)
@LIBRARY.function("string", BOOL, returns=STRING)
@LIBRARY.function("string", INT, returns=STRING)
@LIBRARY.function("string", UINT, returns=STRING)
@LIBRARY.function("string", DOUBLE, returns=STRING)
@LIBRARY.function("string", BYTES, returns=STRING, cost=_BUILDS, text="The bytes as UTF-8; others are an error.")
@LIBRARY.function("string", TIMESTAMP, returns=STRING, text="As RFC 3339, in UTC.")
@LIBRARY.function("string", DURATION, returns=STRING, text="In seconds, such as `90s`.")
def to_string(meter: Meter, value: Any) -> str:
    """The value as text."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case float():
            return text_of_double(value)
        case bytes():
            meter.build(len(value))
            try:
                return value.decode()
            except UnicodeDecodeError as exc:
                raise CelError("the bytes are no UTF-8") from exc
        case Timestamp():
            return text_of_timestamp(value)
        case Duration():
            return text_of_duration(value)
    return str(int(value))


@LIBRARY.function("bytes", BYTES, returns=BYTES)
@LIBRARY.function("bytes", STRING, returns=BYTES, cost=_BUILDS)
def to_bytes(meter: Meter, value: Any) -> bytes:
    """The text as UTF-8."""
    if isinstance(value, bytes):
        return value
    meter.build(4 * len(value))
    try:
        return bytes(value.encode())
    except UnicodeEncodeError as exc:
        raise CelError("the string is no valid Unicode") from exc


@LIBRARY.function("bool", BOOL, returns=BOOL)
@LIBRARY.function("bool", STRING, returns=BOOL)
def to_bool(_meter: Meter, value: Any) -> bool:
    """The boolean that a text says: `true`, `t`, `1`, `false`, `f`, `0` and their usual capitals."""
    if isinstance(value, bool):
        return value
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise CelError("the string is no bool")


@LIBRARY.function("type", A, returns=TYPE)
def to_type(_meter: Meter, value: Any) -> TypeValue:
    """The value's type, to compare with `int`, `string`, `list`, `google.protobuf.Timestamp` and the like."""
    return TypeValue(type_name(value))


@LIBRARY.function("dyn", A, returns=DYN)
def to_dyn(_meter: Meter, value: Any) -> Any:
    """The same value, of which the checker then knows no type."""
    return value


@LIBRARY.function("_+_", STRING, STRING, returns=STRING, cost=_BUILDS)
@LIBRARY.function("_+_", BYTES, BYTES, returns=BYTES, cost=_BUILDS)
def joined(meter: Meter, a: Any, b: Any) -> Any:
    """Both, one after the other."""
    meter.build(len(a) + len(b))
    return a + b


@LIBRARY.function("_+_", list_of(A), list_of(A), returns=list_of(A), cost="1 step for each entry of the result")
def joined_lists(meter: Meter, a: Any, b: Any) -> list[Any]:
    """The entries of both."""
    meter.build(16 * (len(a) + len(b)))
    return [*a, *b]
