"""Single flight: one piece of work however many ask, nobody's end is another's, and nothing flies for ever."""

from __future__ import annotations

import asyncio
import math

import pytest

from controller.errors import DeadlineExceeded, LimitExceeded, NotFound, Unavailable
from controller.model.deadline import Deadline
from controller.review.flights import Flights

LATER = Deadline(math.inf)
NOW = Deadline(-math.inf)


class Work:
    """Counts its runs and ends when it is told to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.runs = 0
        self.ended = 0
        self.may_end = asyncio.Event()
        self.deadlines: list[Deadline] = []
        self._error = error

    async def __call__(self, deadline: Deadline) -> int:
        self.runs += 1
        self.deadlines.append(deadline)
        await self.may_end.wait()
        self.ended += 1
        if self._error is not None:
            raise self._error
        return self.runs


def flights(*, bound: float = 3600, most: int = 10) -> Flights[str, int]:
    return Flights(bound=bound, most=most, setting="some_flights")


async def settle() -> None:
    """Let everything that can run do so."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.guarantee(19)
async def test_however_many_ask_the_work_is_done_once() -> None:
    flying, work = flights(), Work()
    callers = [asyncio.create_task(flying.join("k", work, deadline=LATER, doing="x")) for _ in range(50)]
    await settle()
    work.may_end.set()
    assert await asyncio.gather(*callers) == [1] * 50
    assert work.runs == 1


async def test_other_keys_are_other_work_and_a_flight_that_landed_is_forgotten() -> None:
    flying, work = flights(), Work()
    work.may_end.set()
    assert await flying.join("a", work, deadline=LATER, doing="x") == 1
    assert await flying.join("b", work, deadline=LATER, doing="x") == 2
    await settle()
    assert await flying.join("a", work, deadline=LATER, doing="x") == 3


@pytest.mark.guarantee(18)
async def test_the_end_of_one_caller_does_not_end_the_work_of_another() -> None:
    flying, work = flights(), Work()
    stays = asyncio.create_task(flying.join("k", work, deadline=LATER, doing="x"))
    leaves = asyncio.create_task(flying.join("k", work, deadline=LATER, doing="x"))
    await settle()
    leaves.cancel()
    await settle()
    assert leaves.cancelled()
    work.may_end.set()
    assert await stays == 1


@pytest.mark.guarantee(18)
async def test_a_callers_deadline_is_its_own_and_the_work_goes_on() -> None:
    flying, work = flights(), Work()
    with pytest.raises(DeadlineExceeded, match=r"came while asking; it goes on in the background"):
        await flying.join("k", work, deadline=NOW, doing="asking")
    await settle()
    work.may_end.set()
    assert await flying.join("k", work, deadline=LATER, doing="asking") == 1
    assert work.runs == 1


@pytest.mark.guarantee(10)
async def test_work_past_its_own_bound_is_ended_and_called_unavailable() -> None:
    work = Work()
    with pytest.raises(Unavailable, match="WorkTimeout"):
        await flights(bound=0).join("k", work, deadline=LATER, doing="x")
    assert work.ended == 0


async def test_the_work_gets_the_flights_deadline_and_not_the_callers() -> None:
    flying, work = flights(bound=3600), Work()
    work.may_end.set()
    await flying.join("k", work, deadline=Deadline.after(60), doing="x")
    assert work.deadlines[0].remaining() > 60


@pytest.mark.guarantee(10)
async def test_one_more_than_may_fly_is_an_error_that_names_the_setting() -> None:
    flying, work = flights(most=2), Work()
    first = flying.start("a", work)
    second = flying.start("b", work)
    with pytest.raises(LimitExceeded, match="some_flights"):
        await flying.join("c", work, deadline=LATER, doing="x")
    joined = asyncio.create_task(flying.join("a", work, deadline=LATER, doing="x"))
    work.may_end.set()
    assert await joined == await first
    await second
    await settle()
    assert await flying.join("c", work, deadline=LATER, doing="x") == 3


async def test_every_caller_gets_an_error_of_its_own_with_the_same_words() -> None:
    flying, work = flights(), Work(NotFound("NotFound", "there is none"))
    callers = [asyncio.create_task(flying.join("k", work, deadline=LATER, doing="x")) for _ in range(5)]
    await settle()
    work.may_end.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [(type(error), str(error)) for error in errors] == [(NotFound, "NotFound: there is none")] * 5
    assert len({id(error) for error in errors}) == 5
    assert len({id(error.__cause__) for error in errors if isinstance(error, NotFound)}) == 1


async def test_a_fault_reaches_every_caller_and_is_no_result() -> None:
    flying, work = flights(), Work(ZeroDivisionError())
    work.may_end.set()
    with pytest.raises(ZeroDivisionError):
        await flying.join("k", work, deadline=LATER, doing="x")


async def test_a_flight_that_fails_with_nobody_waiting_leaves_no_trace() -> None:
    seen: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
    flying, work = flights(), Work(NotFound("NotFound", "there is none"))
    flying.start("k", work)
    await settle()
    work.may_end.set()
    await settle()
    assert seen == []


async def test_closing_ends_what_flies_tells_who_waits_and_starts_nothing_new() -> None:
    flying, work = flights(), Work()
    waiting = asyncio.create_task(flying.join("k", work, deadline=LATER, doing="x"))
    await settle()
    await flying.close()
    with pytest.raises(Unavailable, match="ShuttingDown"):
        await waiting
    with pytest.raises(Unavailable, match="ShuttingDown"):
        await flying.join("k", work, deadline=LATER, doing="x")
    assert (work.runs, work.ended) == (1, 0)
