"""How much work something is, counted and not timed: a machine that stands still for a minute adds nothing to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class TooMuchWork(BaseException):
    """More than was allowed. Not an `Exception`: what is measured may well take those for an answer."""


def within(calls: int, function: Callable[[], T]) -> T:
    """What a function returns, if this thread calls no more functions for it, Python's own among them.

    Raises `TooMuchWork` at the call that is one too many, so that what would never end does.
    """
    left = calls

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal left
        if event in {"call", "c_call"}:
            left -= 1
            if left < 0:
                raise TooMuchWork(f"more than {calls:,} calls")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        return function()
    finally:
        sys.setprofile(before)
