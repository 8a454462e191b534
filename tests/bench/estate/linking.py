"""How many component links a second are written of documents that come new to an inventory that holds an estate.

They are SBOMs that are there, under another name, so that most of their components are there too, as in an image's
next build. The program's own indexer writes them; reading the documents, which worker processes do, is timed apart.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import create_engine, select

from controller.inventory import tables
from controller.inventory.database import engines
from controller.inventory.index import reading as documents
from controller.inventory.index.contents import Contents
from controller.inventory.records import DecisionFilter
from controller.inventory.store import Store
from controller.inventory.tables import instant
from controller.model.deadline import Deadline
from controller.model.reference import Digest
from controller.settings import DocumentSettings, InventorySettings
from tests.bench.estate.keeping import Kept

COUNT = 40  # documents
PATIENCE = 60.0  # seconds for one record


def measure(kept: Kept, *, count: int = COUNT) -> dict[str, str]:
    """Record documents like those that are there, and index them. They stay, and are few beside an estate's."""
    settings, limits = InventorySettings(database_url=kept.url, durability="Database"), DocumentSettings()
    reading, links = 0.0, 0

    def read(content: bytes) -> Contents:
        nonlocal reading, links
        began = time.perf_counter()
        contents = documents.read(content, limits)
        reading += time.perf_counter() - began
        links += len(contents.components)
        return contents

    with Store.open(settings) as store:
        indexer = store.indexer(settings, read=read)
        while indexer.step().more:
            pass
        asyncio.run(_record(store, kept, count))
        reading, links = 0.0, 0
        began = time.perf_counter()
        while indexer.step().more:
            pass
        seconds = time.perf_counter() - began
    return {
        "links of new documents written a second, reading apart": f"{links / (seconds - reading):,.0f}",
        "components of new documents read a second, by one process": f"{links / reading:,.0f}",
    }


async def _record(store: Store, kept: Kept, count: int) -> None:
    for artifact, about in _sboms(kept, count):
        content = store.queries.blob(artifact)
        page = store.queries.decisions(DecisionFilter(digest=about), limit=100)
        found = filter(None, (store.queries.decision(item.id) for item in page.items))
        leaf = next((one.leaf for one in found if artifact in one.leaf["blobs"]), None)
        if content is None or leaf is None:
            continue
        new = _renamed(content)
        identity, pod, name = str(uuid.uuid4()), str(uuid.uuid4()), Digest.of(new)
        told = json.loads(json.dumps(leaf).replace(artifact, str(name)))
        told |= {"id": identity, "decisionKey": f"{pod}:{identity}", "decidedAt": instant(datetime.now(UTC))}
        told["object"]["uid"] = pod
        await store.writer.record(told, blobs={name: new}, deadline=Deadline.after(PATIENCE))


def _sboms(kept: Kept, count: int) -> Iterator[tuple[str, str]]:
    """SBOMs, and an image that each was verified for."""
    document, found = tables.document, tables.verification
    query = (
        select(document.c.artifact, found.c.digest)
        .join(found, found.c.artifact == document.c.artifact)
        .where(document.c.kind == "sbom", document.c.problem == "", found.c.finding == "attestation")
        .order_by(document.c.id)
        .limit(10 * count)
    )
    engine = create_engine(engines.parse(kept.url))
    with engine.connect() as connection:
        rows = {row.artifact: row.digest for row in connection.execute(query)}
    engine.dispose()
    yield from list(rows.items())[:count]


def _renamed(content: bytes) -> bytes:
    """The same document in a bundle, but for its name. (Nobody looks at its signature again.)"""
    bundle = json.loads(content)
    envelope = bundle.get("dsseEnvelope", bundle)  # in a bundle, or as cosign attached it before there were any
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["predicate"]["name"] = str(uuid.uuid4())
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    return json.dumps(bundle).encode()
