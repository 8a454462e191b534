"""`status.deniedLastHour`: how many images a policy denied, from the inventory, refreshed about once a minute."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta

from controller.cluster.client import MERGE_PATCH, ClusterClient
from controller.errors import AssayError
from controller.model.exception import PolicyName
from controller.operator.keeper import Keeper, StatusWrite
from controller.operator.resources import CLUSTER_POLICIES, POLICIES, key_of

logger = logging.getLogger(__name__)

INTERVAL = 60.0  # seconds between two looks
HOUR = timedelta(hours=1)

CountDenied = Callable[[datetime], Mapping[PolicyName, int]]
"""How many images each policy denied since a time; none for those that denied nothing. Blocking."""


async def keep_counting(count: CountDenied, keeper: Keeper, client: ClusterClient) -> None:
    """Count for ever, and write what has changed. What cannot be counted now stays as it was."""
    while True:
        try:
            denied = await asyncio.to_thread(count, datetime.now(UTC) - HOUR)
            for write in denial_writes(keeper, denied):
                _, namespace, name = write.key
                path = write.resource.status_path(namespace, name)
                keeper.put(write.resource, await client.patch(path, write.patch, content_type=MERGE_PATCH))
        except AssayError as exc:
            logger.warning("cannot tell in policies' statuses how many images they denied: %s", exc)
        await asyncio.sleep(INTERVAL)


def denial_writes(keeper: Keeper, denied: Mapping[PolicyName, int]) -> Iterator[StatusWrite]:
    """The statuses that say something else."""
    for resource in (CLUSTER_POLICIES, POLICIES):
        for obj in keeper.objects(resource):
            key = key_of(resource, obj)
            count = denied.get(key, 0)
            if (obj.get("status") or {}).get("deniedLastHour") != count:
                yield StatusWrite(key=key, resource=resource, patch={"status": {"deniedLastHour": count}})
