"""Semantic Versioning 2.0.0 (https://semver.org/spec/v2.0.0.html, item 11), for npm, cargo and Go modules.

Missing minor and patch numbers count as zero, as authors write ranges (`<2`); build metadata does not count.
"""

from __future__ import annotations

import re

from controller.documents.versions.order import Unorderable

_IDENTIFIERS = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION = re.compile(rf"v?([0-9]+)(?:\.([0-9]+))?(?:\.([0-9]+))?(?:-({_IDENTIFIERS}))?(?:\+{_IDENTIFIERS})?")

SemverKey = tuple[int, int, int, tuple[tuple[int, int, str], ...]]
_RELEASE = ((2, 0, ""),)  # after every pre-release


def key(version: str) -> SemverKey:
    """The key of a version; a leading `v` (Go modules) is allowed. Raises `Unorderable`."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise Unorderable(version)
    major, minor, patch, pre = match.groups()
    return (int(major), int(minor or 0), int(patch or 0), _pre_release(pre) if pre else _RELEASE)


def _pre_release(text: str) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in text.split("."))
