"""JSON and Assay's own values as CEL values, each converted when it is read: an SBOM is big, a rule reads little."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from celpy import celtypes
from celpy.evaluation import CELEvalError

from controller.documents.packages import PackageIndex
from controller.model.documents import Component, Sbom

_INT64 = range(-(2**63), 2**63)
_CEL_TYPES = (
    celtypes.BoolType,
    celtypes.IntType,
    celtypes.UintType,
    celtypes.DoubleType,
    celtypes.StringType,
    celtypes.BytesType,
    celtypes.ListType,
    celtypes.MapType,
    celtypes.TimestampType,
    celtypes.DurationType,
    CELEvalError,
)


class LazyMap(celtypes.MapType):
    """A map whose values are converted when they are read."""

    def __init__(self, source: Mapping[str, Any]) -> None:
        super().__init__()
        dict.update(self, source)

    def __getitem__(self, key: Any) -> Any:
        return to_cel(super().__getitem__(key))


class LazyList(celtypes.ListType):
    """A list whose entries are converted when they are read."""

    def __init__(self, source: Sequence[Any]) -> None:
        super().__init__()
        list.extend(self, source)

    def __getitem__(self, index: Any) -> Any:
        return to_cel(list.__getitem__(self, index))

    def __iter__(self) -> Iterator[Any]:
        return (to_cel(item) for item in list.__iter__(self))


class Sboms(LazyList):
    """The verified SBOMs, with the index that `find` uses, built at the first look-up."""

    def __init__(self, sboms: Sequence[Sbom]) -> None:
        super().__init__(sboms)
        self._sboms = tuple(sboms)
        self._indexes: tuple[PackageIndex, ...] | None = None

    def indexes(self) -> tuple[PackageIndex, ...]:
        """One index for each SBOM."""
        if self._indexes is None:
            self._indexes = tuple(PackageIndex(sbom) for sbom in self._sboms)
        return self._indexes


class Computed(celtypes.MapType):
    """A map whose values are computed when they are first read, and kept (`variables`)."""

    def __init__(self, compute: Mapping[str, Callable[[], Any]]) -> None:
        super().__init__()
        dict.update(self, dict.fromkeys(compute))
        self._compute = dict(compute)
        self._known: dict[str, Any] = {}

    def __getitem__(self, key: Any) -> Any:
        if key not in self._known:
            self._known[key] = self._compute[key]()
        return self._known[key]


def to_cel(value: Any) -> Any:
    """The CEL value of a JSON value, a time, a duration, a `Component` or an `Sbom`; of a CEL value, itself."""
    if value is None or isinstance(value, _CEL_TYPES):
        return value
    for kind, convert in _CONVERSIONS:
        if isinstance(value, kind):
            return convert(value)
    raise TypeError(f"no CEL value for {type(value).__name__}")


def _number(value: int) -> Any:
    return celtypes.IntType(value) if value in _INT64 else celtypes.DoubleType(_as_double(value))


def _as_double(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _component(component: Component) -> dict[str, Any]:
    """What is missing in the document is missing here, so that it is not compared as if it were something."""
    found: dict[str, Any] = {"name": component.name, "licenses": component.licenses}
    if component.version is not None:
        found["version"] = component.version
    if component.purl:
        found["purl"] = component.purl
    return found


def _sbom(sbom: Sbom) -> dict[str, Any]:
    found: dict[str, Any] = {
        "format": sbom.format,
        "specVersion": sbom.spec_version,
        "name": sbom.name,
        "components": sbom.components,
        "tools": sbom.tools,
    }
    if sbom.created is not None:
        found["created"] = sbom.created
    return found


_CONVERSIONS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    (str, celtypes.StringType),
    (bool, celtypes.BoolType),  # before int, which it is as well
    (int, _number),
    (float, celtypes.DoubleType),
    (Mapping, LazyMap),
    ((list, tuple), LazyList),
    (datetime, celtypes.TimestampType),
    (timedelta, celtypes.DurationType),
    (Component, lambda component: LazyMap(_component(component))),
    (Sbom, lambda sbom: LazyMap(_sbom(sbom))),
)
