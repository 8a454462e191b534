"""Every function and operator of policies' CEL, strict in types and metered, instead of cel-python's own table.

A TypeError or ValueError raised here becomes an ordinary CEL error; `Abort` ends the evaluation.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from celpy import celtypes
from celpy.celtypes import (
    BoolType,
    BytesType,
    DoubleType,
    DurationType,
    IntType,
    ListType,
    MapType,
    StringType,
    TimestampType,
    UintType,
)
from celpy.evaluation import CELEvalError, base_functions

from controller.documents import packages
from controller.errors import PolicyError, Unacceptable
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.values import LazyList, Sboms
from controller.policy.regex import Pattern, compile_pattern

Function = Callable[..., Any]

_NUMBERS = (IntType, UintType, DoubleType)
_ORDERED = (BoolType, StringType, BytesType, TimestampType, DurationType)
_ALL_VERSIONS = StringType("")
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}")
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")

# How many arguments each function takes; a method's receiver is the first. `checker` refuses others.
ARGUMENTS: Mapping[str, tuple[int, ...]] = (
    {
        "size": (1,),
        "contains": (2,),
        "startsWith": (2,),
        "endsWith": (2,),
        "matches": (2,),
        "find": (2, 3),
        "int": (1,),
        "uint": (1,),
        "double": (1,),
        "string": (1,),
        "bool": (1,),
        "timestamp": (1,),
        "duration": (1,),
    }
    | dict.fromkeys(("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"), (1, 2))
    | dict.fromkeys(("getHours", "getMinutes", "getSeconds", "getMilliseconds"), (1, 2))
)
METHODS_ONLY = frozenset(name for name in ARGUMENTS if name.startswith("get")) | {
    "contains",
    "startsWith",
    "endsWith",
    "find",
}
FUNCTIONS_ONLY = frozenset({"int", "uint", "double", "string", "bool", "timestamp", "duration"})


def table(meter: Meter) -> dict[str, Function]:
    """All functions and operators, bound to the meter of one evaluation."""
    library = _Library(meter)
    functions: dict[str, Function] = {
        "!_": celtypes.logical_not,
        "_&&_": lambda a, b: _logical(a, b, decides=False),
        "_||_": lambda a, b: _logical(a, b, decides=True),
        "_?_:_": celtypes.logical_condition,
        "-_": _strict(_negate),
        "_+_": _strict(library.add),
        "_-_": _strict(_subtract),
        "_*_": _strict(_numeric(operator.mul)),
        "_/_": _strict(_numeric(operator.truediv)),
        "_%_": _strict(_modulo),
        "_<_": _strict(library.ordered(operator.lt)),
        "_<=_": _strict(library.ordered(operator.le)),
        "_>_": _strict(library.ordered(operator.gt)),
        "_>=_": _strict(library.ordered(operator.ge)),
        "_==_": _strict(lambda a, b: BoolType(library.equal(a, b))),
        "_!=_": _strict(lambda a, b: BoolType(not library.equal(a, b))),
        "_in_": _strict(library.is_in),
        "_[_]": _strict(_index),
        "size": _strict(_size),
        "contains": _strict(library.contains),
        "startsWith": _strict(library.starts_with),
        "endsWith": _strict(library.ends_with),
        "matches": _strict(library.matches),
        "find": _strict(library.find),
        "int": _strict(_to_int),
        "uint": _strict(_to_uint),
        "double": _strict(_to_double),
        "string": _strict(library.to_string),
        "bool": _strict(_to_bool),
        "timestamp": _strict(_to_timestamp),
        "duration": _strict(_to_duration),
    }
    for name in ARGUMENTS:
        if name.startswith("get"):
            functions[name] = _strict(_time_getter(name))
    return functions


def _logical(a: Any, b: Any, *, decides: bool) -> Any:
    """`&&` and `||`: either side may decide whatever the other is, also an error; otherwise an error is the result."""
    if any(isinstance(side, BoolType) and bool(side) is decides for side in (a, b)):
        return BoolType(decides)
    for side in (a, b):
        if isinstance(side, CELEvalError):
            return side
    if isinstance(a, BoolType) and isinstance(b, BoolType):
        return BoolType(not decides)
    raise TypeError("needs booleans")


def _strict(function: Function) -> Function:
    """An error as an argument is the result, as CEL says for all but the logical operators."""

    def call(*args: Any) -> Any:
        for arg in args:
            if isinstance(arg, CELEvalError):
                return arg
        return function(*args)

    call.__name__ = getattr(function, "__name__", "function")
    return call


class _Library:
    """The functions whose cost depends on the size of their arguments."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def add(self, a: Any, b: Any) -> Any:
        if isinstance(a, StringType) and isinstance(b, StringType):
            self._meter.build(len(a) + len(b))
            return StringType(str(a) + str(b))
        if isinstance(a, BytesType) and isinstance(b, BytesType):
            self._meter.build(len(a) + len(b))
            return BytesType(bytes(a) + bytes(b))
        if isinstance(a, ListType) and isinstance(b, ListType):
            self._meter.build(16 * (len(a) + len(b)))
            return ListType([*a, *b])
        if isinstance(b, DurationType):
            if isinstance(a, TimestampType):
                return TimestampType.__add__(a, b)
            if isinstance(a, DurationType):
                return DurationType(_seconds(a) + _seconds(b))
        if isinstance(a, DurationType) and isinstance(b, TimestampType):
            return TimestampType.__add__(b, a)
        return _numeric(operator.add)(a, b)

    def equal(self, a: Any, b: Any) -> bool:
        """CEL's equality across types: numbers by value, everything else only within its type."""
        self._meter.step()
        if isinstance(a, _NUMBERS) and isinstance(b, _NUMBERS):
            return _plain(a) == _plain(b)
        if isinstance(a, StringType | BytesType) and type(b) is type(a):
            self._meter.charge(min(len(a), len(b)))
            return str.__eq__(a, b) if isinstance(a, StringType) else bytes.__eq__(a, b)
        if isinstance(a, ListType) and isinstance(b, ListType):
            return len(a) == len(b) and all(self.equal(x, y) for x, y in zip(a, b, strict=True))
        if isinstance(a, MapType) and isinstance(b, MapType):
            return a.keys() == b.keys() and all(self.equal(a[key], b[key]) for key in a)
        if a is None or b is None:
            return a is None and b is None
        for kind in (BoolType, TimestampType, DurationType):
            if isinstance(a, kind):
                return isinstance(b, kind) and bool(a == b)
        return False

    def is_in(self, item: Any, container: Any) -> BoolType:
        if isinstance(container, ListType):
            return BoolType(any(self.equal(item, entry) for entry in container))
        if isinstance(container, MapType):
            return BoolType(isinstance(item, StringType | IntType | UintType | BoolType) and item in container)
        raise TypeError("in needs a list or a map")

    def ordered(self, compare: Callable[[Any, Any], bool]) -> Function:
        def ordering(a: Any, b: Any) -> BoolType:
            if isinstance(a, _NUMBERS) and isinstance(b, _NUMBERS):
                return BoolType(compare(_plain(a), _plain(b)))
            for kind in _ORDERED:
                if isinstance(a, kind) and isinstance(b, kind):
                    self._meter.charge(len(a) if isinstance(a, StringType | BytesType) else 0)
                    return BoolType(compare(a, b))
            raise TypeError("no order between these types")

        return ordering

    def contains(self, text: Any, part: Any) -> BoolType:
        self._scan(text, part)
        return BoolType(str(part) in str(text))

    def starts_with(self, text: Any, part: Any) -> BoolType:
        self._scan(text, part)
        return BoolType(text.startswith(part))

    def ends_with(self, text: Any, part: Any) -> BoolType:
        self._scan(text, part)
        return BoolType(text.endswith(part))

    def matches(self, text: Any, pattern: Any) -> BoolType:
        self._scan(text, pattern)
        self._meter.charge(len(text) * max(1, len(pattern) // 4))
        try:
            compiled = _pattern(str(pattern))
        except PolicyError as exc:
            raise Abort(Unacceptable(exc.code, f"the regular expression of matches {exc.message}")) from exc
        return BoolType(compiled.search(str(text)) is not None)

    def find(self, receiver: Any, purl: Any, versions: Any = _ALL_VERSIONS) -> ListType:
        """`sboms.find(purl, versions)`: the components of all SBOMs that are this package, in this range."""
        if not isinstance(receiver, Sboms):
            raise TypeError("find is a function of sboms")
        self._scan(purl, versions)
        try:
            found = packages.find(receiver.indexes(), _query(str(purl), str(versions)))
        except ValueError as exc:
            raise Abort(Unacceptable("ArgumentInvalid", f"sboms.find: {exc}")) from exc
        except Unacceptable as exc:
            raise Abort(exc) from exc
        self._meter.build(len(found))
        return LazyList(found)

    def to_string(self, value: Any) -> StringType:
        if isinstance(value, StringType):
            return value
        if isinstance(value, BoolType):
            return StringType("true" if value else "false")
        if isinstance(value, BytesType):
            self._meter.build(len(value))
            return StringType(value.decode())
        if isinstance(value, IntType | UintType | DoubleType | TimestampType | DurationType):
            return StringType(str(value))
        raise TypeError("no text of this type")

    def _scan(self, *texts: Any) -> None:
        if not all(isinstance(text, StringType) for text in texts):
            raise TypeError("needs strings")
        self._meter.charge(sum(len(text) for text in texts))


@lru_cache(maxsize=256)
def _pattern(pattern: str) -> Pattern:
    return compile_pattern(pattern)


@lru_cache(maxsize=256)
def _query(purl: str, versions: str) -> packages.Query:
    return packages.Query.parse(purl, versions)


def _plain(number: Any) -> int | float:
    return float(number) if isinstance(number, DoubleType) else int(number)


def _negate(value: Any) -> Any:
    if isinstance(value, IntType | DoubleType):
        return -value
    raise TypeError("only int and double have a negative")


def _numeric(operation: Callable[[Any, Any], Any]) -> Function:
    def calculate(a: Any, b: Any) -> Any:
        for kind in _NUMBERS:
            if isinstance(a, kind) and isinstance(b, kind):
                return kind(operation(a, b))
        raise TypeError("needs two numbers of one type")

    return calculate


def _subtract(a: Any, b: Any) -> Any:
    if isinstance(a, TimestampType) and isinstance(b, TimestampType | DurationType):
        return a - b
    if isinstance(a, DurationType) and isinstance(b, DurationType):
        return DurationType(_seconds(a) - _seconds(b))
    return _numeric(operator.sub)(a, b)


def _seconds(duration: DurationType) -> int:
    return int(duration.total_seconds())


def _modulo(a: Any, b: Any) -> Any:
    if isinstance(a, DoubleType):
        raise TypeError("no remainder of doubles")
    return _numeric(operator.mod)(a, b)


def _index(container: Any, index: Any) -> Any:
    if isinstance(container, ListType):
        if not isinstance(index, IntType | UintType):
            raise TypeError("a list's index is an int")
        if not 0 <= int(index) < len(container):
            raise IndexError("index out of range")
        return container[int(index)]
    if isinstance(container, MapType):
        return container[index]
    raise TypeError("only lists and maps have an index")


def _size(value: Any) -> IntType:
    if isinstance(value, StringType | BytesType | ListType | MapType):
        return IntType(len(value))
    raise TypeError("no size of this type")


def _to_int(value: Any) -> IntType:
    if isinstance(value, StringType) and not _INTEGER.fullmatch(value):
        raise ValueError("no int")
    if isinstance(value, TimestampType):
        return IntType(int(value.timestamp()))
    if isinstance(value, StringType | IntType | UintType | DoubleType):
        return IntType(int(str(value)) if isinstance(value, StringType) else int(_plain(value)))
    raise TypeError("no int of this type")


def _to_uint(value: Any) -> UintType:
    return UintType(int(_to_int(value)))


def _to_double(value: Any) -> DoubleType:
    if isinstance(value, StringType) and not _DECIMAL.fullmatch(value):
        raise ValueError("no double")
    if isinstance(value, StringType | IntType | UintType | DoubleType):
        return DoubleType(float(value))
    raise TypeError("no double of this type")


def _to_bool(value: Any) -> BoolType:
    if isinstance(value, BoolType):
        return value
    if isinstance(value, StringType) and str(value) in {"true", "false"}:
        return BoolType(str(value) == "true")
    raise TypeError("no bool of this value")


def _to_timestamp(value: Any) -> TimestampType:
    if isinstance(value, TimestampType | StringType):
        return TimestampType(value)
    raise TypeError("no timestamp of this type")


def _to_duration(value: Any) -> DurationType:
    if isinstance(value, DurationType):
        return value
    if isinstance(value, StringType):
        return DurationType(value)
    raise TypeError("no duration of this type")


def _time_getter(name: str) -> Function:
    base = base_functions[name]

    def get(moment: Any, *zone: Any) -> Any:
        if not isinstance(moment, TimestampType | DurationType):
            raise TypeError(f"{name} needs a timestamp or duration")
        return base(moment, *zone)

    return get
