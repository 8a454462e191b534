"""How many decisions a second become durable in an inventory that already holds an estate, by the real writer."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

from controller.inventory.store import Store
from controller.model.deadline import Deadline
from controller.settings import InventorySettings
from tests.bench.estate.keeping import Kept
from tests.bench.statistics import percentile

COUNT = 3_000
WAITING = 512  # decisions that are on their way at once
ALONE = 100  # decisions recorded one after the other
PATIENCE = 60.0  # seconds for one record


def measure(kept: Kept, *, count: int = COUNT) -> dict[str, str]:
    """Record decisions like one that is there. They stay, and are few beside an estate's."""
    with Store.open(InventorySettings(database_url=kept.url, durability="Database")) as store:
        return asyncio.run(_measure(store, kept, count))


async def _measure(store: Store, kept: Kept, count: int) -> dict[str, str]:
    like = next(filter(None, map(store.queries.decision, kept.sample.decisions)))
    text = json.dumps(like.leaf)

    async def record() -> None:
        identity = str(uuid.uuid4())
        leaf = json.loads(text) | {"id": identity, "decisionKey": f"{uuid.uuid4()}:{identity}"}
        await store.writer.record(leaf, blobs={}, deadline=Deadline.after(PATIENCE))

    async def client(left: range) -> None:
        for _ in left:
            await record()

    began = time.perf_counter()
    await asyncio.gather(*(client(range(part, count, WAITING)) for part in range(WAITING)))
    seconds = time.perf_counter() - began
    alone = []
    for _ in range(ALONE):
        began = time.perf_counter()
        await record()
        alone.append(1000 * (time.perf_counter() - began))
    return {
        "decisions recorded a second, durable, 512 waiting": f"{count / seconds:,.0f}",
        "a record alone, p50 / p95 ms": f"{percentile(alone, 0.5):.1f} / {percentile(alone, 0.95):.1f}",
    }
