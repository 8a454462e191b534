"""Threads for expressions over a request, whose author decides how much of their budget they take; nobody else waits.

They are few, and of their own: in the event loop's default threads, names of registry hosts are looked up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from controller.model.deadline import Deadline

T = TypeVar("T")
THREADS = 2  # expressions judged side by side; more would only take turns, and take them from the serving thread

_pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="assay-rules")


async def beside(work: Callable[[], T], *, deadline: Deadline) -> T:
    """What `work` returns, done beside the event loop; given up unbegun when the caller is.

    Raises what it raises, and `DeadlineExceeded` where no time is left to begin it.
    """

    def begin() -> T:
        deadline.check("judging an expression")
        return work()

    return await asyncio.get_running_loop().run_in_executor(_pool, begin)
