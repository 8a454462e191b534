"""Work side by side: in order, at once, and without a task where there is one piece of it."""

from __future__ import annotations

import asyncio

import pytest

from controller.review.abreast import abreast


async def test_works_are_under_way_at_the_same_time_and_told_in_their_order() -> None:
    second_began = asyncio.Event()

    async def first() -> int:
        await second_began.wait()
        return 1

    async def second() -> int:
        second_began.set()
        return 2

    async with asyncio.timeout(30):
        assert await abreast([first(), second()]) == [1, 2]
    assert await abreast([]) == []


async def test_one_alone_is_done_in_the_task_that_asks() -> None:
    async def who() -> asyncio.Task[object] | None:
        return asyncio.current_task()

    assert await abreast([who()]) == [asyncio.current_task()]


@pytest.mark.parametrize("others", [0, 2])
async def test_what_one_raises_is_raised(others: int) -> None:
    async def fine() -> None:
        return None

    async def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await abreast([broken(), *(fine() for _ in range(others))])
