"""What an expression computes with: Python's own values where they mean the same, own classes where they do not.

`None`, `bool`, `int` (64 bits), `float`, `str`, `bytes`, `list` and `dict` are CEL's null, bool, int, double, string,
bytes, list and map. JSON is read as it is: an SBOM is big and a rule reads little of it, so each entry is looked at
only when it is read (`to_cel`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.errors import AssayError
from controller.policy.cel.failure import CelError
from controller.policy.cel.meter import Abort

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
UINT_MAX = 2**64 - 1
SECOND = 1_000_000_000  # nanoseconds
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = -62135596800 * SECOND  # 0001-01-01T00:00:00Z
_LAST = 253402300800 * SECOND - 1  # 9999-12-31T23:59:59.999999999Z


class Uint(int):
    """CEL's uint: an unsigned integer of 64 bits, which is no int."""

    __slots__ = ()


class Timestamp:
    """A moment in nanoseconds since 1970, in the years 1 to 9999."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not _FIRST <= ns <= _LAST:
            raise CelError("a timestamp is in the years 1 to 9999")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(self.ns)


class Duration:
    """A length of time in nanoseconds, of 64 bits: about 292 years either way."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not INT_MIN <= ns <= INT_MAX:
            raise CelError("the duration is out of range")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(self.ns)


class TypeValue:
    """A type as a value: what `type(x)` gives, and what `int` or `google.protobuf.Timestamp` stand for."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and self.name == other.name

    def __hash__(self) -> int:
        return hash(self.name)


class Keyed:
    """A map with keys other than strings: 1, 1u and 1.0 are one key, `true` is another (Python's dict differs)."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        self._entries: dict[Any, tuple[Any, Any]] = {}

    def add(self, key: Any, value: Any) -> None:
        """One more entry. Raises `CelError` for a key that is there."""
        normal = _normal(key)
        if normal in self._entries:
            raise CelError("a map has each key once")
        self._entries[normal] = (key, value)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Any]:
        return (key for key, _ in self._entries.values())

    def __contains__(self, key: object) -> bool:
        return _normal(key) in self._entries

    def __getitem__(self, key: Any) -> Any:
        return self._entries[_normal(key)][1]


def _normal(key: Any) -> Any:
    if isinstance(key, bool):
        return (bool, key)
    return int(key) if isinstance(key, float) and key.is_integer() else key


class Computed(dict[str, Any]):
    """A map whose values are computed when they are first read, and kept (`variables`)."""

    def __init__(self, compute: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__(dict.fromkeys(compute))
        self._compute = compute
        self._known: dict[str, Any] = {}

    def __getitem__(self, key: str) -> Any:
        if key not in self._known:
            self._known[key] = self._compute[key]()
        return self._known[key]


_CLASSES: dict[type, str] = {
    type(None): "null_type",
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    list: "list",
    tuple: "list",
    dict: "map",
    Keyed: "map",
    Computed: "map",
    Timestamp: "google.protobuf.Timestamp",
    Duration: "google.protobuf.Duration",
    TypeValue: "type",
}
_BASES: dict[str, str] = {}
_RECORDS: dict[type, Callable[[Any], Mapping[str, Any]]] = {}
FIELDS: dict[type, Callable[[Any], Mapping[str, Any]]] = {}
"""Classes of lists that have fields too, such as `sboms.components`."""


class Unreadable:
    """The value of a name that is there and cannot be read: whoever reads it ends with this error."""

    __slots__ = ("error",)

    def __init__(self, error: AssayError) -> None:
        self.error = error


def register_class(
    cls: type, kind: str, *, base: str | None = None, fields: Callable[[Any], Mapping[str, Any]] | None = None
) -> None:
    """Make the instances of a class values of a kind of their own.

    With `base` (`list` or `map`; the class is then a subclass of Python's) they are values of that kind too, and
    `type()` calls them so: a receiver for functions of its own, such as `sboms`. `fields` gives those of a list.
    """
    _CLASSES[cls] = kind
    if base is not None:
        _BASES[kind] = base
    if fields is not None:
        FIELDS[cls] = fields


def register_record(cls: type, fields: Callable[[Any], Mapping[str, Any]]) -> None:
    """Make the instances of a class maps: `fields` gives what there is, when one is read."""
    _RECORDS[cls] = fields


def kind_of(value: Any) -> str:
    """The name of a value's type, a receiver's own included."""
    return _CLASSES[type(value)]


def type_name(value: Any) -> str:
    """The name of a value's type as `type()` gives it."""
    kind = _CLASSES[type(value)]
    return _BASES.get(kind, kind)


def is_of(kind: str, wanted: str) -> bool:
    """Whether a value of one kind is of another as well."""
    return kind == wanted or _BASES.get(kind) == wanted


def to_cel(value: Any) -> Any:
    """The CEL value of a JSON value, a time, or an instance of a class that a library brings; of a CEL value, itself.

    An integer past 64 bits is a double, as it is for whoever reads JSON in another language.
    """
    cls = type(value)
    if cls is int:
        return value if INT_MIN <= value <= INT_MAX else _as_double(value)
    return value if cls in _CLASSES else _convert(value)


def _convert(value: Any) -> Any:
    if isinstance(value, Unreadable):
        raise Abort(value.error)
    fields = _RECORDS.get(type(value))
    if fields is not None:
        return fields(value)
    if isinstance(value, datetime):
        return from_datetime(value)
    if isinstance(value, timedelta):
        return Duration((value.days * 86400 + value.seconds) * SECOND + value.microseconds * 1000)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"no CEL value for {type(value).__name__}")


def from_datetime(moment: datetime) -> Timestamp:
    """The timestamp of an aware `datetime`."""
    since = moment - _EPOCH
    return Timestamp((since.days * 86400 + since.seconds) * SECOND + since.microseconds * 1000)


def _as_double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
