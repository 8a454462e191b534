"""Indexing that dies at any moment: what was indexed is whole, and the next process goes on (guarantee 13).

One process imports everything, then forks an indexer at a time, so that many deaths take seconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Table, create_engine, func, select

from controller.inventory import tables
from controller.inventory.database import engines
from controller.inventory.index import reading, writing
from controller.settings import DocumentSettings, InventorySettings
from tests.support import postgres
from tests.support.attested import attesting, envelope, spdx
from tests.support.inventory import Database, before_forks, postgres_database, soon, sqlite_database

ROOT = Path(__file__).parents[2]
DEATHS = 25  # on each database
DOCUMENTS, COMPONENTS, ROWS = 30, 250, 50  # of which are written in one transaction
PAUSE = 0.004  # seconds after a transaction: however quick the machine, few are done before the kill comes


def _lists(number: int) -> list[str]:
    return [f"pkg:npm/p{(number * 7 + at) % 600}@{at % 3}" for at in range(COMPONENTS)]


@pytest.fixture
def on_sqlite(memory: Path) -> Database:
    return sqlite_database(memory)


@pytest.fixture
def on_postgresql(server: postgres.Postgres) -> Iterator[Database]:
    database = postgres_database(server)
    yield database
    server.drop(database.settings.database_url)


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_guarantee_13_an_index_survives_kills_and_is_whole_in_the_end(on_sqlite: Database) -> None:
    _kill_indexers(on_sqlite)


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_guarantee_13_on_postgresql_an_index_survives_kills_and_is_whole_in_the_end(
    on_postgresql: Database, server: postgres.Postgres
) -> None:
    _kill_indexers(on_postgresql, server)


def _kill_indexers(database: Database, server: postgres.Postgres | None = None) -> None:
    with database.open() as opened:

        async def record() -> None:
            made = [attesting(envelope(spdx(*_lists(number)))) for number in range(DOCUMENTS)]
            recording = (opened.writer.record(value, blobs=blobs, deadline=soon()) for value, blobs in made)
            await asyncio.gather(*recording)

        asyncio.run(record())
    chance = random.Random()  # noqa: S311 - moments, not secrets
    progress = set()
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.security.test_index_crash", database.settings.database_url],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as mother:
        assert mother.stdin is not None
        assert mother.stdout is not None
        for _ in range(DEATHS):
            mother.stdin.write("live\n")
            mother.stdin.flush()
            pid = int(mother.stdout.readline().removeprefix("born "))
            for _ in range(chance.randrange(40)):  # transactions; none: while it still opens the database
                if mother.stdout.readline() == "idle\n":
                    break
            time.sleep(chance.random() * 0.01)
            os.kill(pid, signal.SIGKILL)
            while mother.stdout.readline() != "dead\n":
                pass
            if server is not None:
                server.wait_for_nobody(database.settings.database_url)
            progress.add(_every_document_that_counts_is_whole(database))
        mother.stdin.close()
        assert mother.wait(60) == 0
    assert len(progress) > DEATHS // 4  # most deaths came in the middle of the work
    with database.open() as opened:
        indexer = opened.indexer(database.settings, read=_read)
        while indexer.step().more:
            pass
        report = opened.verify(keys=[])
        assert [finding for finding in report.findings if finding.code == "IndexChanged"] == []
        assert report.documents == DOCUMENTS
    assert _every_document_that_counts_is_whole(database) == (DOCUMENTS, DOCUMENTS * COMPONENTS)
    every = {purl for number in range(DOCUMENTS) for purl in _lists(number)}
    assert _count(database, tables.component) == len(every)
    assert _count(database, tables.package) == len({purl.rpartition("@")[0] for purl in every})
    assert _count(database, tables.document) == DOCUMENTS


def _every_document_that_counts_is_whole(database: Database) -> tuple[int, int]:
    """How many documents count, and how many links there are, those of unfinished documents too."""
    document, link = tables.document, tables.sbom_component
    links = select(document.c.indexed_at, func.count(link.c.component)).outerjoin_from(
        document, link, link.c.document == document.c.id
    )
    engine = create_engine(engines.parse(database.settings.database_url))
    with engine.begin() as connection:
        found = connection.execute(links.group_by(document.c.id, document.c.indexed_at)).all()
    engine.dispose()
    whole = [count for indexed_at, count in found if indexed_at is not None]
    assert set(whole) <= {COMPONENTS}, "a document counts, and lacks links"
    return len(whole), sum(count for _, count in found)


def _count(database: Database, table: Table) -> int:
    engine = create_engine(engines.parse(database.settings.database_url))
    with engine.begin() as connection:
        count = connection.execute(select(func.count()).select_from(table)).scalar_one()
    engine.dispose()
    return int(count)


def _read(content: bytes) -> writing.Contents:
    return reading.read(content, DocumentSettings())


def _tell(_seconds: float) -> None:
    """After each transaction: the test decides by these lines when it kills."""
    os.write(1, b"step\n")
    time.sleep(PAUSE)


def _mother(url: str) -> None:
    database = Database("", InventorySettings(database_url=url, durability="Database"))
    before_forks()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(1, f"born {os.getpid()}\n".encode())
            opened = database.open()
            indexer = opened.indexer(database.settings, read=_read, clock=lambda: datetime.now(UTC), pace=_tell)
            indexer._rows = ROWS
            while True:
                if not indexer.step().more:
                    os.write(1, b"idle\n")
                    time.sleep(0.01)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    _mother(sys.argv[1])
