"""What was acknowledged survives the death of the process at any moment, and nothing is recorded twice (guarantee 13).

One process imports everything and then forks a recorder at a time, so that ninety deaths take seconds. On PostgreSQL
the server's own processes are killed as well. With the deaths of the whole program (`test_crash.py`) and of migrations
(`test_migration_crash.py`) there are two hundred.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select

from controller.inventory import store, tables
from controller.inventory.audit.verifying import Kept
from controller.inventory.ledger.keeping import CHECKPOINT, LedgerKeeper
from controller.inventory.ledger.notes import NoteSigner
from controller.model.reference import Digest
from controller.settings import InventorySettings
from tests.support import postgres
from tests.support.inventory import Database, before_forks, blob, leaf, postgres_database, soon, sqlite_database

ROOT = Path(__file__).parents[2]
DEATHS = 90
POSTGRES_DEATHS, SERVER_DEATHS = 25, 25
CALLERS = 16  # records under way at once
MOST = 150  # acknowledged in one life
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_every_acknowledged_record_survives_ninety_kills(memory: Path) -> None:
    acknowledged = _killed(sqlite_database(memory), memory, DEATHS)
    _verify(memory, acknowledged)


def _killed(database: Database, directory: Path, deaths: int) -> list[str]:
    """Have a recorder killed so many times, at random moments. Returns what was acknowledged to its callers."""
    chance = random.Random()  # noqa: S311 - moments, not secrets
    acknowledged: list[str] = []
    lives_with_records = 0
    arguments = [str(directory), database.settings.url(), database.settings.durability]
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.security.test_inventory_crash", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as mother:
        assert mother.stdin is not None
        assert mother.stdout is not None
        for life in range(deaths):
            mother.stdin.write("live\n")
            mother.stdin.flush()
            pid = int(mother.stdout.readline().removeprefix("born "))
            wanted = chance.choice((0, 1, chance.randrange(MOST)))  # sometimes while it still opens the file
            seen = 0
            while seen < wanted or (life == deaths - 1 and not (directory / CHECKPOINT).exists()):
                acknowledged.append(_acknowledged(mother.stdout.readline()))
                seen += 1
            time.sleep(chance.random() * 0.03)
            os.kill(pid, signal.SIGKILL)
            for line in iter(mother.stdout.readline, "dead -9\n"):
                acknowledged.append(_acknowledged(line))
                seen += 1
            lives_with_records += seen > 0
        mother.stdin.close()
        assert mother.wait(60) == 0
    assert lives_with_records >= deaths // 4
    return acknowledged


def _acknowledged(line: str) -> str:
    assert line.startswith("ack "), f"the recorder said {line!r}"
    return line.removeprefix("ack ").strip()


def _verify(directory: Path, acknowledged: list[str]) -> None:
    database = sqlite_database(directory)
    # A reader alone sees all of it, right after the crash.
    with store.Store.open_to_read(database.settings) as reader, reader.queries._reading() as reading:
        assert set(reading.execute(select(tables.leaf.c.decision_key)).scalars()) >= set(acknowledged)
    database.open().close()  # recovers the write-ahead log, as the next serving process would
    connection = sqlite3.connect(directory / "inventory.db")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    recorded = Counter(key for (key,) in connection.execute("SELECT decision_key FROM leaf"))
    assert set(acknowledged) - set(recorded) == set()
    assert set(recorded.values()) == {1}
    projected = connection.execute("SELECT count(*) FROM decision JOIN leaf ON leaf = position").fetchone()
    assert projected == (len(recorded),)
    named = {digest for (digest,) in connection.execute("SELECT digest FROM blob")}
    assert {str(Digest.of(key.encode())) for key in recorded} <= named
    in_files = connection.execute("SELECT count(*) FROM blob WHERE location = 'file'").fetchone()[0]
    assert 0 < in_files <= len(list(directory.glob("inventory.db.blobs/**/*"))), "large evidence was to be in files"
    connection.close()
    _verify_ledger(directory, len(recorded))
    assert store.rebuild(database.settings.url()) == len(recorded)


def _verify_ledger(directory: Path, recorded: int) -> None:
    """What was numbered before each death is continued: one history, which the checkpoint beside it vouches for."""
    database = sqlite_database(directory)
    kept = (directory / CHECKPOINT).read_bytes()
    with database.open() as opened:
        before = opened.verify(keys=[SIGNER.key()], kept=[Kept("kept", kept)])
        assert before.findings == []
        assert before.entries > 0
        assert before.kept > 0
        sequencer = opened.sequencer(database.settings, signer=SIGNER)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass
        after = opened.verify(keys=[SIGNER.key()], kept=[Kept("kept", kept)])
        assert (after.findings, after.entries, after.signed, after.waiting) == ([], recorded, recorded, 0)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_guarantee_13_on_postgresql_every_acknowledged_record_survives_the_recorders_deaths(
    server: postgres.Postgres, tmp_path: Path
) -> None:
    database = postgres_database(server)
    acknowledged = _killed(database, tmp_path, POSTGRES_DEATHS)
    _verify_postgres(database, tmp_path, acknowledged)


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_guarantee_13_every_acknowledged_record_survives_the_deaths_of_postgresql(
    server: postgres.Postgres, tmp_path: Path
) -> None:
    """`kill -9` of one of its backends, upon which it ends all and recovers, or of its first process. What is
    acknowledged meanwhile is in the spool, and comes to the database afterwards, once."""
    chance = random.Random()  # noqa: S311 - moments, not secrets
    database = postgres_database(server, durability="Spool", spool_directory=str(tmp_path / "spool"))
    acknowledged: list[str] = []
    with subprocess.Popen(
        [
            *(sys.executable, "-u", "-m", "tests.security.test_inventory_crash"),
            *(str(tmp_path), database.settings.url(), "Spool"),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as mother:
        assert mother.stdin is not None
        assert mother.stdout is not None
        mother.stdin.write("live\n")
        mother.stdin.flush()
        pid = int(mother.stdout.readline().removeprefix("born "))
        for number in range(SERVER_DEATHS):
            acknowledged += [_acknowledged(mother.stdout.readline()) for _ in range(chance.randrange(1, 150))]
            if number % 4 == 0:
                server.kill()
                server.start_again()
            else:
                _kill_backend(server, chance)
        while not (tmp_path / CHECKPOINT).exists():  # the ledger waits a while for a database that was away
            acknowledged.append(_acknowledged(mother.stdout.readline()))
        acknowledged += [_acknowledged(mother.stdout.readline()) for _ in range(100)]
        os.kill(pid, signal.SIGKILL)
        acknowledged += [_acknowledged(line) for line in iter(mother.stdout.readline, "dead -9\n")]
        mother.stdin.close()
        assert mother.wait(60) == 0
    _verify_postgres(database, tmp_path, acknowledged)


def _kill_backend(server: postgres.Postgres, chance: random.Random) -> None:
    """One that serves the recorder, in the middle of what it does; then all others are ended by the server."""
    end = time.monotonic() + 60
    while True:
        assert time.monotonic() < end
        try:
            found = server.execute(
                "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )
        except psycopg.OperationalError:  # it still recovers from the last time
            found = []
        if found:
            with suppress(ProcessLookupError):  # it was gone by itself
                os.kill(chance.choice(found)[0], signal.SIGKILL)
                return
        time.sleep(0.05)


def _verify_postgres(database: Database, directory: Path, acknowledged: list[str]) -> None:
    kept = (directory / CHECKPOINT).read_bytes()
    with database.open() as opened:
        spool = directory / "spool"
        end = time.monotonic() + 120
        while spool.is_dir() and any(path.suffix == ".spool" and path.stat().st_size for path in spool.iterdir()):
            assert time.monotonic() < end, "what was in the spool was not brought to the database"
            time.sleep(0.1)
        assert not (spool.is_dir() and list(spool.glob("*.damaged")))
        with opened.queries._reading() as reading:
            keys = Counter(reading.execute(select(tables.leaf.c.decision_key)).scalars())
            named = set(reading.execute(select(tables.blob.c.digest)).scalars())
        assert set(acknowledged) - set(keys) == set()
        assert set(keys.values()) == {1}
        assert {str(Digest.of(key.encode())) for key in keys} <= named
        before = opened.verify(keys=[SIGNER.key()], kept=[Kept("kept", kept)])
        assert before.findings == []
        assert before.kept > 0
        sequencer = opened.sequencer(database.settings, signer=SIGNER)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass
        after = opened.verify(keys=[SIGNER.key()], kept=[Kept("kept", kept)])
        assert (after.findings, after.entries, after.signed, after.waiting) == ([], len(keys), len(keys), 0)


async def _record_until_killed(directory: Path, settings: InventorySettings) -> None:
    opened = store.Store.open(settings)
    LedgerKeeper(  # numbers what is recorded all the while, and dies with the rest
        opened.sequencer(settings, signer=SIGNER),
        opened.ledger,
        directory=directory,
        interval=0.001,
        clock=lambda: datetime.now(UTC),
    )

    async def caller() -> None:
        while True:
            first = leaf()
            digest, content = blob(first["decisionKey"].encode())
            first["blobs"] = [str(digest)]
            second = first | {"salt": leaf()["salt"]}  # the same decision, made and handed over again
            both = (opened.writer.record(value, blobs={digest: content}, deadline=soon()) for value in (first, second))
            await asyncio.gather(*both)
            os.write(1, f"ack {first['decisionKey']}\n".encode())  # one write: whole or not at all

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _mother(directory: Path, url: str, durability: str) -> None:
    settings = InventorySettings(
        database_url=url, durability=durability, spool_directory=str(directory / "spool"), blob_file_bytes=1
    )
    before_forks()
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(1, f"born {os.getpid()}\n".encode())
            asyncio.run(_record_until_killed(directory, settings))
        _, status = os.waitpid(child, 0)
        os.write(1, f"dead {-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)}\n".encode())


if __name__ == "__main__":
    _mother(Path(sys.argv[1]), *sys.argv[2:])
