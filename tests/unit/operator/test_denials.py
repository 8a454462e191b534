"""How many images a policy denied is written into its status, when it changes and not else."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.cluster.client import ClusterClient
from controller.errors import Unavailable
from controller.operator import denials
from controller.operator.denials import denial_writes, keep_counting
from controller.operator.keeper import Keeper
from controller.operator.resources import CLUSTER_POLICIES, POLICIES
from tests.unit.policy import make

CLUSTER, NAMESPACED = ("ClusterEvidencePolicy", "", "p"), ("EvidencePolicy", "shop", "p")


def _keeper(**status: Any) -> Keeper:
    keeper = Keeper()
    keeper.put(CLUSTER_POLICIES, make.resource("p") | {"status": status})
    keeper.put(POLICIES, make.resource("p", namespace="shop") | {"status": status})
    return keeper


def _written(keeper: Keeper, denied: Mapping[Any, int]) -> dict[Any, Any]:
    return {write.key: write.patch for write in denial_writes(keeper, denied)}


def test_a_number_is_written_for_each_policy_also_where_it_is_none() -> None:
    assert _written(_keeper(), {CLUSTER: 3}) == {
        CLUSTER: {"status": {"deniedLastHour": 3}},
        NAMESPACED: {"status": {"deniedLastHour": 0}},
    }


def test_nothing_is_written_that_is_there_already() -> None:
    assert _written(_keeper(deniedLastHour=3), {CLUSTER: 3, NAMESPACED: 3}) == {}
    assert _written(_keeper(deniedLastHour=3), {CLUSTER: 3}) == {NAMESPACED: {"status": {"deniedLastHour": 0}}}
    assert _written(_keeper(deniedLastHour=0), {("ClusterEvidencePolicy", "", "gone"): 5}) == {}


class _Cluster(ClusterClient):
    """Takes patches of statuses as the API server would."""

    def __init__(self) -> None:
        self.patches: list[tuple[str, Any]] = []

    async def patch(self, path: str, body: Any, **_: Any) -> dict[str, Any]:
        self.patches.append((path, body))
        return make.resource("p", namespace="shop" if "/shop/" in path else "") | body


async def test_it_is_counted_over_an_hour_again_and_again_and_survives_an_inventory_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(denials, "INTERVAL", 0.001)
    asked: list[datetime] = []
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()

    def count(since: datetime) -> Mapping[Any, int]:
        asked.append(since)
        if len(asked) == 2:
            raise Unavailable("DatabaseUnavailable", "away")
        if len(asked) > 4:
            loop.call_soon_threadsafe(enough.set)
        return {CLUSTER: 1 if len(asked) < 4 else 2}

    cluster = _Cluster()
    task = asyncio.create_task(keep_counting(count, _keeper(), cluster))
    await asyncio.wait_for(enough.wait(), 60)
    task.cancel()
    path = "/apis/assay.dev/v1alpha1/clusterevidencepolicies/p/status"
    numbers = [body["status"]["deniedLastHour"] for where, body in cluster.patches if where == path]
    assert numbers == [1, 2], "written once for each change"
    assert len(cluster.patches) == 3, "and once for the other policy"
    assert all(timedelta(minutes=59) < datetime.now(UTC) - since < timedelta(minutes=61) for since in asked)
