"""Debian versions, deb-version(7) and Debian Policy 5.6.12: `[epoch:]upstream[-revision]`."""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import Any

from controller.documents.versions.order import Unorderable

_VERSION = re.compile(r"(?:([0-9]+):)?([0-9][A-Za-z0-9.+~:-]*?)(?:-([A-Za-z0-9.+~]+))?")
_PART = re.compile(r"([^0-9]*)([0-9]*)")


def key(version: str) -> Any:
    """The key of a version. Raises `Unorderable`."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise Unorderable(version)
    epoch, upstream, revision = match.groups()
    return (int(epoch or 0), _key(upstream), _key(revision or "0"))


def _weight(text: str, position: int) -> int:
    if position >= len(text):
        return 0
    character = text[position]
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _compare_text(left: str, right: str) -> int:
    for i in range(max(len(left), len(right))):
        difference = _weight(left, i) - _weight(right, i)
        if difference:
            return difference
    return 0


def _compare(left: str, right: str) -> int:
    """The rule of 5.6.12: by turns the longest part without digits, then the longest number."""
    while left or right:
        left_match, right_match = _PART.match(left), _PART.match(right)
        left_text, left_number = left_match.groups() if left_match else ("", "")
        right_text, right_number = right_match.groups() if right_match else ("", "")
        difference = _compare_text(left_text, right_text) or int(left_number or 0) - int(right_number or 0)
        if difference:
            return difference
        left, right = left[len(left_text) + len(left_number) :], right[len(right_text) + len(right_number) :]
    return 0


_key = cmp_to_key(_compare)
