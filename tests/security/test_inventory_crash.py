"""What was acknowledged survives the death of the process at any moment, and nothing is recorded twice (guarantee 13).

One process imports everything and then forks a recorder at a time, so that fifty deaths take seconds.
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
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from controller.inventory import store, tables
from controller.inventory.audit import Kept
from controller.inventory.keeping import CHECKPOINT, LedgerKeeper
from controller.inventory.ledger.notes import NoteSigner
from tests.support.inventory import sqlite_database

ROOT = Path(__file__).parents[2]
DEATHS = 50
CALLERS = 16  # records under way at once
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_every_acknowledged_record_survives_fifty_kills(tmp_path: Path) -> None:
    chance = random.Random()  # noqa: S311 - moments, not secrets
    acknowledged: list[str] = []
    lives_with_records = 0
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.security.test_inventory_crash", str(tmp_path)],
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
            wanted = chance.choice((0, 1, chance.randrange(300)))  # sometimes while it still opens the file
            seen = 0
            while seen < wanted:
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
    assert lives_with_records >= DEATHS // 4
    _verify(tmp_path, acknowledged)


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
    missing = (
        "SELECT count(*) FROM leaf WHERE NOT EXISTS (SELECT 1 FROM blob WHERE content = CAST(decision_key AS BLOB))"
    )
    assert connection.execute(missing).fetchone() == (0,)
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
        assert before.entries > recorded // 4
        assert before.kept > 0
        sequencer = opened.sequencer(database.settings, signer=SIGNER)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass
        after = opened.verify(keys=[SIGNER.key()], kept=[Kept("kept", kept)])
        assert (after.findings, after.entries, after.signed, after.waiting) == ([], recorded, recorded, 0)


async def _record_until_killed(directory: Path) -> None:
    from tests.support.inventory import blob, leaf, soon

    database = sqlite_database(directory)
    opened = database.open()
    LedgerKeeper(  # numbers what is recorded all the while, and dies with the rest
        opened.sequencer(database.settings, signer=SIGNER),
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
            second = first | {"id": leaf()["id"]}  # the same decision, handed over again
            both = (opened.writer.record(value, blobs={digest: content}, deadline=soon()) for value in (first, second))
            await asyncio.gather(*both)
            os.write(1, f"ack {first['decisionKey']}\n".encode())  # one write: whole or not at all

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


def _mother(directory: Path) -> None:
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(1, f"born {os.getpid()}\n".encode())
            asyncio.run(_record_until_killed(directory))
        _, status = os.waitpid(child, 0)
        os.write(1, f"dead {-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)}\n".encode())


if __name__ == "__main__":
    _mother(Path(sys.argv[1]))
