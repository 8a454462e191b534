"""No namespace's work keeps the others' from being done: places go round, and the slow leave the last one free."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from controller.errors import LimitExceeded
from controller.model.deadline import Deadline
from controller.review.flights import SHARE, Flights
from controller.review.shares import NAMESPACE, SLOW, SLOW_MEMORY, Places


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Work:
    """Work in places that goes on until it is told to end; `begun` names the namespaces in their order."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self.begun: list[str] = []

    def start(self, namespace: str) -> tuple[asyncio.Task[None], asyncio.Event]:
        end = asyncio.Event()

        async def work() -> None:
            NAMESPACE.set(namespace)
            async with self._places.one():
                self.begun.append(namespace)
                await end.wait()

        return asyncio.create_task(work()), end


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_namespaces_that_wait_are_served_by_turns() -> None:
    work = Work(Places(1))
    started = [work.start(namespace) for namespace in ("noisy", "noisy", "noisy", "noisy", "quiet", "other")]
    await turns()
    for _, end in started:
        end.set()
    await asyncio.gather(*(task for task, _ in started))
    assert work.begun == ["noisy", "noisy", "quiet", "other", "noisy", "noisy"]


async def test_one_namespace_alone_may_have_every_place() -> None:
    work = Work(Places(3))
    started = [work.start("noisy") for _ in range(3)]
    await turns()
    assert work.begun == ["noisy"] * 3
    for task, end in started:
        end.set()
        await task


async def test_a_namespace_that_was_slow_leaves_the_last_place_to_others_for_a_while() -> None:
    clock = Clock()
    work = Work(Places(2, clock=clock))
    first, end = work.start("slow")
    await turns()
    clock.now += SLOW + 1
    end.set()
    await first
    held = [work.start("slow") for _ in range(2)]
    await turns()
    assert work.begun == ["slow", "slow"]
    other, other_end = work.start("quick")
    await turns()
    assert work.begun == ["slow", "slow", "quick"]
    clock.now += SLOW_MEMORY + 1
    other_end.set()
    await other
    await turns()
    assert work.begun == ["slow", "slow", "quick", "slow"]
    for task, event in held:
        event.set()
        await task


@pytest.mark.parametrize("granted", [False, True])
async def test_who_gives_up_leaves_no_place_taken(granted: bool) -> None:
    places = Places(1)
    work = Work(places)
    holder, end = work.start("a")
    await turns()
    waiting, _ = work.start("b")
    await turns()
    if granted:
        end.set()
        await holder  # the place is given to the one that waits, which has not run yet
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    end.set()
    await holder
    last, last_end = work.start("c")
    last_end.set()
    await asyncio.wait_for(last, 10)


async def test_guarantee_10_no_namespace_has_more_than_its_share_of_flights() -> None:
    flights: Flights[int, None] = Flights(bound=60, most=4 * SHARE, setting="some_flights")
    gate = asyncio.Event()

    async def fly(_: Deadline) -> None:
        await gate.wait()

    async def for_namespace(namespace: str, start: Callable[[], Awaitable[None]]) -> None:
        NAMESPACE.set(namespace)
        await start()

    async def many(first: int) -> None:
        for number in range(first, first + 4):
            flights.start(number, fly)
        with pytest.raises(LimitExceeded, match="some_flights"):
            flights.start(first + 4, fly)
        flights.start(first, fly)  # what is under way already is joined, by anybody

    await asyncio.create_task(for_namespace("noisy", lambda: many(0)))
    await asyncio.create_task(for_namespace("other", lambda: many(100)))
    gate.set()
    await turns()

    await asyncio.create_task(for_namespace("noisy", lambda: many(0)))  # the share comes back
    await flights.close()
