"""The bytes of evidence that are in memory at once: one bound for all images, from their first byte to their last use.

Each image's evidence is bounded, and how many are fetched at once; both at their bounds together are more than any
machine has. So bytes are taken from one budget before they are asked for. Whoever finds it full waits, and only his own
deadline ends that: `failurePolicy: Ignore` must not open because somebody else's evidence is large.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Callable

from controller.errors import DeadlineExceeded, LimitExceeded
from controller.model.deadline import Deadline
from controller.review.shares import NAMESPACE

BUDGET_FULL = "ReviewBytesFull"
RESERVE = 4  # one part in so many is for the one image that is helped to its end where all wait for each other

_Taking = tuple[int, asyncio.Future[None]]


class Budget:
    """A number of bytes, for one event loop, shared out by namespace.

    A namespace may hold half of what the others leave, so that there is always something for one more. Those who wait
    are served by turns of their namespaces, the oldest image of each first. Images keep what they have while they wait
    for more; that this does not go on for ever, one of them at a time may take the reserve as well, until it is done.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._total = 0
        self._held: Counter[str] = Counter()
        self._waiting: OrderedDict[str, OrderedDict[Room, deque[_Taking]]] = OrderedDict()
        self._finishing = False
        self.make_room: Callable[[str | None, int], None] = lambda _namespace, _size: None
        """Asked to let go of so many bytes that are only remembered (of this namespace, if one is named)."""

    @property
    def held(self) -> int:
        """The bytes that are taken."""
        return self._total

    def open(self) -> Room:
        """Room for one image's evidence, empty as yet, on the account of the namespace that is worked for."""
        return Room(self, NAMESPACE.get())

    async def take(self, room: Room, size: int, deadline: Deadline) -> None:
        """See `Room.take`."""
        if room.size + size > self._size:
            raise LimitExceeded("review_max_bytes", f"the evidence of one image has more than {self._size} bytes")
        if (room.finishing or room.namespace not in self._waiting) and self._may(room, size):
            self._grant(room, size)
            return
        self.make_room(room.namespace if self._total + size <= self._size else None, size)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        rooms = self._waiting.setdefault(room.namespace, OrderedDict())
        rooms.setdefault(room, deque()).append((size, place))
        if room.finishing:
            rooms.move_to_end(room, last=False)
        self.serve()
        try:
            async with asyncio.timeout(deadline.remaining()):
                await place
        except BaseException as exc:
            if place.done() and not place.cancelled():  # it was granted at the same moment
                room.give(size)
            self.serve()
            if not isinstance(exc, TimeoutError):
                raise
            message = f"evidence of {self._total} bytes is in memory, and none of it was done with in time"
            raise DeadlineExceeded(BUDGET_FULL, f"{message} (bound: review_max_bytes)") from exc

    def waits(self, namespace: str) -> bool:
        """Whether somebody of this namespace waits."""
        return namespace in self._waiting

    def release(self, namespace: str, size: int, *, finished: bool) -> None:
        """Take back what a room held; `finished` if it was the one that might take the reserve."""
        self._total -= size
        self._held[namespace] -= size
        if not self._held[namespace]:
            del self._held[namespace]
        if finished:
            self._finishing = False
        self.serve()

    def serve(self) -> None:
        """Grant what can be granted, by turns."""
        while self._serve_once() or self._serve_last():
            pass

    def _serve_once(self) -> bool:
        served = False
        for namespace in list(self._waiting):
            found = self._first(namespace)
            if found is not None and self._may(*found):
                self._serve_first(namespace)
                served = True
        return served

    def _serve_last(self) -> bool:
        """Let the one whose turn it is take the reserve, unless another does."""
        for namespace in () if self._finishing else list(self._waiting):
            room, size = self._first(namespace) or (None, 0)
            if room is not None and self._total + size <= self._size:
                room.finishing = self._finishing = True
                self._serve_first(namespace)
                return True
        return False

    def _first(self, namespace: str) -> tuple[Room, int] | None:
        """Who waits first in the namespace, and for how much; those who gave up are dropped."""
        rooms = self._waiting[namespace]
        for room, takings in list(rooms.items()):
            while takings and takings[0][1].done():
                takings.popleft()
            if takings:
                return room, takings[0][0]
            del rooms[room]
        del self._waiting[namespace]
        return None

    def _serve_first(self, namespace: str) -> None:
        room, takings = next(iter(self._waiting[namespace].items()))
        size, place = takings.popleft()
        self._grant(room, size)
        place.set_result(None)
        self._waiting.move_to_end(namespace)
        self._first(namespace)

    def _may(self, room: Room, size: int) -> bool:
        if room.finishing:
            return self._total + size <= self._size
        mine = self._held[room.namespace]
        shared = self._size - self._size // RESERVE
        return mine + size <= (shared - (self._total - mine)) // 2

    def _grant(self, room: Room, size: int) -> None:
        room.size += size
        self._total += size
        self._held[room.namespace] += size


class Room:
    """What one image's evidence takes of the budget, for as long as anything refers to it.

    It goes with the evidence (`EvidenceSet.held`), through flights, reviews and caches, whichever of them is the last.
    """

    __slots__ = ("_budget", "_loop", "finishing", "namespace", "size")

    def __init__(self, budget: Budget, namespace: str) -> None:
        self._budget = budget
        self._loop = asyncio.get_running_loop()
        self.namespace = namespace
        self.size = 0
        self.finishing = False

    async def take(self, size: int, *, deadline: Deadline) -> None:
        """Wait until there is room for so many bytes more.

        Raises `DeadlineExceeded` (`ReviewBytesFull`), and `LimitExceeded` (`review_max_bytes`) where there never is.
        """
        await self._budget.take(self, size, deadline)

    def give(self, size: int) -> None:
        """Give back what turned out not to be needed; once closed, there is nothing left to give."""
        size = min(size, self.size)
        self.size -= size
        self._budget.release(self.namespace, size, finished=False)

    @property
    def crowded(self) -> bool:
        """Whether others wait for what this holds, so that it should not be kept only to be remembered."""
        return self.finishing or self._budget.waits(self.namespace)

    def close(self) -> None:
        """Give everything back now."""
        size, self.size = self.size, 0
        finished, self.finishing = self.finishing, False
        self._budget.release(self.namespace, size, finished=finished)

    def __del__(self) -> None:
        if self.size or self.finishing:
            try:  # the last reference may go in any thread
                self._loop.call_soon_threadsafe(_release, self._budget, self.namespace, self.size, self.finishing)
            except RuntimeError:  # the loop has ended, and with it everybody who could wait
                return

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """In another process it accounts for nothing."""
        return _nothing, ()


def _release(budget: Budget, namespace: str, size: int, finished: bool) -> None:
    budget.release(namespace, size, finished=finished)


def _nothing() -> None:
    return None
