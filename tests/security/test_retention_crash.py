"""Whoever drops what is old may die at any moment: nothing is half dropped, and nothing is dropped without a record.

One process imports everything, then forks a pruner at a time, so that many deaths take seconds.
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
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select

from controller.inventory import tables
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.retention import pruning
from controller.inventory.retention.rules import DataClass, Follows, Rule, follows
from controller.inventory.store import Store, beside
from controller.settings import InventorySettings
from tests.support import postgres
from tests.support.inventory import (
    START,
    Clock,
    Database,
    before_forks,
    blob,
    leaf,
    postgres_database,
    soon,
    sqlite_database,
)

ROOT = Path(__file__).parents[2]
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
RECORDS, DEATHS, BATCH = 100, 16, 3  # deaths on each database, at least
PAUSE = 0.004  # seconds after a transaction: however quick the machine, few are done before the kill comes
KEEP = timedelta(days=30)


def _database(url: str, directory: Path) -> Database:
    """The inventory at a URL, with files beside it."""
    settings = InventorySettings(
        database_url=url, durability="Database", blob_file_bytes=1000, blob_directory=str(directory / "blobs")
    )
    return Database("", settings)


def evidence(number: int) -> bytes:
    return random.Random(number).randbytes(1200 if number % 5 == 0 else 100)  # noqa: S311 - bytes, not secrets


async def _fill(database: Database) -> None:
    with database.open(Clock()) as store:
        made = [(leaf(number), blob(evidence(number))) for number in range(RECORDS)]
        await asyncio.gather(
            *(
                store.writer.record(one | {"blobs": [str(digest)]}, blobs={digest: content}, deadline=soon())
                for one, (digest, content) in made
            )
        )
        sequencer = store.sequencer(database.settings, signer=SIGNER)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass


def _prune(database: Database) -> None:
    pruning.BATCH = pruning.LOOKUP = BATCH
    with beside(database.settings) as (engine, blobs):
        pruning.Pruner(
            engine,
            engine,
            rules=[Rule(DataClass.DECISIONS, KEEP), Rule(DataClass.EVIDENCE, KEEP)],
            blobs=blobs,
            cluster="local",
            signer=SIGNER,
            clock=Clock(START + KEEP + timedelta(days=1)),
            pause=_tell,
        ).prune()


def _tell() -> bool:
    """Between two transactions: the test decides by these lines when it kills."""
    os.write(1, b"step\n")
    time.sleep(PAUSE)
    return False


def _mother(url: str, directory: Path) -> None:
    before_forks()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(1, f"born {os.getpid()}\n".encode())
            _prune(_database(url, directory))
            os._exit(0)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


@pytest.mark.guarantee(14)
@pytest.mark.timeout(600)
def test_guarantee_14_a_death_while_dropping_leaves_nothing_half(memory: Path) -> None:
    _kill_pruners(_database(sqlite_database(memory).settings.database_url, memory), memory)


@pytest.fixture
def on_postgresql(server: postgres.Postgres) -> Iterator[str]:
    url = postgres_database(server).settings.database_url
    yield url
    server.drop(url)


@pytest.mark.guarantee(14)
@pytest.mark.timeout(600)
def test_guarantee_14_on_postgresql_a_death_while_dropping_leaves_nothing_half(
    memory: Path, on_postgresql: str, server: postgres.Postgres
) -> None:
    _kill_pruners(_database(on_postgresql, memory), memory, server)


def _kill_pruners(database: Database, directory: Path, server: postgres.Postgres | None = None) -> None:
    url = database.settings.database_url
    asyncio.run(_fill(database))
    chance = random.Random()  # noqa: S311 - moments, not secrets
    progress = {_look(database)}
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.security.test_retention_crash", url, str(directory)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as mother:
        assert mother.stdin is not None
        assert mother.stdout is not None
        deaths = 0
        while (
            deaths < DEATHS or min(blobs for _, blobs in progress) == RECORDS
        ):  # on to the evidence, however many it takes
            deaths += 1
            mother.stdin.write("live\n")
            mother.stdin.flush()
            pid = int(mother.stdout.readline().removeprefix("born "))
            line = ""
            for _ in range(chance.randrange(1, 5)):
                line = mother.stdout.readline()
                if line == "dead\n":  # there was nothing left to be dropped
                    break
            time.sleep(chance.random() * 0.01)
            if line != "dead\n":
                os.kill(pid, signal.SIGKILL)
                while mother.stdout.readline() != "dead\n":
                    pass
            if server is not None:
                server.wait_for_nobody(url)
            progress.add(_look(database))
        mother.stdin.close()
        assert mother.wait(60) == 0
    assert len(progress) > DEATHS // 4  # most deaths came in the middle of the work
    _prune(database)
    assert _look(database) == (0, 0)
    assert [path for path in directory.rglob("sha256/*/*") if not path.name.startswith(".")] == []


def _look(database: Database) -> tuple[int, int]:
    """How many decisions and blobs are left. What is there is whole, and verifies; what is not was dropped by rule."""
    with Store.open_to_read(database.settings) as store:
        report = store.verify(keys=[SIGNER.key()])
        assert report.findings == []
        with store._reading.begin() as connection:
            leaves = {row.position: row for row in connection.execute(select(tables.leaf))}
            decisions = {position for position, row in leaves.items() if row.verdict == "Allow"}
            for table in tables.PROJECTIONS:
                if follows(table) is Follows.LEAF and table is not tables.legal_hold:
                    assert set(connection.execute(select(table.c.leaf)).scalars()) <= decisions
            blobs = len(connection.execute(select(tables.blob.c.digest)).all())
    assert sum(report.dropped.values()) + len(decisions) == RECORDS
    return len(decisions), blobs


if __name__ == "__main__":
    _mother(sys.argv[1], Path(sys.argv[2]))
