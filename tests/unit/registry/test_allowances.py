"""What registries say of the pulls that are left, and how much of it is kept."""

from __future__ import annotations

import pytest

from controller import telemetry
from controller.registry.allowances import MAX_HOSTS, Allowances


def shown(host: str) -> tuple[float | None, float | None]:
    """Limit and remaining as the metrics say."""
    limit, remaining = (
        telemetry.METRICS.get_sample_value(metric._name, {"host": host})
        for metric in (telemetry.RATELIMIT_LIMIT, telemetry.RATELIMIT_REMAINING)
    )
    return limit, remaining


@pytest.mark.parametrize(
    ("limit", "remaining", "expected"),
    [
        ("100;w=21600", "76;w=21600", (100, 76)),
        (" 200 ; w=21600 ", "0;w=21600", (200, 0)),
        ("100", "76", (100, 76)),
        ("100;w=21600", None, (None, None)),
        (None, "76;w=21600", (None, None)),
        ("-1;w=21600", "76;w=21600", (None, None)),
        ("100;w=21600", "many", (None, None)),
        ("9" * 400, "76", (None, None)),
        ("٣;w=21600", "76;w=21600", (None, None)),
        ("100;w=21600\nassay_fake 1", "76;w=21600", (None, None)),
    ],
)
def test_only_numbers_are_shown(
    limit: str | None,
    remaining: str | None,
    expected: tuple[float | None, float | None],
    request: pytest.FixtureRequest,
) -> None:
    host = f"{abs(hash(request.node.name))}.example"
    headers = {"ratelimit-limit": limit, "ratelimit-remaining": remaining}
    allowances = Allowances()
    allowances.heard(host, {name: value for name, value in headers.items() if value is not None})
    assert shown(host) == expected
    assert allowances.counts(host) is (expected != (None, None))


def test_a_host_that_is_heard_again_stays_however_many_others_are_named() -> None:
    """Anybody may name hosts of his own that send these headers: they must not crowd out the one in use."""
    headers = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
    allowances = Allowances()
    before = set(telemetry.RATELIMIT_LIMIT._metrics)
    for number in range(3 * MAX_HOSTS):
        allowances.heard("hub.example", headers)
        allowances.heard(f"{number}.crowd.example", headers)
    assert shown("hub.example") == (100, 76)
    assert shown("0.crowd.example") == (None, None)
    assert not allowances.counts("0.crowd.example")
    assert len(set(telemetry.RATELIMIT_LIMIT._metrics) - before) <= MAX_HOSTS
    assert telemetry.RATELIMIT_LIMIT._metrics.keys() == telemetry.RATELIMIT_REMAINING._metrics.keys()
