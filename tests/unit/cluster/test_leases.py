"""One of several holds a Lease: by versions, and by nobody's clock but one's own."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.cluster import leases
from controller.cluster.client import CONFLICT, NOT_FOUND
from controller.cluster.leases import DURATION, RENEW_WITHIN, Lease, LeaseName
from controller.errors import Unacceptable, Unavailable

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


class Leases:
    """The API server's side: one object, whose version changes with each write."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version = 0
        self.away = False
        self.before_write = lambda: None

    async def get(self, path: str, *, timeout: float) -> dict[str, Any]:
        assert path == "/apis/coordination.k8s.io/v1/namespaces/assay-system/leases/assay"
        assert timeout < RENEW_WITHIN
        self._answer()
        if self.stored is None:
            raise Unavailable(NOT_FOUND, "none")
        return copy.deepcopy(self.stored)

    async def create(self, path: str, body: dict[str, Any], *, timeout: float) -> dict[str, Any]:  # noqa: ARG002
        assert path == "/apis/coordination.k8s.io/v1/namespaces/assay-system/leases"
        self._answer()
        if self.stored is not None:
            raise Unacceptable(CONFLICT, "it is there")
        return self._store(body)

    async def replace(self, path: str, body: dict[str, Any], *, timeout: float) -> dict[str, Any]:  # noqa: ARG002
        self._answer()
        before, self.before_write = self.before_write, lambda: None
        before()
        assert self.stored is not None
        if body["metadata"]["resourceVersion"] != self.stored["metadata"]["resourceVersion"]:
            raise Unacceptable(CONFLICT, "changed meanwhile")
        return self._store(body)

    def _answer(self) -> None:
        if self.away:
            raise Unavailable("ClusterUnavailable", "away")

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.stored = copy.deepcopy(body)
        self.stored["metadata"] |= {"resourceVersion": str(self.version), "uid": "u-1"}
        return copy.deepcopy(self.stored)

    @property
    def spec(self) -> dict[str, Any]:
        assert self.stored is not None
        return dict(self.stored["spec"])


class Process:
    """One that wants the Lease: its hand on it, its own monotonic clock, and a wall clock that may be wrong."""

    def __init__(self, cluster: Leases, name: str, *, skew: timedelta = timedelta()) -> None:
        self.time = 1000.0
        self.lease = Lease(
            cluster,  # type: ignore[arg-type]
            LeaseName("assay-system", "assay"),
            identity=name,
            clock=lambda: NOW + skew + timedelta(seconds=self.time),
            monotonic=lambda: self.time,
        )


def pass_time(seconds: float, *processes: Process) -> None:
    for process in processes:
        process.time += seconds


async def test_the_first_has_it_and_the_second_waits_until_it_has_run_out() -> None:
    cluster = Leases()
    one, other = Process(cluster, "one"), Process(cluster, "other")
    assert await one.lease.attempt()
    assert not await other.lease.attempt()
    assert (one.lease.held(), other.lease.held()) == (True, False)
    pass_time(RENEW_WITHIN, one, other)
    assert not one.lease.held(), "it counts on it for longer than it may"
    assert not await other.lease.attempt(), "taken before its end"
    pass_time(DURATION - RENEW_WITHIN + 0.1, one, other)
    assert await other.lease.attempt()
    assert cluster.spec["holderIdentity"] == "other"
    assert cluster.spec["leaseTransitions"] == 1
    assert not await one.lease.attempt()


async def test_who_renews_keeps_it_and_its_transitions_and_start_stay() -> None:
    cluster = Leases()
    one, other = Process(cluster, "one"), Process(cluster, "other")
    assert await one.lease.attempt()
    acquired = cluster.spec["acquireTime"]
    for _ in range(30):
        pass_time(2, one, other)
        assert await one.lease.attempt()
        assert not await other.lease.attempt()
    assert (cluster.spec["acquireTime"], cluster.spec["leaseTransitions"]) == (acquired, 0)
    assert cluster.spec["renewTime"] > acquired


@pytest.mark.parametrize("skew", [timedelta(days=-400), timedelta(hours=-1), timedelta(hours=1), timedelta(days=400)])
async def test_a_wall_clock_that_is_wrong_neither_takes_it_early_nor_keeps_it(skew: timedelta) -> None:
    cluster = Leases()
    one, other = Process(cluster, "one"), Process(cluster, "other", skew=skew)
    assert await one.lease.attempt()
    for _ in range(20):
        pass_time(2, one, other)
        assert await one.lease.attempt()
        assert not await other.lease.attempt()
    pass_time(DURATION + 1, one, other)
    assert await other.lease.attempt()


async def test_of_two_who_take_it_at_once_the_api_server_refuses_one() -> None:
    cluster = Leases()
    gone, one, other = Process(cluster, "gone"), Process(cluster, "one"), Process(cluster, "other")
    assert await gone.lease.attempt()
    assert not await one.lease.attempt()
    assert not await other.lease.attempt()
    pass_time(DURATION + 1, one, other)

    def other_first() -> None:
        assert cluster.stored is not None
        cluster.version += 1
        cluster.stored["spec"]["holderIdentity"] = "other"
        cluster.stored["metadata"]["resourceVersion"] = str(cluster.version)

    cluster.before_write = other_first
    assert not await one.lease.attempt()
    assert not one.lease.held()
    assert cluster.spec["holderIdentity"] == "other"


async def test_it_is_free_at_once_when_it_was_given_back() -> None:
    cluster = Leases()
    one, other = Process(cluster, "one"), Process(cluster, "other")
    assert await one.lease.attempt()
    assert not await other.lease.attempt()
    await one.lease.release()
    assert not one.lease.held()
    assert await other.lease.attempt()
    await one.lease.release()  # of what is another's nothing is given back
    assert cluster.spec["holderIdentity"] == "other"


async def test_what_cannot_be_renewed_runs_out_by_itself() -> None:
    cluster = Leases()
    one = Process(cluster, "one")
    assert await one.lease.attempt()
    cluster.away = True
    pass_time(RENEW_WITHIN - 1, one)
    with pytest.raises(Unavailable):
        await one.lease.attempt()
    assert one.lease.held()
    pass_time(1, one)
    assert not one.lease.held()


async def test_a_lease_that_the_chart_made_is_empty_and_free() -> None:
    cluster = Leases()
    cluster._store({"metadata": {"name": "assay"}})
    one = Process(cluster, "one")
    assert await one.lease.attempt()
    assert cluster.spec["holderIdentity"] == "one"


@pytest.mark.parametrize("said", [None, 0, -5, 10**9, "long"])
async def test_a_lease_that_says_nothing_sensible_of_its_length_is_not_waited_for_for_ever(said: Any) -> None:
    cluster = Leases()
    cluster._store({"metadata": {}, "spec": {"holderIdentity": "gone", "leaseDurationSeconds": said}})
    one = Process(cluster, "one")
    assert not await one.lease.attempt()
    pass_time(leases.MAX_DURATION + 1, one)
    assert await one.lease.attempt()
