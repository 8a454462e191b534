"""How many decisions a second become durable in an inventory that already holds an estate, by the real writer.

They are decisions like those that are there, about the same images, each about a pod of its own, as admissions are.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime
from itertools import cycle

from controller.cli.serve import running
from controller.inventory.store import Store
from controller.inventory.tables import instant
from controller.model.deadline import Deadline
from controller.settings import InventorySettings
from tests.bench.estate.keeping import Kept
from tests.bench.statistics import percentile

COUNT = 20_000
LIKE = 100  # decisions whose images and evaluations are used over and over
WAITING = 512  # decisions that are on their way at once
ALONE = 100  # decisions recorded one after the other
PATIENCE = 60.0  # seconds for one record


def measure(kept: Kept, *, count: int = COUNT) -> dict[str, str]:
    """Record decisions like those that are there. They stay, and are few beside an estate's."""
    with Store.open(InventorySettings(database_url=kept.url, durability="Database")) as store, running() as runner:
        return runner.run(_measure(store, kept, count))


async def _measure(store: Store, kept: Kept, count: int) -> dict[str, str]:
    found = filter(None, map(store.queries.decision, kept.sample.decisions[:LIKE]))
    like = cycle([json.dumps(one.leaf) for one in found])
    leaf_bytes = 0

    async def record() -> None:
        nonlocal leaf_bytes
        text = next(like)
        leaf_bytes += len(text)
        identity, pod = str(uuid.uuid4()), str(uuid.uuid4())
        leaf = json.loads(text)
        leaf |= {"id": identity, "decisionKey": f"{pod}:{identity}", "decidedAt": instant(datetime.now(UTC))}
        leaf["object"]["uid"] = pod
        await store.writer.record(leaf, blobs={}, deadline=Deadline.after(PATIENCE))

    async def client(left: range) -> None:
        for _ in left:
            await record()

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client(range(part, count, WAITING)) for part in range(WAITING)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    size = leaf_bytes / count
    alone = []
    for _ in range(ALONE):
        began = time.perf_counter()
        await record()
        alone.append(1000 * (time.perf_counter() - began))
    return {
        "decisions recorded a second, durable, 512 waiting": f"{count / seconds:,.0f}",
        "CPU of the recording process, ms a decision": f"{1000 * cpu / count:.2f}",
        "bytes of such a decision's leaf": f"{size:,.0f}",
        "a record alone, p50 / p95 ms": f"{percentile(alone, 0.5):.1f} / {percentile(alone, 0.95):.1f}",
    }
