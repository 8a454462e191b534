"""Work done side by side, and without a task of its own where it is the only one: most pods have one image, and most
images one policy, and a task is two turns of the event loop more."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def abreast(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What each comes to, in their order. Raises what the first to fail raised; the others go on then, as they would
    with `asyncio.gather`."""
    waiting = list(works)
    if len(waiting) == 1:
        return [await waiting[0]]
    return await asyncio.gather(*waiting)
