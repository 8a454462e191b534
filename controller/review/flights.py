"""Single flight: however many ask for the same thing at the same time, it is fetched once (guarantee 19).

A flight is a task of its own. Callers wait for it behind a shield with their own deadline, so the end of one caller
never cancels another's work, and work that outlives its callers warms the cache for the retry (guarantee 18).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from controller.errors import AssayError, DeadlineExceeded, LimitExceeded, Unavailable
from controller.model.deadline import Deadline
from controller.review.shares import NAMESPACE

SHARE = 4  # no namespace's flights may be more than one in so many of all that may fly
DEADLINE_EXCEEDED, WORK_TIMEOUT = "DeadlineExceeded", "WorkTimeout"

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Flights by key, for one event loop.

    `bound` is the longest that one may fly, in seconds; `most` the number that may fly at once, `setting` its name. A
    flight counts for the namespace for which it was started, and one namespace has no more than its share.
    """

    def __init__(self, *, bound: float, most: int, setting: str) -> None:
        self._bound = bound
        self._most = most
        self._setting = setting
        self._flying: dict[K, asyncio.Task[V]] = {}
        self._of: Counter[str] = Counter()
        self._closed = False

    def start(self, key: K, work: Callable[[Deadline], Awaitable[V]]) -> asyncio.Task[V]:
        """The flight for this key, started unless it is under way.

        Raises `LimitExceeded`, and `Unavailable` once closed.
        """
        task = self._flying.get(key)
        if task is None:
            if self._closed:
                raise Unavailable("ShuttingDown", "Assay is being stopped")
            if len(self._flying) >= self._most:
                raise LimitExceeded(self._setting, f"{self._most} pieces of work are under way already")
            namespace, share = NAMESPACE.get(), max(1, self._most // SHARE)
            if namespace and self._of[namespace] >= share:
                raise LimitExceeded(self._setting, f"{share} pieces of work are under way for namespace {namespace}")
            task = asyncio.create_task(self._fly(work))
            self._flying[key] = task
            self._of[namespace] += 1
            task.add_done_callback(lambda done: self._landed(key, namespace, done))
        return task

    async def join(self, key: K, work: Callable[[Deadline], Awaitable[V]], *, deadline: Deadline, doing: str) -> V:
        """What the flight brings. `doing` completes "the deadline came while …".

        Raises what the work raises, and `DeadlineExceeded` when the caller's deadline comes first; the flight goes on.
        """
        task = self.start(key, work)
        done, _ = await asyncio.wait({task}, timeout=deadline.remaining())
        if not done:
            raise DeadlineExceeded(
                "DeadlineExceeded",
                f"the deadline came while {doing}; it goes on in the background, so trying again helps",
            )
        if task.cancelled():
            raise Unavailable("ShuttingDown", f"Assay is being stopped while {doing}")
        try:
            return task.result()
        except AssayError as exc:
            raise type(exc)(*exc.args) from exc  # one for each caller: a shared one would collect all their tracebacks

    async def close(self) -> None:
        """End what still flies and wait until it has ended."""
        self._closed = True
        flying = list(self._flying.values())
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)

    async def _fly(self, work: Callable[[Deadline], Awaitable[V]]) -> V:
        try:
            async with asyncio.timeout(self._bound):
                return await work(Deadline.after(self._bound))
        except TimeoutError as exc:
            raise Unavailable(WORK_TIMEOUT, f"work did not end within its bound of {self._bound:g} s") from exc

    def _landed(self, key: K, namespace: str, task: asyncio.Task[V]) -> None:
        del self._flying[key]
        self._of[namespace] -= 1
        if not self._of[namespace]:
            del self._of[namespace]
        if not task.cancelled():
            task.exception()  # seen here too: a flight that nobody waits for any more is no error of the loop
