"""Who may open an inventory, and what is said to those who may not."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from controller.errors import ConfigurationError, RecordingFailed, Unavailable
from controller.inventory import store
from controller.inventory.database import engines
from controller.inventory.index.contents import Contents
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.support import postgres
from tests.support.inventory import leaf, soon, sqlite_database

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from tests.support.inventory import sqlite_database
with sqlite_database(Path(sys.argv[1])).open():
    print("open", flush=True)
    sys.stdin.read()
"""


def refused(settings: InventorySettings) -> str:
    with pytest.raises(ConfigurationError) as caught:
        Store.open(settings)
    return caught.value.code


def test_a_new_inventory_is_private_to_its_owner(tmp_path: Path) -> None:
    directory = tmp_path / "state" / "assay"
    settings = InventorySettings(database_url=f"sqlite:///{directory / 'inventory.db'}")
    before = os.umask(0)
    try:
        with Store.open(settings):
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {"inventory.db", "inventory.db-wal"} <= modes.keys()
    assert set(modes.values()) == {0o600}


def test_a_second_serving_process_is_refused_and_told_who_serves(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(ConfigurationError, match=f"DatabaseInUse.*pid {other.pid}"):
            database.open()
        with pytest.raises(ConfigurationError, match="DatabaseInUse"):
            store.rebuild(database.settings.url())
        with Store.open_to_read(database.settings) as reader:
            assert reader.queries.decisions().items == ()
        other.kill()
        other.wait()
    database.open().close()  # nothing to clean up after a crash


def test_another_name_of_the_same_file_is_the_same_inventory(tmp_path: Path) -> None:
    alias = tmp_path / "alias"
    with sqlite_database(tmp_path / "real").open():
        alias.symlink_to(tmp_path / "real")
        assert refused(sqlite_database(alias).settings) == "DatabaseInUse"


def test_the_lock_is_released_by_closing_and_by_failing_to_open(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    (tmp_path / "inventory.db").write_bytes(b"this is no database, and long enough to be seen as none" * 100)
    for _ in range(2):
        assert refused(database.settings) == "DatabaseUnusable"
    (tmp_path / "inventory.db").unlink()
    for _ in range(2):
        database.open().close()


async def test_an_inventory_is_readable_when_nobody_serves_it(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    with database.open() as opened:
        await opened.writer.record(leaf(), blobs={}, deadline=soon())
    with Store.open_to_read(database.settings) as reader:
        assert len(reader.queries.decisions().items) == 1
        with pytest.raises(ConfigurationError, match="DatabaseReadOnly"):
            _ = reader.writer


def test_reading_an_inventory_that_is_not_there_does_not_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="DatabaseMissing"):
        Store.open_to_read(InventorySettings(database_url=f"sqlite:///{tmp_path / 'nowhere' / 'inventory.db'}"))
    assert not (tmp_path / "nowhere").exists()


def test_a_database_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    database.open().close()
    with sqlite3.connect(tmp_path / "inventory.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert refused(database.settings) == "DatabaseNewer"


def test_a_database_without_tables_is_refused_by_a_reader(tmp_path: Path) -> None:
    (tmp_path / "inventory.db").touch()
    with pytest.raises(ConfigurationError, match="DatabaseNotMigrated"):
        Store.open_to_read(sqlite_database(tmp_path).settings)


def test_postgresql_is_neither_migrated_by_a_replica_nor_trusted_without_fsync() -> None:
    with postgres.running() as server:
        settings = InventorySettings(database_url=server.new_database())
        assert refused(settings) == "DatabaseNotMigrated"
        server.execute("ALTER SYSTEM SET fsync = off")
        server.execute("SELECT pg_reload_conf()")
        while server.execute("SHOW fsync") != [("off",)]:
            pass  # the server re-reads its settings when it gets to it
        assert refused(settings) == "DatabaseNotDurable"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file?mode=ro",
        "mysql://root:hunter2@db/assay",
        "nonsense hunter2",
        "postgresql://u:hunter2@host:port/x",
    ],
)
@pytest.mark.guarantee(12)
def test_an_address_that_cannot_be_used_is_refused_without_being_quoted(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Store.open(InventorySettings(database_url=url))
    assert caught.value.code == "DatabaseUrlInvalid"
    assert "hunter2" not in str(caught.value)


@pytest.mark.guarantee(12)
def test_a_database_that_is_away_is_named_without_its_credentials() -> None:
    settings = InventorySettings(database_url="postgresql://u:hunter2@127.0.0.1:1/assay?connect_timeout=1")
    with pytest.raises(ConfigurationError) as caught:
        Store.open(settings)
    assert caught.value.code == "DatabaseUnusable"
    assert "hunter2" not in str(caught.value)


@pytest.mark.guarantee(10)
def test_a_question_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "READ_TIMEOUT", 0.2)
    costly = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000000) SELECT count(*) FROM n"
    with sqlite_database(tmp_path).open() as opened:
        with pytest.raises(Unavailable, match="DatabaseUnavailable"), opened.queries._reading() as connection:
            connection.execute(text(costly))
        assert opened.queries.decisions().items == ()


