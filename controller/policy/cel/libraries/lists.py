"""Lists: Kubernetes' own library and cel-go's (version 3), as a Kubernetes 1.34 API server has them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from controller.policy.cel.compare import contained, equal, order
from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries import numbers, times
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import ENTRIES, SCANS, Declare, F, Library, no_overload
from controller.policy.cel.schema import (
    BOOL,
    BYTES,
    DOUBLE,
    DURATION,
    DYN,
    INT,
    STRING,
    TIMESTAMP,
    UINT,
    A,
    Type,
    list_of,
)
from controller.policy.cel.values import Duration, Uint, is_of, kind_of, to_cel

LIBRARY = Library("lists", "Functions over lists.", "k8s.io/apiserver pkg/cel/library, cel-go ext.Lists version 3")

_COMPARABLE = (INT, UINT, DOUBLE, BOOL, DURATION, TIMESTAMP, STRING, BYTES)
_SUMMABLE = (INT, UINT, DOUBLE, DURATION)
_COMPARED = f"{ENTRIES}, and {SCANS} compared"
_BUILT = "1 step for each entry of the result"
_ENTRY = 16  # what one entry costs, in bytes
_ZERO: dict[type, Any] = {int: 0, Uint: Uint(0), float: 0.0, Duration: Duration(0)}
_ADD: dict[type, Callable[[Meter, Any, Any], Any]] = {
    int: numbers.add_ints,
    Uint: numbers.add_uints,
    float: numbers.add_doubles,
    Duration: times.longer,
}


def _same(entry: Type) -> Type:
    return entry


def _for_each(types: tuple[Type, ...], name: str, result: Callable[[Type], Type], cost: str) -> Declare:
    """Declare a method of lists of each of these types; `result` says what it gives of the type of the entries."""

    def declare(run: F) -> F:
        for entry in types:
            LIBRARY.method(name, list_of(entry), returns=result(entry), cost=cost)(run)
        return run

    return declare


@_for_each(_COMPARABLE, "isSorted", lambda _: BOOL, _COMPARED)
def is_sorted(meter: Meter, entries: Any) -> bool:
    """Whether no entry is greater than the next one."""
    values = [to_cel(entry) for entry in entries]
    meter.charge(len(values) * _ENTRY)
    if len(values) == 1:
        order(meter, values[0], values[0])
    return all(order(meter, a, b) != 1 for a, b in pairwise(values))


@_for_each(_SUMMABLE, "sum", _same, ENTRIES)
def total(meter: Meter, entries: Any) -> Any:
    """All entries added; 0 of none."""
    result: Any = None
    for entry in entries:
        meter.step()
        value = to_cel(entry)
        result = _add(meter, _ZERO.get(type(value), value) if result is None else result, value)
    return 0 if result is None else result


def _add(meter: Meter, a: Any, b: Any) -> Any:
    if type(a) is type(b):
        add = _ADD.get(type(a))
        if add is not None:
            return add(meter, a, b)
    raise no_overload("_+_", (a, b))


@_for_each(_COMPARABLE, "max", _same, _COMPARED)
def greatest(meter: Meter, entries: Any) -> Any:
    """The greatest entry; of none, an error."""
    return _extreme(meter, entries, "max", -1)


@_for_each(_COMPARABLE, "min", _same, _COMPARED)
def least(meter: Meter, entries: Any) -> Any:
    """The least entry; of none, an error."""
    return _extreme(meter, entries, "min", 1)


def _extreme(meter: Meter, entries: Any, name: str, replaced_at: int) -> Any:
    if not len(entries):
        raise CelError(f"{name} of an empty list")
    result = to_cel(entries[0])
    order(meter, result, result)
    for entry in entries[1:]:
        value = to_cel(entry)
        if order(meter, result, value) == replaced_at:
            result = value
    return result


@LIBRARY.method("indexOf", list_of(A), A, returns=INT, cost=_COMPARED)
def index_of(meter: Meter, entries: Any, value: Any) -> int:
    """Where the value stands first; -1 if it does not."""
    return next((i for i, entry in enumerate(entries) if equal(meter, to_cel(entry), value)), -1)


@LIBRARY.method("lastIndexOf", list_of(A), A, returns=INT, cost=_COMPARED)
def last_index_of(meter: Meter, entries: Any, value: Any) -> int:
    """Where the value stands last; -1 if it does not."""
    return next((i for i in reversed(range(len(entries))) if equal(meter, to_cel(entries[i]), value)), -1)


@LIBRARY.method("slice", list_of(A), INT, INT, returns=list_of(A), cost=_BUILT)
def part(meter: Meter, entries: Any, start: int, end: int) -> list[Any]:
    """The entries from one index up to another one, which is not among them."""
    if not 0 <= start <= end <= len(entries):
        raise CelError("slice: the indexes are not in order and within the list")
    meter.build((end - start) * _ENTRY)
    return list(entries[start:end])


@LIBRARY.method("flatten", list_of(list_of(A)), returns=list_of(A), cost=_BUILT)
@LIBRARY.method("flatten", list_of(DYN), INT, returns=list_of(DYN), cost=_BUILT)
def flat(meter: Meter, entries: Any, depth: int = 1) -> list[Any]:
    """The entries with lists among them taken apart, one level deep or so many."""
    if depth < 0:
        raise CelError("flatten: the depth is not negative")
    result: list[Any] = []
    for entry in entries:
        meter.charge(_ENTRY)
        value = to_cel(entry)
        if depth > 0 and is_of(kind_of(value), "list"):
            result += flat(meter, value, depth - 1)
        else:
            result.append(value)
    return result


@_for_each(_COMPARABLE, "sort", list_of, f"{_COMPARED}, each entry compared with several others")
def in_order(meter: Meter, entries: Any) -> list[Any]:
    """The entries from the least to the greatest; all are of one type."""
    values = [to_cel(entry) for entry in entries]
    return sort_by(meter, values, values)


def sort_by(meter: Meter, keys: list[Any], entries: list[Any]) -> list[Any]:
    """The entries in the order of their keys, which are of one type. Raises `CelError`."""
    meter.build(len(keys) * _ENTRY)
    if not keys:
        return []
    order(meter, keys[0], keys[0])
    if any(kind_of(key) != kind_of(keys[0]) for key in keys):
        raise CelError("the entries to sort by are not of one type")
    compare = cmp_to_key(lambda a, b: order(meter, a, b) if a == a and b == b else 0)  # noqa: PLR0124 - NaN has no order
    numbered = sorted(range(len(keys)), key=lambda i: compare(keys[i]))
    return [entries[i] for i in numbered]


@LIBRARY.function("lists.range", INT, returns=list_of(INT), cost=_BUILT)
def counted(meter: Meter, count: int) -> list[int]:
    """The numbers from 0 up to this one, which is not among them."""
    meter.build(max(0, count) * _ENTRY)
    return list(range(count))


@LIBRARY.method("reverse", list_of(A), returns=list_of(A), cost=_BUILT)
def reverse(meter: Meter, entries: Any) -> list[Any]:
    """The entries from the last to the first."""
    meter.build(len(entries) * _ENTRY)
    return list(entries[::-1])


@LIBRARY.method("distinct", list_of(A), returns=list_of(A), cost="1 step for each pair of entries compared")
def distinct(meter: Meter, entries: Any) -> list[Any]:
    """The entries without repetitions, each where it stands first."""
    result: list[Any] = []
    for entry in entries:
        meter.step()
        value = to_cel(entry)
        if not contained(meter, value, result):
            result.append(value)
    return result
