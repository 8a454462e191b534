"""While the database is away decisions are kept, and none is lost or there twice when it is back (guarantee 13)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import sqlite3
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from controller import telemetry
from controller.errors import ConfigurationError, RecordingFailed
from controller.inventory import tables
from controller.inventory.database import engines
from controller.inventory.recording import fallback, spool
from controller.inventory.recording.spool import Spool, Spooled
from controller.inventory.store import Store
from controller.model.deadline import Deadline
from controller.model.reference import Digest
from tests.support import postgres
from tests.support.inventory import (
    START,
    Clock,
    Database,
    blob,
    leaf,
    postgres_database,
    soon,
    sqlite_database,
)


@dataclass
class World:
    """A database that can go away and come back."""

    database: Database
    folder: Path
    away: Callable[[], None]
    back: Callable[[], None]

    def open(self, clock: Clock | None = None, **settings: Any) -> Store:
        database = replace(self.database, settings=replace(self.database.settings, **settings))
        return database.open(clock)


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(fallback, "RETRY", 0.05)
    monkeypatch.setattr(engines, "BUSY_TIMEOUT", 0.05)
    folder = tmp_path / "spool"
    settings = {"durability": "Spool", "spool_directory": str(folder)}
    if request.param == "postgresql":
        running = request.getfixturevalue("server")
        yield World(postgres_database(running, **settings), folder, running.stop, running.start)
        running.stop()
        running.start()
        return
    database = sqlite_database(tmp_path, **settings)
    blocker = sqlite3.connect(tmp_path / "inventory.db", isolation_level=None)
    with contextlib.closing(blocker):

        def away() -> None:
            blocker.execute("BEGIN IMMEDIATE")

        def back() -> None:
            blocker.execute("ROLLBACK")

        yield World(database, folder, away, back)


async def record(store: Store, *leaves: dict[str, Any], blobs: dict[Digest, bytes] | None = None) -> None:
    await asyncio.gather(*(store.writer.record(item, blobs=blobs or {}, deadline=soon()) for item in leaves))


def recorded(store: Store) -> set[str]:
    with store._reading.begin() as connection:
        return set(connection.execute(select(tables.leaf.c.id)).scalars())


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.guarantee(13)
async def test_guarantee_13_what_is_decided_while_the_database_is_away_is_kept_and_brought_to_it(world: World) -> None:
    clock = Clock()
    digest, content = blob(b"evidence")
    with world.open(clock) as store:
        before = leaf(0)
        await record(store, before)
        world.away()
        clock.now = START + timedelta(hours=1)
        during = [leaf(number, blobs=[str(digest)]) for number in range(1, 30)]
        await record(store, *during, blobs={digest: content})
        await record(store, *during[:5], blobs={digest: content})  # asked again: still one record each
        assert any(world.folder.glob("*.spool"))
        clock.now = START + timedelta(hours=2)
        world.back()
        wanted = {item["id"] for item in (before, *during)}
        wait_until(lambda: not any(world.folder.glob("*.spool")))
        assert recorded(store) == wanted
        after = leaf(99)
        await record(store, after)
        assert recorded(store) == wanted | {after["id"]}
        assert store.queries.blob(str(digest)) == content
        page = store.queries.decisions(limit=100)
        assert len(page.items) == len(wanted) + 1
        times = {item.id: item.recorded_at for item in page.items}
        assert times[during[0]["id"]] == START + timedelta(hours=1)  # when it was acknowledged, not when it was brought


@pytest.mark.guarantee(13)
async def test_guarantee_13_what_a_standby_refuses_is_kept_until_there_is_a_primary(
    server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover leads to a server that reads only, for a while."""
    monkeypatch.setattr(fallback, "RETRY", 0.05)
    database = postgres_database(server, durability="Spool", spool_directory=str(tmp_path / "spool"))
    name = engines.parse(database.settings.url()).database

    def only_reads(yes: str) -> None:
        server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {yes}")
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608

    values = [leaf(number) for number in range(20)]
    with database.open() as store:
        await record(store, values[0])
        only_reads("on")
        await record(store, *values[1:])
        await asyncio.sleep(20 * fallback.RETRY)  # it is tried meanwhile
        assert any((tmp_path / "spool").glob("*.spool"))
        only_reads("off")
        wait_until(lambda: not any((tmp_path / "spool").glob("*.spool")))
        assert recorded(store) == {value["id"] for value in values}


@pytest.mark.guarantee(13)
async def test_guarantee_13_what_a_dead_process_kept_is_brought_by_the_next_and_brought_once(world: World) -> None:
    during = [leaf(number) for number in range(10)]
    with world.open() as store:
        await record(store, leaf(99))
        world.away()
        await record(store, *during)
    copies = {path: path.read_bytes() for path in world.folder.glob("*.spool")}
    assert copies
    world.back()
    with world.open() as store:
        wait_until(lambda: not any(world.folder.glob("*.spool")))
        assert recorded(store) >= {item["id"] for item in during}
        count = len(recorded(store))
    for path, content in copies.items():  # it died after the commit and before the file was removed
        path.write_bytes(content)
    with world.open() as store:
        wait_until(lambda: not any(world.folder.glob("*.spool")))
        assert len(recorded(store)) == count


