"""RPM versions, `[epoch:]version[-release]`: rpm-version(7), `rpmvercmp`."""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import Any

from controller.documents.versions.order import Unorderable

_VERSION = re.compile(r"(?:([0-9]+):)?([A-Za-z0-9._+~^]+)(?:-([A-Za-z0-9._+~^]+))?")
_SEGMENT = re.compile(r"[0-9]+|[A-Za-z]+|~|\^")


def key(version: str) -> Any:
    """The key of an epoch, version and release. Without a release any release is meant. Raises `Unorderable`."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise Unorderable(version)
    epoch, upstream, release = match.groups()
    return _key((int(epoch or 0), upstream, release))


def _compare_evr(left: tuple[int, str, str | None], right: tuple[int, str, str | None]) -> int:
    if left[0] != right[0]:
        return left[0] - right[0]
    difference = compare(left[1], right[1])
    if difference or left[2] is None or right[2] is None:
        return difference
    return compare(left[2], right[2])


def compare(left: str, right: str) -> int:
    """`rpmvercmp`: segments of digits or letters by turns; `~` sorts before the end, `^` after it."""
    lefts, rights = _SEGMENT.findall(left), _SEGMENT.findall(right)
    for i in range(max(len(lefts), len(rights))):
        a = lefts[i] if i < len(lefts) else ""
        b = rights[i] if i < len(rights) else ""
        difference = _compare_segment(a, b)
        if difference:
            return difference
    return 0


def _compare_segment(a: str, b: str) -> int:
    if a == b:
        return 0
    if "~" in (a, b):
        return -1 if a == "~" else 1  # 1.0~rc1 is before 1.0
    if "^" in (a, b):
        other, sign = (b, 1) if a == "^" else (a, -1)
        return -sign if other else sign  # 1.0^git1 is after 1.0 and before 1.0.1
    if not a or not b:
        return 1 if a else -1
    if a.isdigit() != b.isdigit():
        return 1 if a.isdigit() else -1  # a number is newer than letters
    if a.isdigit():
        return int(a) - int(b)
    return 1 if a > b else -1


_key = cmp_to_key(_compare_evr)
