"""A deadline counts down, never below nothing, and says what it came in the middle of."""

from __future__ import annotations

import math

import pytest

from controller.errors import DeadlineExceeded, Unavailable
from controller.model.deadline import Deadline


def test_a_deadline_in_the_past_has_no_time_left_and_says_what_was_being_done() -> None:
    past = Deadline(-math.inf)
    assert past.remaining() == 0
    with pytest.raises(DeadlineExceeded, match="the deadline came while asking") as caught:
        past.check("asking ghcr.io")
    assert isinstance(caught.value, Unavailable)


def test_a_deadline_in_the_future_lets_work_go_on() -> None:
    Deadline(math.inf).check("asking ghcr.io")
    assert Deadline.after(3600).remaining() > 0


def test_an_earlier_deadline_keeps_time_back() -> None:
    assert Deadline(100.0).earlier(2.5) == Deadline(97.5)
