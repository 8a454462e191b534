"""Maven versions: the order of `ComparableVersion` (https://maven.apache.org/pom.html#version-order-specification).

A version is a list of numbers, words and nested lists; a dash, and a change between digits and letters, open a list.
"""

from __future__ import annotations

import re
from functools import cmp_to_key
from typing import Any

from controller.documents.versions.order import Unorderable

Item = int | str | list[Any]

_QUALIFIERS = ("alpha", "beta", "milestone", "rc", "snapshot", "", "sp")
_RELEASE = _QUALIFIERS.index("")
_ALIASES = {"ga": "", "final": "", "release": "", "cr": "rc"}
_BEFORE_DIGIT = {"a": "alpha", "b": "beta", "m": "milestone"}
_PIECES = re.compile(r"[0-9]+|[^0-9.-]+|[.-]")
_GRAMMAR = re.compile(r"[0-9A-Za-z_+.-]+")
MAX_PIECES = 64  # bounds the nesting of the lists


def key(version: str) -> Any:
    """The key of a version. One with characters outside letters, digits and `._+-` is none. Raises `Unorderable`."""
    if not _GRAMMAR.fullmatch(version):
        raise Unorderable(version)
    pieces = _PIECES.findall(version.lower())
    if len(pieces) > MAX_PIECES or not any(piece.isdigit() for piece in pieces):
        raise Unorderable(version)
    return _key(_parse(pieces))


def _parse(pieces: list[str]) -> list[Any]:
    root: list[Any] = []
    stack = [root]

    def open_list() -> None:
        inner: list[Any] = []
        stack[-1].append(inner)
        stack.append(inner)

    previous = ""
    for i, piece in enumerate(pieces):
        following = pieces[i + 1] if i + 1 < len(pieces) else ""
        if piece in ".-":
            if previous in {"", ".", "-"}:
                stack[-1].append(0)
            if piece == "-":
                open_list()
        elif piece.isdigit():
            if previous and previous not in ".-":
                open_list()
            stack[-1].append(int(piece))
        else:
            if stack[-1]:
                open_list()  # `1.x` and `1x` are `1-x`
            word = _BEFORE_DIGIT.get(piece, piece) if following.isdigit() else piece
            stack[-1].append(_ALIASES.get(word, word))
        previous = piece
    for items in reversed(stack):
        _trim(items)
    return root


def _trim(items: list[Any]) -> None:
    """Drop what says nothing (0, the release word, empty lists) at the end and in front of a list or word."""
    for i in range(len(items) - 1, -1, -1):
        last = i == len(items) - 1
        if _is_null(items[i]) and (last or _starts_with_word(items[i + 1])):
            del items[i]


def _is_null(item: Item) -> bool:
    return item in (0, "", [])


def _starts_with_word(item: Item) -> bool:
    if isinstance(item, list):
        return bool(item) and isinstance(item[0], str)
    return isinstance(item, str)


def _rank(word: str) -> tuple[int, str]:
    return (_QUALIFIERS.index(word), "") if word in _QUALIFIERS else (len(_QUALIFIERS), word)


def _compare(left: Item | None, right: Item | None) -> int:
    if left is None:
        return 0 if right is None else -_compare(right, None)
    if isinstance(left, int):
        if right is None:
            return 1 if left else 0
        return (left > right) - (left < right) if isinstance(right, int) else 1
    if isinstance(left, str):
        if right is None or isinstance(right, str):
            a, b = _rank(left), _rank(right or "")
            return (a > b) - (a < b)
        return -1
    if right is None:
        return next((result for item in left if (result := _compare(item, None))), 0)
    if isinstance(right, list):
        for i in range(max(len(left), len(right))):
            a_item = left[i] if i < len(left) else None
            b_item = right[i] if i < len(right) else None
            result = _compare(a_item, b_item)
            if result:
                return result
        return 0
    return -1 if isinstance(right, int) else 1


_key = cmp_to_key(_compare)
