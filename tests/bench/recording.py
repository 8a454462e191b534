"""How many decisions a second become durable: real leaves, as this run's webhook wrote them, into a fresh inventory."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from itertools import cycle
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from controller.cli.serve import running, settle
from controller.inventory.blobs.packing import unpack
from controller.inventory.canonical import canonical
from controller.inventory.recording.writer import Writer
from controller.inventory.store import Store
from controller.inventory.tables import instant
from controller.model.deadline import Deadline
from controller.model.naming import name_of
from controller.model.reference import Digest
from controller.settings import InventorySettings

WAITING = 512  # decisions that are on their way at once
ALONE = 200  # decisions recorded one after the other, each waited for
PATIENCE = 60.0  # seconds for one record

Leaf = dict[str, Any]
Blobs = Mapping[Digest, bytes]


@dataclass(frozen=True, slots=True)
class Recorded:
    """Decisions a second, milliseconds of CPU that one cost the recording process, milliseconds of each that was
    recorded `alone`, and the bytes of a leaf. `began` and `ended` are by the clock that all processes share."""

    rate: float
    cpu: float
    alone: tuple[float, ...]
    leaf_bytes: int
    began: float
    ended: float


def taken_from(connection: Connection) -> tuple[Leaf, Blobs]:
    """The newest leaf of an inventory about one image, and the blobs that it names."""
    query = "SELECT canonical FROM leaf ORDER BY position DESC"
    for (text,) in connection.execute(query):
        leaf: Leaf = json.loads(text)
        if len(leaf["images"]) == 1:
            break
    else:
        raise LookupError("nothing was recorded")
    found = connection.execute(
        f"SELECT digest, encoding, content, size FROM blob WHERE digest IN ({','.join('?' * len(leaf['blobs']))})",  # noqa: S608
        leaf["blobs"],
    )
    return leaf, {Digest.parse(digest): unpack(*kept, size=size) for digest, *kept, size in found}


def measure(file: Path, leaf: Leaf, blobs: Blobs, *, count: int) -> Recorded:
    """Record as many decisions with SQLite's durable commits, many waiting at a time, then some alone."""
    with Store.open(InventorySettings(database_url=f"sqlite:///{file}")) as store:
        return recorded(store.writer, [leaf], blobs, count=count)


def recorded(writer: Writer, leaves: Sequence[Leaf], blobs: Blobs, *, count: int) -> Recorded:
    """Record decisions that are like these in turn, each about a pod of its own, as the process that serves would."""
    with running() as runner:
        settle()
        return runner.run(_recorded(writer, leaves, blobs, count))


async def _recorded(writer: Writer, leaves: Sequence[Leaf], blobs: Blobs, count: int) -> Recorded:
    like = cycle(leaves)

    async def record(named: Leaf) -> None:
        leaf = next(like)
        uid, subject = named["object"]["uid"], leaf["object"]
        own = {**leaf, **named, "object": {**subject, "uid": uid, "name": subject["name"][:-5] + uid[:5]}}
        await writer.record(own, blobs=blobs, deadline=Deadline.after(PATIENCE))

    for _ in leaves:
        await record(_named())  # what is written once is there
    left = iter([_named() for _ in range(count)])  # an API server's and a review's work

    async def client() -> None:
        for named in left:
            await record(named)

    began, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(WAITING)))
    ended, cpu = time.perf_counter(), time.process_time() - cpu
    alone = []
    for named in [_named() for _ in range(ALONE)]:
        start = time.perf_counter()
        await record(named)
        alone.append(1000 * (time.perf_counter() - start))
    sizes = [len(canonical(leaf)) for leaf in leaves]
    rate, leaf_bytes = count / (ended - began), round(statistics.mean(sizes))
    return Recorded(rate, 1000 * cpu / count, tuple(alone), leaf_bytes, began, ended)


def _named() -> Leaf:
    """What a decision about a pod of its own has to itself, made now."""
    pod, now = str(uuid.uuid4()), datetime.now(UTC)
    identity = name_of(pod, at=now)
    key = {"id": identity, "decisionKey": f"{pod}:{sha256(pod.encode()).hexdigest()}"}
    return {**key, "decidedAt": instant(now), "object": {"uid": pod}}
