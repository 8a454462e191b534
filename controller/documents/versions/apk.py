"""Alpine versions: apk-package(5), "Package version": `1.2.3a_rc1-r4`, as apk-tools compares them."""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import Any

from controller.documents.versions.order import Unorderable

_SUFFIXES = ("alpha", "beta", "pre", "rc", "", "cvs", "svn", "git", "hg", "p")
_RELEASE = _SUFFIXES.index("")
_VERSION = re.compile(
    r"([0-9]+(?:\.[0-9]+)*)([a-z])?((?:_(?:alpha|beta|pre|rc|cvs|svn|git|hg|p)[0-9]*)*)(?:-r([0-9]+))?"
)
_DIGITS, _LETTER, _SUFFIX, _REVISION, _END = range(5)

Token = tuple[int, Any]


def key(version: str) -> Any:
    """The key of a version. One with a commit hash (`~…`) has no order. Raises `Unorderable`."""
    match = _VERSION.fullmatch(version)
    if match is None:
        raise Unorderable(version)
    numbers, letter, suffixes, revision = match.groups()
    tokens: list[Token] = [(_DIGITS, number) for number in numbers.split(".")]
    if letter:
        tokens.append((_LETTER, letter))
    for suffix in suffixes.split("_")[1:]:
        word = suffix.rstrip("0123456789")
        tokens.append((_SUFFIX, (_SUFFIXES.index(word), int(suffix[len(word) :] or 0))))
    if revision:
        tokens.append((_REVISION, int(revision)))
    return _key((*tokens, (_END, 0)))


def _compare(left: tuple[Token, ...], right: tuple[Token, ...]) -> int:
    for i, ((left_kind, a), (right_kind, b)) in enumerate(zip(left, right, strict=False)):
        if left_kind != right_kind:
            return _compare_kinds((left_kind, a), (right_kind, b))
        if a == b:
            continue
        if left_kind == _DIGITS:
            difference = _compare_numbers(a, b, first=i == 0)
            if difference:
                return difference
        else:
            return 1 if a > b else -1
    return 0


def _compare_kinds(left: Token, right: Token) -> int:
    """Where one version goes on and the other ends or goes on otherwise. A pre-release suffix is before everything."""
    for (kind, value), sign in ((left, -1), (right, 1)):
        if kind == _SUFFIX and value[0] < _RELEASE:
            return sign
    return 1 if left[0] < right[0] else -1


def _compare_numbers(a: str, b: str, *, first: bool) -> int:
    """Numbers after the first are compared as fractions when one has a leading zero (`1.05` is before `1.1`)."""
    if not first and (a.startswith("0") or b.startswith("0")):
        return (a > b) - (a < b)
    return int(a) - int(b)


_key = cmp_to_key(_compare)
