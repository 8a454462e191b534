"""The one interface of all orders: a version becomes a key that compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

MAX_VERSION_LENGTH = 256  # characters; bounds the work of one comparison

Order = Callable[[str], Any]
"""Makes of a version a key that compares with the same order's other keys. Raises `Unorderable`."""


class Unorderable(ValueError):
    """A version that does not follow its ecosystem's grammar."""