@pytest.mark.guarantee(13)
async def test_guarantee_13_a_full_spool_refuses_or_lets_in_as_it_was_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with world.open(spool_max_bytes=8_000) as store:
        await record(store, leaf(0))
        world.away()
        kept = leaf(1)
        await record(store, kept)
        with pytest.raises(RecordingFailed) as caught:
            await record(store, *(leaf(number) for number in range(2, 12)))
        assert caught.value.code == "SpoolFull"
    world.back()
    lost, spooled = telemetry.RECORDS_LOST._value.get(), telemetry.RECORDS_SPOOLED._value.get()
    with world.open(spool_max_bytes=8_000, spool_full="Admit") as store:
        wait_until(lambda: not any(world.folder.glob("*.spool")))
        assert kept["id"] in recorded(store)
        world.away()
        await record(store, leaf(1))
        await record(store, *(leaf(number) for number in range(2, 12)))
        # Which of them were written as a group is the writer's matter; what came first may still have found room.
        lost, spooled = telemetry.RECORDS_LOST._value.get() - lost, telemetry.RECORDS_SPOOLED._value.get() - spooled
        assert lost + spooled == 11
        assert lost >= 8
        assert "recorded NOWHERE" in caplog.text
        world.back()


async def test_without_a_spool_a_database_that_is_away_refuses(world: World) -> None:
    with world.open(durability="Database") as store:
        await record(store, leaf(0))
        world.away()
        with pytest.raises(RecordingFailed) as caught:
            await record(store, leaf(1))
        assert caught.value.code == "DatabaseUnavailable"
        assert not world.folder.exists()
        world.back()


async def test_what_could_never_be_recorded_is_not_kept(world: World) -> None:
    digest, content = blob(b"evidence")
    with world.open() as store:
        await record(store, leaf(0))
        world.away()
        await record(store, leaf(1))
        with pytest.raises(RecordingFailed) as caught:
            await record(store, leaf(2, blobs=[str(digest)]))
        assert caught.value.code == "BlobMissing"
        with pytest.raises(RecordingFailed) as caught:
            await record(store, leaf(3, blobs=[str(digest)]), blobs={digest: content + b"!"})
        assert caught.value.code == "BlobMismatch"
        world.back()
        wait_until(lambda: not any(world.folder.glob("*.spool")))
        assert len(recorded(store)) == 2
    assert not any(world.folder.glob("*.damaged"))


@pytest.mark.guarantee(13)
async def test_guarantee_13_a_server_that_is_stopped_and_started_under_load_loses_nothing(
    server: postgres.Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fallback, "RETRY", 0.05)
    database = postgres_database(server, durability="Spool", spool_directory=str(tmp_path / "spool"))
    acknowledged: list[str] = []
    with database.open() as store:
        stop = asyncio.Event()

        async def caller(first: int) -> None:
            number = first
            while not stop.is_set():
                value = leaf(number)
                await store.writer.record(value, blobs={}, deadline=Deadline.after(30))
                acknowledged.append(value["id"])
                number += 8
                await asyncio.sleep(0.002)

        callers = [asyncio.create_task(caller(number)) for number in range(8)]
        for _ in range(3):
            await asyncio.sleep(0.2)
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(server.start)
        await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*callers)
        await asyncio.to_thread(wait_until, lambda: not any((tmp_path / "spool").glob("*.spool")))
        assert len(acknowledged) > 100
        with store._reading.begin() as connection:
            found = list(connection.execute(select(tables.leaf.c.id)).scalars())
            projected = connection.execute(select(func.count()).select_from(tables.decision)).scalar_one()
    assert sorted(found) == sorted(acknowledged)
    assert projected == len(found)


def spooled(number: int) -> Spooled:
    return Spooled(START + timedelta(seconds=number), b"leaf %d" % number, (b"blob", b""))


def test_a_spool_gives_back_what_was_put_in(tmp_path: Path) -> None:
    kept = Spool(tmp_path / "spool", max_bytes=10_000)
    assert (kept.is_empty, (tmp_path / "spool").exists()) == (True, False)
    kept.append([spooled(0), spooled(1)])
    kept.seal()
    kept.append([spooled(2)])
    first, second = kept.segments()
    assert [*spool.read(first), *spool.read(second)] == [spooled(0), spooled(1), spooled(2)]
    assert first.stat().st_mode & 0o077 == 0
    kept.close()
    again = Spool(tmp_path / "spool", max_bytes=10_000)
    assert again.segments() == (first, second)
    assert again.size == first.stat().st_size + second.stat().st_size
    again.append([spooled(3)])
    assert again.segments()[-1].name > second.name
    again.seal()
    for segment in again.segments():
        again.remove(segment)
    assert (again.is_empty, again.size) == (True, 0)
    again.close()


