"""Version ranges: `vers:` (https://github.com/package-url/vers-spec) and bare comparators (`<2.17.1`, `>=1,<2`)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from controller.documents.unquoted import Unusable
from controller.documents.versions import apk, deb, maven, pypi, rpm, semver
from controller.documents.versions.order import MAX_VERSION_LENGTH, Order, Unorderable

MAX_CONSTRAINTS = 64  # parts of one range

# The order of each purl type. Types that are not here have no order: their versions compare for equality only.
ORDERS: dict[str, Order] = {
    "apk": apk.key,
    "cargo": semver.key,
    "deb": deb.key,
    "golang": semver.key,
    "maven": maven.key,
    "npm": semver.key,
    "pypi": pypi.key,
    "rpm": rpm.key,
    "semver": semver.key,
}
_SCHEMES = {"alpine": "apk", "debian": "deb", "go": "golang"}  # names of vers for purl types

_CONSTRAINT = re.compile(r"(>=|<=|!=|<|>|=)?\s*(\S+)")

_HOLDS: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda version, bound: bool(version == bound),
    "!=": lambda version, bound: bool(version != bound),
    "<": lambda version, bound: bool(version < bound),
    "<=": lambda version, bound: bool(version <= bound),
    ">": lambda version, bound: bool(version > bound),
    ">=": lambda version, bound: bool(version >= bound),
}


@dataclass(frozen=True, slots=True)
class Constraint:
    """One comparator with its version and, where the type has an order, that version's key."""

    comparator: str
    version: str
    key: Any


@dataclass(frozen=True, slots=True)
class Range:
    """A set of versions of one type. `every` means that all constraints must hold (bare comparators); otherwise they
    are the sorted bounds of a `vers:` range."""

    type: str
    constraints: tuple[Constraint, ...]
    every: bool

    def contains(self, version: str) -> bool | None:
        """Whether the version is in the range; None if that cannot be told."""
        if not self.constraints:
            return True
        order = ORDERS.get(self.type)
        if order is None:
            return self._contains_unordered(version)
        if len(version) > MAX_VERSION_LENGTH:
            return None
        try:
            key = order(version)
        except Unorderable:
            return True if self._named(version) else None
        if self.every:
            return all(_HOLDS[c.comparator](key, c.key) for c in self.constraints)
        return self._within(key)

    def _named(self, version: str) -> bool:
        return any(c.comparator == "=" and c.version == version for c in self.constraints)

    def _contains_unordered(self, version: str) -> bool | None:
        if any(c.comparator not in {"=", "!="} for c in self.constraints):
            return True if self._named(version) and not self.every else None
        holds = [(c.version == version) == (c.comparator == "=") for c in self.constraints]
        if self.every:
            return all(holds)
        named = [c for c in self.constraints if c.version == version]
        return named[0].comparator == "=" if named else all(c.comparator == "!=" for c in self.constraints)

    def _within(self, key: Any) -> bool:
        """ "Checking if a version is contained within a range" of the vers specification."""
        for constraint in self.constraints:
            if constraint.comparator in {"=", "<=", ">="} and key == constraint.key:
                return True
            if constraint.comparator == "!=" and key == constraint.key:
                return False
        bounds = [c for c in self.constraints if c.comparator not in {"=", "!="}]
        if not bounds:
            return any(c.comparator == "!=" for c in self.constraints)
        if bounds[0].comparator in {"<", "<="} and key < bounds[0].key:
            return True
        if bounds[-1].comparator in {">", ">="} and key > bounds[-1].key:
            return True
        return any(
            low.comparator in {">", ">="} and high.comparator in {"<", "<="} and low.key < key < high.key
            for low, high in itertools.pairwise(bounds)
        )


