"""Times that others vouch for, and their words within our sentences."""

from __future__ import annotations

from datetime import timedelta

import pytest

from controller.verification.failures import NotVerified
from controller.verification.proof import CLOCK_SKEW, MAX_SHOWN, check_times, shown
from tests.unit.verification.evidence import NOW

SECOND = timedelta(seconds=1)


def test_a_clock_may_be_ahead_by_the_skew_and_no_more() -> None:
    assert check_times((NOW, NOW + CLOCK_SKEW), now=NOW) == NOW
    assert check_times((NOW, NOW - SECOND), now=NOW) == NOW - SECOND
    assert check_times((), now=NOW) is None
    for times in ((NOW + CLOCK_SKEW + SECOND,), (NOW, NOW + CLOCK_SKEW + SECOND)):
        with pytest.raises(NotVerified, match="SignedInFuture"):
            check_times(times, now=NOW)


def test_foreign_text_is_cut_past_its_bound_and_has_nothing_that_a_terminal_obeys() -> None:
    assert shown("x" * MAX_SHOWN) == "x" * MAX_SHOWN
    assert shown("x" * (MAX_SHOWN + 1)) == "x" * MAX_SHOWN + "…"
    assert shown("a\x1b[31m\n\u202eb") == "a\ufffd[31m\ufffd\ufffdb"
