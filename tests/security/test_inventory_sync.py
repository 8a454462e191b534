"""A record is acknowledged only after it was synced to disk (guarantee 13).

A kill cannot show this, since the kernel keeps what a dead process wrote. So the kernel is told to fail every sync of
the recording process: a record that rests on a sync must then fail too. Mutants with weaker settings, or that answer
before they commit, are acknowledged all the same, which shows that the proof can fail.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event

ROOT = Path(__file__).parents[2]
ACKNOWLEDGED, REFUSED = "acknowledged", "refused DatabaseUnavailable"


def outcome(directory: Path, mutant: str) -> list[str]:
    """What a fresh process says of a record before, and of one after its syncs began to fail."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.security.test_inventory_sync", str(directory), mutant],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout.splitlines()


@pytest.mark.guarantee(13)
def test_a_record_whose_sync_failed_is_not_acknowledged(tmp_path: Path) -> None:
    assert outcome(tmp_path, "none") == [ACKNOWLEDGED, REFUSED]


@pytest.mark.parametrize("mutant", ["synchronous=OFF", "synchronous=NORMAL", "early answer"])
def test_the_proof_notices_a_writer_that_does_not_wait_for_the_sync(tmp_path: Path, mutant: str) -> None:
    assert outcome(tmp_path, mutant) == [ACKNOWLEDGED, ACKNOWLEDGED]


@pytest.mark.guarantee(13)
def test_guarantee_13_a_spooled_record_whose_sync_failed_is_not_acknowledged(tmp_path: Path) -> None:
    for name in ("strict", "mutant"):
        (tmp_path / name).mkdir()
    assert outcome(tmp_path / "strict", "spool") == [ACKNOWLEDGED, "refused SpoolUnusable"]
    assert outcome(tmp_path / "mutant", "spool without sync") == [ACKNOWLEDGED, ACKNOWLEDGED]


@pytest.mark.guarantee(13)
def test_guarantee_13_a_record_whose_evidence_was_not_synced_to_its_file_is_not_acknowledged(tmp_path: Path) -> None:
    """Files are synced by a call of their own (`fsync`), which alone is refused here: the database's goes on."""
    for name in ("strict", "control", "unsynced", "late"):
        (tmp_path / name).mkdir()
    assert outcome(tmp_path / "strict", "file") == [ACKNOWLEDGED, REFUSED]
    assert outcome(tmp_path / "control", "file, evidence in the row") == [ACKNOWLEDGED, ACKNOWLEDGED]
    assert outcome(tmp_path / "unsynced", "file without sync") == [ACKNOWLEDGED, ACKNOWLEDGED]
    assert outcome(tmp_path / "late", "file after the commit") == [ACKNOWLEDGED, ACKNOWLEDGED]


def _evidence(number: int) -> bytes:
    return random.Random(number).randbytes(5000)  # noqa: S311 - bytes that nothing makes smaller


def _keep_late(store: Any) -> None:
    """A mutant that writes files once the rows are committed."""
    blobs = store.writer._blobs
    files, late = blobs._files, []
    blobs._files = SimpleNamespace(write=lambda *kept: late.append(kept))

    def committed(_connection: Any) -> None:
        threading.Timer(0.5, lambda: [files.write(*kept) for kept in late]).start()

    event.listen(store.writer._engine, "commit", committed)


async def _child(directory: Path, mutant: str) -> None:
    from controller.errors import RecordingFailed
    from controller.inventory.blobs import files
    from controller.inventory.recording import spool, writer
    from tests.support import inventory, syscalls

    durability = "Spool" if mutant.startswith("spool") else "Database"
    in_files = {"blob_file_bytes": 0 if "row" in mutant else 1000}
    with inventory.sqlite_database(directory, durability=durability, **in_files).open() as store:
        if mutant == "file without sync":
            files.os = SimpleNamespace(**{**vars(os), "fsync": lambda _descriptor: None})  # type: ignore[assignment]
        if mutant == "file after the commit":
            _keep_late(store)
        if mutant == "spool without sync":
            spool.os = SimpleNamespace(**{**vars(os), "fsync": lambda _descriptor: None})  # type: ignore[assignment]
        if mutant.startswith("synchronous"):
            raw = store.writer._engine.raw_connection()
            raw.cursor().execute(f"PRAGMA {mutant}")
            raw.close()
        if mutant == "early answer":
            write = store.writer._write

            def early(group: Any) -> None:
                writer._answer(group, {})
                write(group)

            store.writer._write = early
        for number in range(2):
            if number == 1:
                syscalls.fail(*(("fsync",) if mutant.startswith("file") else syscalls.SYNCING))
            blobs = dict([inventory.blob(_evidence(number))] if mutant.startswith("file") else ())
            try:
                leaf = inventory.leaf(number, blobs=sorted(map(str, blobs)))
                await store.writer.record(leaf, blobs=blobs, deadline=inventory.soon())
                print(ACKNOWLEDGED)
            except RecordingFailed as error:
                print(f"refused {error.code}")


if __name__ == "__main__":
    asyncio.run(_child(Path(sys.argv[1]), sys.argv[2]))