def test_a_frame_that_is_cut_is_the_end_and_one_that_was_changed_is_told(tmp_path: Path) -> None:
    kept = Spool(tmp_path / "spool", max_bytes=10_000)
    kept.append([spooled(0)])
    one = kept.segments()[0].stat().st_size
    kept.append([spooled(1)])
    kept.close()
    (path,) = (tmp_path / "spool").glob("*.spool")
    content = path.read_bytes()
    for length in range(one, len(content)):
        path.write_bytes(content[:length])
        assert list(spool.read(path)) == [spooled(0)]
    for place in range(one):
        changed = bytearray(content)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="frame"):
            list(spool.read(path))


async def test_a_damaged_file_is_set_aside_with_what_can_be_read_brought(world: World) -> None:
    values = [leaf(number) for number in range(4)]
    with world.open() as store:
        await record(store, leaf(99))
        world.away()
        for value in values:
            await record(store, value)
    *_, path = sorted(world.folder.glob("*.spool"))  # one, unless a slow machine let a look come between two records
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    world.back()
    with world.open() as store:
        wait_until(lambda: any(world.folder.glob("*.damaged")))
        assert recorded(store) >= {item["id"] for item in values[:3]}
        assert values[3]["id"] not in recorded(store)


async def test_a_file_that_cannot_be_read_keeps_nobody_from_the_database(world: World) -> None:
    """Whoever can write the folder, or a failing disk: what can be brought is, and decisions go to the database."""
    hostile = hashlib.sha256(b"").digest()
    head = spool._HEAD.pack(spool._MARK, 0, hostile)
    huge = spool._HEAD.pack(spool._MARK, 2**63, hostile)
    with world.open() as store:
        await record(store, leaf(0))
    world.folder.mkdir(exist_ok=True)
    (world.folder / "000000000001.spool").mkdir()
    for number, frame in enumerate((head, huge), 2):
        (world.folder / f"{number:012}.spool").write_bytes(frame + zlib.crc32(frame).to_bytes(4, "little"))
    during = leaf(1)
    with world.open() as store:
        world.away()
        await record(store, during)
        world.back()
        wait_until(lambda: during["id"] in recorded(store))
        kept = store.writer._fallback
        assert kept is not None
        wait_until(lambda: not kept.is_away)
        after = leaf(2)
        await record(store, after)
        assert after["id"] in recorded(store)
    assert len(list(world.folder.glob("*.damaged"))) == 2
    assert [path.name for path in world.folder.glob("*.spool")] == ["000000000001.spool"]


async def test_a_disk_that_is_full_is_a_spool_that_is_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    for choice in ("Deny", "Admit"):
        with world.open(spool_full=choice) as store:
            await record(store, leaf(0))
            world.away()
            with monkeypatch.context() as patched:
                patched.setattr(os, "write", full)
                if choice == "Admit":
                    lost = telemetry.RECORDS_LOST._value.get()
                    await record(store, leaf(1))
                    assert telemetry.RECORDS_LOST._value.get() == lost + 1
                else:
                    with pytest.raises(RecordingFailed) as caught:
                        await record(store, leaf(1))
                    assert caught.value.code == "SpoolFull"
            world.back()
            wait_until(lambda: not any(world.folder.glob("*.spool")))


def test_a_folder_that_cannot_be_looked_at_is_not_taken_for_an_empty_one(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")
    with pytest.raises(ConfigurationError) as caught:
        Spool(tmp_path / "spool", max_bytes=10_000)
    assert caught.value.code == "SpoolUnusable"


async def test_what_one_record_is_refused_for_does_not_make_the_database_away(world: World) -> None:
    """PostgreSQL calls a value too long for an index an operational error; it is that record's fault."""
    value = leaf(1)
    value["object"] = {**value["object"], "uid": "".join(secrets.token_hex(16) for _ in range(1000))}
    with world.open() as store:
        await record(store, leaf(0))
        if world.database.kind == "sqlite":  # which has no such bound
            await record(store, value)
        else:
            with pytest.raises(RecordingFailed) as caught:
                await record(store, value)
            assert caught.value.code == "DatabaseRefused"
        assert not world.folder.exists()


def test_a_folder_of_another_process_is_left_alone(tmp_path: Path) -> None:
    kept = Spool(tmp_path / "spool", max_bytes=10_000)
    kept.append([spooled(0)])
    other = Spool(tmp_path / "spool", max_bytes=10_000)
    assert other.is_empty
    with pytest.raises(RecordingFailed) as caught:
        other.append([spooled(1)])
    assert caught.value.code == "SpoolUnusable"
    kept.close()
    other.append([spooled(1)])
    assert len(other.segments()) == 2
    other.close()
