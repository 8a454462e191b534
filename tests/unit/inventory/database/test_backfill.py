"""What SQLite's log holds is copied into the file beside who writes."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from controller.inventory.database import backfill
from controller.inventory.database.backfill import Backfill
from tests.support.inventory import leaf, soon, sqlite_database
from tests.support.processes import wait_until


def leaves_in_the_file_alone(file: Path, folder: Path) -> int:
    """As many as are there without the log beside it, which a copy has not."""
    alone = folder / "alone.db"
    shutil.copyfile(file, alone)
    with sqlite3.connect(alone) as connection:
        count: int = connection.execute("SELECT count(*) FROM leaf").fetchone()[0]
    connection.close()
    alone.unlink()
    return count


async def test_what_is_committed_comes_into_the_file_while_the_inventory_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "EVERY", 10 * backfill.SCATTERED)
    file = tmp_path / "inventory.db"
    with sqlite_database(tmp_path).open() as opened:
        await opened.writer.record(leaf(0), blobs={}, deadline=soon())
        assert leaves_in_the_file_alone(file, tmp_path) == 0
        for number in range(1, 30):
            await opened.writer.record(leaf(number), blobs={}, deadline=soon())
        wait_until(lambda: leaves_in_the_file_alone(file, tmp_path) >= 20, what="the log is copied")


def test_a_failure_is_told_and_the_next_copy_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backfill, "EVERY", 1)
    file = tmp_path / "inventory.db"
    file.write_bytes(b"no database" * 1000)
    copying = Backfill(file)
    try:
        for tried in (1, 2):
            copying.written(1, 1)
            wait_until(lambda tried=tried: caplog.text.count("was not copied") == tried, what="the failure is told")
    finally:
        copying.close()


async def test_a_file_that_is_restored_under_a_process_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill, "EVERY", 1)
    file, backup = tmp_path / "inventory.db", tmp_path / "backup.db"
    with sqlite_database(tmp_path).open() as opened:
        await opened.writer.record(leaf(0), blobs={}, deadline=soon())
    shutil.copyfile(file, backup)
    with sqlite_database(tmp_path).open() as opened:
        await opened.writer.record(leaf(1), blobs={}, deadline=soon())
        backup.replace(file)
        restored = file.read_bytes()
        await opened.writer.record(leaf(2), blobs={}, deadline=soon())
        backfiller = opened._backfill
        assert backfiller is not None
        wait_until(lambda: not backfiller._due.is_set(), what="it is being copied")
        backfiller.close()
        assert file.read_bytes() == restored
