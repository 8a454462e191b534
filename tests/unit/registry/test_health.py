"""A host in trouble is left alone, for as long as it asks or as the circuit is open, and no longer."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from controller.errors import Unavailable
from controller.registry.health import DEFAULT_RETRY_AFTER, MAX_RETRY_AFTER, Health
from controller.settings import RegistrySettings, Seconds

pytestmark = pytest.mark.guarantee(19)
NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
HOST, OTHER = "registry.example", "other.example"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def health(clock: Clock) -> Health:
    settings = RegistrySettings(registry_circuit_failures=3, registry_circuit_pause=Seconds(10))
    return Health(settings, monotonic=clock)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("17", 17.0),
        (" 17 ", 17.0),
        ("99999999", MAX_RETRY_AFTER),
        ("9" * 5000, DEFAULT_RETRY_AFTER),
        ("Wed, 04 Mar 2026 05:07:07 GMT", 60.0),
        ("Wed, 04 Mar 2026 05:05:07 GMT", 0.0),
        ("Wed, 04 Mar 2026 05:07:07", 60.0),
        (None, DEFAULT_RETRY_AFTER),
        ("", DEFAULT_RETRY_AFTER),
        ("-5", DEFAULT_RETRY_AFTER),
        ("²", DEFAULT_RETRY_AFTER),
        ("soon", DEFAULT_RETRY_AFTER),
    ],
)
def test_retry_after_in_seconds_and_as_a_date(header: str | None, seconds: float) -> None:
    assert health(Clock()).throttled(HOST, header, now=NOW) == seconds


def test_a_throttled_host_is_asked_again_when_its_time_has_come_and_others_all_along() -> None:
    clock = Clock()
    kept = health(clock)
    kept.throttled(HOST, "30", now=NOW)
    kept.throttled(HOST, "5", now=NOW)  # a shorter pause never shortens the longer
    kept.check(OTHER)
    clock.now += 29
    with pytest.raises(Unavailable) as raised:
        kept.check(HOST)
    assert (raised.value.code, raised.value.retry_after) == ("RegistryThrottled", 1.0)
    clock.now += 1
    kept.check(HOST)


def test_failures_in_a_row_open_the_circuit_and_an_answer_between_does_not() -> None:
    kept = health(Clock())
    for _ in range(3):
        kept.failed(HOST)
        kept.failed(HOST)
        kept.answered(HOST)
    kept.check(HOST)
    for _ in range(3):
        kept.failed(HOST)
    with pytest.raises(Unavailable, match="CircuitOpen"):
        kept.check(HOST)
    kept.check(OTHER)


@pytest.mark.parametrize("outcome", ["answered", "failed", "abandoned"])
def test_after_the_pause_one_probe_decides(outcome: str) -> None:
    clock = Clock()
    kept = health(clock)
    for _ in range(3):
        kept.failed(HOST)
    clock.now += 10
    kept.check(HOST)
    with pytest.raises(Unavailable, match="CircuitOpen"):
        kept.check(HOST)  # the probe is under way
    getattr(kept, outcome)(HOST)
    if outcome == "failed":
        with pytest.raises(Unavailable, match="CircuitOpen"):
            kept.check(HOST)
    else:
        kept.check(HOST)