@pytest.mark.guarantee(10)
def test_readers_wait_for_a_connection_no_longer_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "POOL_TIMEOUT", 0.1)
    settings = dataclasses.replace(sqlite_database(tmp_path).settings, database_readers=1)
    with Store.open(settings) as opened, opened.queries._reading(), pytest.raises(Unavailable, match="DatabaseBusy"):
        opened.queries.decisions()


async def test_a_disk_that_is_full_is_an_error_that_says_so_and_passes(tmp_path: Path) -> None:
    with sqlite_database(tmp_path).open() as opened:
        raw = opened.writer._engine.raw_connection()
        (pages,) = raw.cursor().execute("PRAGMA page_count").fetchone()
        raw.cursor().execute(f"PRAGMA max_page_count={pages}")
        raw.close()
        written = [opened.writer.record(leaf(number), blobs={}, deadline=soon()) for number in range(500)]
        with pytest.raises(RecordingFailed, match="SQLITE_FULL"):
            await asyncio.gather(*written)
        raw = opened.writer._engine.raw_connection()
        raw.cursor().execute("PRAGMA max_page_count=1000000")
        raw.close()
        await opened.writer.record(leaf(2000), blobs={}, deadline=soon())


def test_only_the_recorder_and_who_indexes_or_prunes_keep_many_pages(tmp_path: Path) -> None:
    """Each connection keeps what it read until its bound: together these bounds are what a large inventory takes."""
    settings = sqlite_database(tmp_path).settings

    def pages(engine: Engine) -> int:
        with engine.begin() as connection:
            return int(connection.exec_driver_sql("PRAGMA cache_size").scalar_one())

    signer = NoteSigner.of_seed("test.example/ledger", bytes(32))
    with Store.open(settings) as opened:
        sequencer = opened.sequencer(settings, signer=signer)
        opened.cosigned(settings, sequencer)
        opened.pruner(settings, signer=signer, cluster="", pause=lambda: False)
        opened.indexer(settings, read=lambda _content: Contents("other"))
        kept = [pages(engine) for engine in (opened.writer._engine, *opened._engines)]
    assert kept == [-engines.WRITING_CACHE, *2 * [-engines.KEEPING_CACHE], *2 * [-engines.WRITING_CACHE]]


def test_what_was_kept_of_pages_is_let_go(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    said: list[str] = []
    with database.open() as opened:
        indexer = opened.indexer(database.settings, read=lambda _content: Contents("other"))
        engine = opened._engines[-1]
        with engine.begin() as connection:
            own: Any = connection.connection.dbapi_connection
            own.set_trace_callback(said.append)
        indexer.rest()
    assert "PRAGMA shrink_memory" in said
