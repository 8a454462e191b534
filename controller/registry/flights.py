"""Single flight: however many callers ask the same at once, it is asked once (guarantee 19).

A flight is its own task with its own, longer bound. Callers wait with their own deadlines, so that one caller's end
never cancels what others wait for, and work that a caller gave up on still warms the next one (guarantee 18).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

from controller.errors import DeadlineExceeded, Unavailable
from controller.model.deadline import Deadline

T = TypeVar("T")


class Flights(Generic[T]):
    """Flights by key, at most `limit` under way, each bounded to `seconds`. `setting` names the limit's setting."""

    def __init__(self, *, limit: int, seconds: float, setting: str) -> None:
        self._limit = limit
        self._seconds = seconds
        self._setting = setting
        self._tasks: dict[Hashable, asyncio.Task[T]] = {}
        self._closed = False

    async def run(
        self, key: Hashable, start: Callable[[Deadline], Awaitable[T]], *, deadline: Deadline, doing: str
    ) -> T:
        """The result of the flight `key`, joining it when it is under way, else starting it with its own deadline.

        Raises what the flight raises; `DeadlineExceeded` when this caller's deadline comes first (the flight goes on);
        `Unavailable` (`RegistryBusy`, `ShuttingDown`) when no flight may be started.
        """
        deadline.check(doing)
        task = self._tasks.get(key)
        if task is None:
            task = self._start(key, start, doing)
        await asyncio.wait({task}, timeout=deadline.remaining())
        if not task.done():
            raise DeadlineExceeded("DeadlineExceeded", f"the deadline came while {doing}")
        if task.cancelled():
            raise Unavailable("ShuttingDown", f"Assay was shut down while {doing}")
        return task.result()

    def _start(self, key: Hashable, start: Callable[[Deadline], Awaitable[T]], doing: str) -> asyncio.Task[T]:
        if self._closed:
            raise Unavailable("ShuttingDown", f"Assay was shut down while {doing}")
        if len(self._tasks) >= self._limit:
            raise Unavailable("RegistryBusy", f"too much is under way already for {doing} (bound: {self._setting})")

        async def fly() -> T:
            return await start(Deadline.after(self._seconds))

        task = asyncio.create_task(fly())
        self._tasks[key] = task

        def land(landed: asyncio.Task[Any]) -> None:
            del self._tasks[key]
            if not landed.cancelled():
                landed.exception()  # retrieved here, since every caller may have gone

        task.add_done_callback(land)
        return task

    async def close(self, *, grace: float) -> None:
        """Start nothing more, wait up to `grace` seconds for what is under way, then cancel it."""
        self._closed = True
        tasks = set(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
