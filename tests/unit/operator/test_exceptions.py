"""What time makes of exceptions: their status, their metrics and the Events about them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller import telemetry
from controller.cluster.client import CONFLICT
from controller.errors import Unacceptable, Unavailable
from controller.operator.exceptions import (
    EVENTS_PATH,
    MAX_MEASURED,
    ExceptionWatch,
    exception_conditions,
    measure,
    next_change,
    tellings,
)
from controller.policy.exception_index import ExceptionIndex, build_exceptions
from controller.policy.index import PolicyIndex
from controller.policy.snapshot import build_policies
from tests.support.exceptions import DAY, GLASS, NOW, exception, stamp
from tests.support.review import policy

END = NOW + 10 * DAY
LONG: dict[str, Any] = {"expires": stamp(END)}
HOUR = timedelta(hours=1)


def ready(obj: Mapping[str, Any], now: datetime, policies: PolicyIndex | None = None) -> tuple[bool | None, str, str]:
    accepted, found = exception_conditions(
        "hotfix",
        build_exceptions([obj]),
        policies=build_policies([policy()]) if policies is None else policies,
        generation=1,
        now=now,
    )
    assert (accepted.type, found.type) == ("Accepted", "Ready")
    return found.status, found.reason, found.message


@pytest.mark.guarantee(16)
def test_guarantee_16_the_status_ends_by_itself() -> None:
    obj = exception(**LONG)
    in_force = "Excepts until 2026-12-02 12:00:00 UTC, approved by jane."
    assert ready(obj, NOW) == (True, "InForce", in_force)
    assert ready(obj, END - timedelta(hours=72, seconds=1)) == (True, "InForce", in_force)
    assert ready(obj, END - timedelta(hours=72)) == (True, "ExpiresSoon", in_force)
    assert ready(obj, END) == (
        False,
        "Expired",
        "spec.expires: was 2026-12-02T12:00:00Z; it excepts nothing any more.",
    )


def test_what_excepts_nothing_says_why_in_its_status() -> None:
    assert ready(exception(reason=None), NOW)[1] == "FieldMissing"
    assert ready(exception(approver=None), NOW)[1] == "ApproverMissing"
    assert ready(exception(approvedAt=None), NOW)[1] == "NotApproved"
    assert ready(exception(expires=stamp(NOW + 31 * DAY)), NOW)[1] == "EndTooFar"
    assert ready(exception(), NOW, PolicyIndex()) == (
        False,
        "PolicyMissing",
        "spec.policies: there is no ClusterEvidencePolicy/signed; it excepts nothing from what is not.",
    )


def test_a_newer_object_waits_for_its_own_picture() -> None:
    index = build_exceptions([exception()])
    asked = {"policies": PolicyIndex(), "now": NOW}
    assert exception_conditions("hotfix", index, generation=2, **asked) == ()  # type: ignore[arg-type]
    assert exception_conditions("other", index, generation=1, **asked) == ()  # type: ignore[arg-type]


def test_the_next_change_is_the_nearest_end_or_the_nearest_warning_of_one() -> None:
    index = build_exceptions(
        [exception("a", **LONG), exception("b", expires=stamp(END + DAY)), exception("c", **GLASS)]
    )
    assert next_change(index, NOW) == NOW + 3.5 * HOUR
    assert next_change(index, NOW + 3.5 * HOUR) == NOW + 4 * HOUR
    assert next_change(index, NOW + 4 * HOUR) == END - 3 * DAY
    assert next_change(index, END) == END + DAY
    assert next_change(index, END + DAY) is None
    assert next_change(ExceptionIndex(), NOW) is None


def told(now: datetime, **spec: Any) -> list[str]:
    obj = exception(metadata={"uid": "u-1", "resourceVersion": "7"}, **spec)
    return [telling.body["reason"] for telling in tellings(build_exceptions([obj]), [obj], now=now)]


def test_events_tell_of_a_near_end_of_an_end_and_of_a_broken_glass() -> None:
    assert told(NOW, **LONG) == []
    assert told(END - 3 * DAY, **LONG) == ["ExpiresSoon"]
    assert told(END, **LONG) == ["Expired"]
    assert told(END + 3 * DAY, **LONG) == ["Expired"]
    assert told(END + 3 * DAY + HOUR, **LONG) == []
    assert told(NOW, **GLASS) == ["BreakGlass"]
    assert told(NOW + 3.5 * HOUR, **GLASS) == ["BreakGlass", "ExpiresSoon"]
    assert told(NOW + 4 * HOUR, **GLASS) == ["Expired"]
    void = GLASS | {"expires": stamp(NOW + 5 * HOUR)}  # so that nothing is broken, and nothing ends
    assert told(NOW, **void) == told(NOW + 4.9 * HOUR, **void) == told(NOW + 5 * HOUR, **void) == []


def test_an_event_is_one_as_the_api_server_takes_it() -> None:
    obj = exception("n" * 253, metadata={"uid": "u-1", "resourceVersion": "7"}, reason="r" * 4096, **LONG)
    (telling,) = tellings(build_exceptions([obj]), [obj], now=END - HOUR)
    body = telling.body
    assert body["metadata"]["namespace"] == "default"
    assert len(body["metadata"]["name"]) <= 253
    assert len(body["note"]) <= 1024
    assert len(body["reportingController"]) <= 128
    assert body["type"] == "Warning"
    assert body["regarding"] == {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidenceException",
        "name": "n" * 253,
        "uid": "u-1",
        "resourceVersion": "7",
    }


def test_metrics_say_each_end_and_how_many_are_in_which_state() -> None:
    granted = [exception("a", **LONG), exception("b"), exception("c", expires=stamp(NOW)), exception("d", reason=None)]

    def states() -> list[float]:
        return [telemetry.EXCEPTIONS.labels(s)._value.get() for s in ("in-force", "expiring-soon", "idle")]

    def ends() -> dict[str, float]:
        (family,) = telemetry.EXCEPTION_EXPIRES.collect()
        return {sample.labels["exception"]: sample.value for sample in family.samples}

    measure(build_exceptions(granted), now=NOW)
    assert states() == [1, 1, 2]
    assert ends() == {"a": END.timestamp(), "b": (NOW + DAY).timestamp()}
    measure(build_exceptions(granted), now=NOW + 2 * DAY)
    assert states() == [1, 0, 3]
    assert ends() == {"a": END.timestamp()}
    measure(build_exceptions(exception(f"e{i}") for i in range(MAX_MEASURED + 5)), now=NOW)
    assert len(ends()) == MAX_MEASURED
    measure(ExceptionIndex(), now=NOW)
    assert states() == [0, 0, 0]
    assert ends() == {}


@dataclass
class Events:
    """The API server's Events, as far as it takes part: names are taken once, and it may be away."""

    written: list[str] = field(default_factory=list)
    refuse: Exception | None = None

    async def create(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        assert path == EVENTS_PATH
        if self.refuse is not None:
            raise self.refuse
        if body["metadata"]["name"] in self.written:
            raise Unacceptable(CONFLICT, "it is there already")
        self.written.append(body["metadata"]["name"])
        return dict(body)


async def _watched(watch: ExceptionWatch, *, seconds: float = 0.05) -> None:
    task = asyncio.create_task(watch.run())
    await asyncio.sleep(seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _now_for(seconds: float, name: str = "hotfix") -> dict[str, Any]:
    """An exception that ends so many seconds from the real now."""
    now = datetime.now(UTC)
    end = now + timedelta(seconds=seconds)
    return exception(name, metadata={"uid": "u-1"}, approvedAt=stamp(now), expires=stamp(end))


async def test_each_event_is_written_once_and_again_only_if_that_failed() -> None:
    obj, events = _now_for(60), Events(refuse=Unavailable("ClusterUnavailable", "away"))
    index = build_exceptions([obj])
    watch = ExceptionWatch(lambda: index, objects=lambda: [obj], client=events, changed=lambda: None)  # type: ignore[arg-type]
    await _watched(watch)
    assert events.written == []
    events.refuse = None
    await _watched(watch)
    await _watched(watch)
    assert len(events.written) == 1
    another = ExceptionWatch(lambda: index, objects=lambda: [obj], client=events, changed=lambda: None)  # type: ignore[arg-type]
    await _watched(another)  # after a restart: the API server knows it already
    assert len(events.written) == 1


async def test_statuses_are_due_the_moment_that_an_exception_ends() -> None:
    obj, due = _now_for(0.3), asyncio.Event()
    index = build_exceptions([obj])
    watch = ExceptionWatch(lambda: index, objects=lambda: [obj], client=None, changed=due.set)
    task = asyncio.create_task(watch.run())
    try:
        await asyncio.wait_for(due.wait(), 3.0)
        assert exception_conditions(
            "hotfix", index, policies=PolicyIndex(), generation=1, now=datetime.now(UTC)
        )[1].reason == "Expired"  # fmt: skip
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
