"""What all share, shared out: no namespace's work keeps the others' from being done.

Whoever may create pods decides how much there is to fetch and to verify, and from how slow a registry. For whom work is
done goes with the task that does it (`NAMESPACE`), so that what is started for a pod counts for its namespace, however
deep below the review and however long after it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

NAMESPACE: ContextVar[str] = ContextVar("assay_namespace", default="")
"""The namespace for whose pod the current task works; empty for nobody's, which no share bounds."""

SLOW = 2.0  # seconds in one place after which a namespace counts as slow: it then leaves the last place to others
SLOW_MEMORY = 60.0  # seconds for which it does
MAX_SLOW = 4096  # bounds the namespaces remembered as slow


class Places:
    """A number of places in which something may be done at once, for one event loop.

    Namespaces that wait are served by turns. One whose work was slow never gets the last place, so that the others wait
    for each other alone.
    """

    def __init__(self, count: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._clock = clock
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._slow: OrderedDict[str, float] = OrderedDict()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A place, for as long as the block lasts; waits until there is one."""
        namespace = NAMESPACE.get()
        await self._take(namespace)
        began = self._clock()
        try:
            yield
        finally:
            self._held[namespace] -= 1
            if self._clock() - began > SLOW and namespace:
                self._remember(namespace)
            self._serve()

    async def _take(self, namespace: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(namespace, deque()).append(place)
        self._serve()
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was given one at the same moment
                self._held[namespace] -= 1
            self._serve()
            raise

    def _serve(self) -> None:
        """Give the places that are free to those who wait, by turns."""
        for namespace in list(self._waiting):
            queue = self._waiting[namespace]
            while queue and queue[0].done():  # given up
                queue.popleft()
            if queue and self._may(namespace):
                queue.popleft().set_result(None)
                self._held[namespace] += 1
                self._waiting.move_to_end(namespace)
            if not queue:
                del self._waiting[namespace]
        self._held += Counter()  # drop what is zero
        if any(self._may(namespace) for namespace in self._waiting):
            self._serve()

    def _may(self, namespace: str) -> bool:
        held = sum(self._held.values())
        if held >= self._count:
            return False
        slow = self._slow.get(namespace, 0.0) > self._clock()
        return not slow or self._held[namespace] < max(1, self._count - 1)

    def _remember(self, namespace: str) -> None:
        self._slow[namespace] = self._clock() + SLOW_MEMORY
        self._slow.move_to_end(namespace)
        if len(self._slow) > MAX_SLOW:
            self._slow.popitem(last=False)
