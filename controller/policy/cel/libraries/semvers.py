"""Semantic versions (https://semver.org): Kubernetes' own library."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import total_ordering

from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries.numbers import int64
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import SCANS, Library
from controller.policy.cel.schema import BOOL, INT, STRING, opaque
from controller.policy.cel.values import UINT_MAX, register_class

SEMVER = opaque("kubernetes.Semver")
LIBRARY = Library("semver", "Semantic versions; the build part is no part of their order.",
                  "k8s.io/apiserver pkg/cel/library version 1")  # fmt: skip

_NUMBER = r"(0|[1-9][0-9]{0,19})"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)
MAX_TEXT = 1_000  # characters of a version


@total_ordering
@dataclass(frozen=True, slots=True)
class Semver:
    """A version; `build` is kept and not compared."""

    numbers: tuple[int, int, int]
    pre: tuple[str, ...]
    text: str = field(compare=False)

    def __str__(self) -> str:
        return self.text

    def __lt__(self, other: Semver) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[tuple[int, int, int], bool, list[tuple[bool, int, str]]]:
        """A version before its release is less; numbers are less than words."""
        words = [(not w.isdigit(), int(w) if w.isdigit() else 0, "" if w.isdigit() else w) for w in self.pre]
        return self.numbers, not self.pre, words


register_class(Semver, "kubernetes.Semver")


def parse(text: str, *, normalize: bool = False) -> Semver:
    """A version. With `normalize`, `v` before it, zeros before its numbers and missing numbers are mended.

    Raises `CelError`.
    """
    if len(text) > MAX_TEXT:
        raise CelError("the string is no semantic version")
    if normalize:
        text = _normalized(text)
    found = _VERSION.fullmatch(text)
    pre = tuple(found[4].split(".")) if found is not None and found[4] else ()
    if found is None or any(w.isdigit() and ((len(w) > 1 and w[0] == "0") or int(w) > UINT_MAX) for w in pre):
        raise CelError("the string is no semantic version")
    major, minor, patch = int(found[1]), int(found[2]), int(found[3])
    if max(major, minor, patch) > UINT_MAX:
        raise CelError("the string is no semantic version")
    return Semver((major, minor, patch), pre, text)


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for i, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[i] = stripped if stripped[:1].isdigit() else f"0{stripped}"
    if len(parts) < 3 and any(sign in parts[-1] for sign in "+-"):
        raise CelError("a short version has no pre-release and no build")
    return ".".join([*parts, *["0"] * (3 - len(parts))])


@LIBRARY.function("semver", STRING, returns=SEMVER, cost=SCANS)
@LIBRARY.function("semver", STRING, BOOL, returns=SEMVER, cost=SCANS)
def to_semver(meter: Meter, text: str, normalize: bool = False) -> Semver:
    """The version that a text says; `true` takes `v1.2` and `1.02.3` too."""
    meter.charge(len(text))
    return parse(text, normalize=normalize)


@LIBRARY.function("isSemver", STRING, returns=BOOL, cost=SCANS)
@LIBRARY.function("isSemver", STRING, BOOL, returns=BOOL, cost=SCANS)
def is_semver(meter: Meter, text: str, normalize: bool = False) -> bool:
    """Whether the text is a version; `true` takes `v1.2` and `1.02.3` too."""
    meter.charge(len(text))
    try:
        parse(text, normalize=normalize)
    except CelError:
        return False
    return True


@LIBRARY.method("major", SEMVER, returns=INT)
def major(_meter: Meter, version: Semver) -> int:
    """The first number."""
    return int64(version.numbers[0])


@LIBRARY.method("minor", SEMVER, returns=INT)
def minor(_meter: Meter, version: Semver) -> int:
    """The second number."""
    return int64(version.numbers[1])


@LIBRARY.method("patch", SEMVER, returns=INT)
def patch(_meter: Meter, version: Semver) -> int:
    """The third number."""
    return int64(version.numbers[2])


@LIBRARY.method("isGreaterThan", SEMVER, SEMVER, returns=BOOL, cost=SCANS)
def is_greater(meter: Meter, a: Semver, b: Semver) -> bool:
    """Whether the first version is later."""
    return compare(meter, a, b) == 1


@LIBRARY.method("isLessThan", SEMVER, SEMVER, returns=BOOL, cost=SCANS)
def is_less(meter: Meter, a: Semver, b: Semver) -> bool:
    """Whether the first version is earlier."""
    return compare(meter, a, b) == -1


@LIBRARY.method("compareTo", SEMVER, SEMVER, returns=INT, cost=SCANS)
def compare(meter: Meter, a: Semver, b: Semver) -> int:
    """-1, 0 or 1: the first version is earlier, the same or later."""
    meter.charge(len(a.text) + len(b.text))
    return (a > b) - (a < b)
