"""How many decisions a second become durable: real leaves, as this run's webhook wrote them, into a fresh inventory."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Any

from controller.cli.serve import running
from controller.inventory.blobs.packing import unpack
from controller.inventory.store import Store
from controller.inventory.writer import Writer
from controller.model.deadline import Deadline
from controller.model.reference import Digest
from controller.settings import InventorySettings

WAITING = 512  # decisions that are on their way at once
ALONE = 200  # decisions recorded one after the other, each waited for
PATIENCE = 60.0  # seconds for one record

Leaf = dict[str, Any]
Blobs = Mapping[Digest, bytes]


@dataclass(frozen=True, slots=True)
class Recorded:
    """`seconds` that all took, milliseconds of each of the records that were written `alone`."""

    seconds: float
    alone: tuple[float, ...]
    leaf_bytes: int


def taken_from(connection: Connection) -> tuple[Leaf, Blobs]:
    """The newest leaf of an inventory about one image, and the blobs that it names."""
    query = "SELECT canonical FROM leaf ORDER BY position DESC"
    for (canonical,) in connection.execute(query):
        leaf: Leaf = json.loads(canonical)
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
    with Store.open(InventorySettings(database_url=f"sqlite:///{file}")) as store, running() as runner:
        return runner.run(_measure(store.writer, leaf, blobs, count))


async def _measure(writer: Writer, leaf: Leaf, blobs: Blobs, count: int) -> Recorded:
    await _record(writer, leaf, blobs, *_names())
    left = iter([_names() for _ in range(count)])  # an API server's and a review's work

    async def client() -> None:
        for names in left:
            await _record(writer, leaf, blobs, *names)

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(WAITING)))
    seconds = time.perf_counter() - began
    alone = []
    for _ in range(ALONE):
        names = _names()
        began = time.perf_counter()
        await _record(writer, leaf, blobs, *names)
        alone.append(1000 * (time.perf_counter() - began))
    return Recorded(seconds, tuple(alone), len(json.dumps(leaf)))


def _names() -> tuple[str, str]:
    """An id for a decision, and one for its pod."""
    return str(uuid.uuid4()), str(uuid.uuid4())


async def _record(writer: Writer, leaf: Leaf, blobs: Blobs, identity: str, pod: str) -> None:
    own = {**leaf, "id": identity, "decisionKey": f"{pod}:{identity}", "object": {**leaf["object"], "uid": pod}}
    await writer.record(own, blobs=blobs, deadline=Deadline.after(PATIENCE))
