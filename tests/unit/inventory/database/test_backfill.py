"""What SQLite's log holds is copied into the file beside who writes."""

from __future__ import annotations

import logging
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


def test_a_disk_that_fails_is_told_and_the_next_copy_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(backfill, "EVERY", 1)
    folder = tmp_path / "away"
    copying = Backfill(folder / "inventory.db")
    try:
        with caplog.at_level(logging.WARNING):
            copying.written(1, 1)
            wait_until(lambda: "was not copied" in caplog.text, what="the failure is told")
        folder.mkdir()
        with sqlite3.connect(folder / "inventory.db") as connection:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA wal_autocheckpoint=0")
            connection.execute("CREATE TABLE leaf (id)")
            connection.execute("INSERT INTO leaf VALUES (1)")
            connection.commit()
            copying.written(1, 1)
            wait_until(lambda: _copied(folder), what="the log is copied")
        connection.close()
    finally:
        copying.close()


def _copied(folder: Path) -> bool:
    try:
        return leaves_in_the_file_alone(folder / "inventory.db", folder) == 1
    except sqlite3.DatabaseError:  # not there yet, or half
        return False