def parse_range(text: str, type_: str) -> Range:
    """Read a range for packages of a purl type. Raises `ValueError` with a sentence that says what is wrong.

    `vers:TYPE/…` must name the same type; `*` and `vers:TYPE/*` are all versions. What contains nothing is refused: a
    rule that looks for it would never find anything.
    """
    if len(text) > MAX_VERSION_LENGTH * MAX_CONSTRAINTS:
        raise ValueError("the version range is too long")
    text = text.strip()
    is_vers = text.startswith("vers:")
    if is_vers:
        scheme, slash, text = text.removeprefix("vers:").partition("/")
        scheme = _SCHEMES.get(scheme, scheme)
        if not slash or (scheme != type_ and ORDERS.get(scheme) != ORDERS.get(type_, _no_order)):
            raise Unusable("a vers: range of the type {} does not fit the package's type", scheme)
    parts = [part.strip() for part in re.split(r"\|" if is_vers else ",", text)]
    if parts == ["*"]:
        return Range(type=type_, constraints=(), every=True)
    if len(parts) > MAX_CONSTRAINTS:
        raise ValueError(f"a version range has at most {MAX_CONSTRAINTS} parts")
    constraints = [_constraint(part, type_, decode=is_vers) for part in parts]
    if not is_vers:
        _check_not_empty(constraints, type_)
        return Range(type=type_, constraints=tuple(constraints), every=True)
    if type_ in ORDERS:
        constraints.sort(key=lambda constraint: constraint.key)
        _check_alternating(constraints)
    return Range(type=type_, constraints=tuple(constraints), every=False)


def _check_not_empty(constraints: Sequence[Constraint], type_: str) -> None:
    """Raise `ValueError` for comparators that no version meets together, such as a list of versions."""
    ordered = type_ in ORDERS
    exact = [c.key if ordered else c.version for c in constraints if c.comparator == "="]
    empty = any(each != exact[0] for each in exact)
    if exact and ordered:
        empty = empty or not all(_HOLDS[c.comparator](exact[0], c.key) for c in constraints)
    elif exact:
        empty = empty or any(c.comparator == "!=" and c.version == exact[0] for c in constraints)
    elif ordered:
        lows = [c for c in constraints if c.comparator in {">", ">="}]
        highs = [c for c in constraints if c.comparator in {"<", "<="}]
        empty = any(
            low.key > high.key or (low.key == high.key and (low.comparator, high.comparator) != (">=", "<="))
            for low in lows
            for high in highs
        )
    if empty:
        message = "no version is in this range, since all of its parts must hold"
        raise ValueError(f"{message}; for one or the other write vers:TYPE/… with | between them")


def _check_alternating(constraints: Sequence[Constraint]) -> None:
    """Raise `ValueError` for sorted bounds of which two that follow each other point the same way.

    The specification asks for ranges without such (vers-spec, "Version constraints simplification"), and the check of
    containment says no for what lies between them.
    """
    bounds = [c for c in constraints if c.comparator not in {"=", "!="}]
    for one, other in itertools.pairwise(bounds):
        if one.comparator[0] == other.comparator[0]:
            parts = f"{one.comparator}{one.version} and {other.comparator}{other.version}"
            raise Unusable("two parts follow each other in this range and say the same, {}; leave one out", parts)


def _no_order(version: str) -> Any:
    raise Unorderable(version)


def _constraint(part: str, type_: str, *, decode: bool) -> Constraint:
    match = _CONSTRAINT.fullmatch(part)
    if match is None or "*" in part:
        raise Unusable("{} is no version comparator such as '<2.17.1', '>=1,<2' or 'vers:maven/<2.17.1'", part)
    comparator, version = match[1] or "=", unquote(match[2]) if decode else match[2]
    order = ORDERS.get(type_)
    if order is None:
        return Constraint(comparator=comparator, version=version, key=None)
    if len(version) > MAX_VERSION_LENGTH:
        raise ValueError("a version of the range is too long")
    try:
        return Constraint(comparator=comparator, version=version, key=order(version))
    except Unorderable as exc:
        raise Unusable("{} is no version of the package's type", version) from exc
