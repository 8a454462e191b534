"""The event loop that serves, and how its interpreter's threads share their lock."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest
import uvloop

from controller.cli.serve import TURN, running


@pytest.fixture(autouse=True)
def _turns_as_before() -> Iterator[None]:
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def test_the_serving_loop_is_uvloop_in_an_interpreter_of_short_turns() -> None:
    async def kind() -> type[asyncio.AbstractEventLoop]:
        return type(asyncio.get_running_loop())

    with running() as runner:
        assert runner.run(kind()) is uvloop.Loop
    assert sys.getswitchinterval() == pytest.approx(TURN)
