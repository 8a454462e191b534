"""Reading documents in a process of its own: what goes wrong there is told of that document alone."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from controller.errors import LimitExceeded, Unavailable
from controller.inventory import tables
from controller.inventory.index import keeping, reading
from controller.inventory.index.contents import Contents
from controller.inventory.index.keeping import IndexKeeper, pace
from controller.settings import DocumentSettings, Seconds, WorkerSettings
from controller.workers.indexing import DocumentReader
from tests.bench import procfs
from tests.support.attested import attesting, envelope, spdx
from tests.support.fixtures import recorded_bundles
from tests.support.inventory import soon, sqlite_database

SOON = 60.0  # seconds; a bound on a stuck test, never what is tested


@pytest.fixture
def reader() -> Iterator[DocumentReader]:
    reader = DocumentReader(WorkerSettings(), DocumentSettings())
    yield reader
    reader.close()


def test_a_worker_reads_what_the_reader_here_would_read(reader: DocumentReader) -> None:
    for bundle in recorded_bundles():
        assert reader.read(bundle.raw) == reading.read(bundle.raw, DocumentSettings())


def test_a_document_that_takes_too_long_is_given_up_alone() -> None:
    slow = DocumentReader(WorkerSettings(worker_timeout=Seconds(0.002)), DocumentSettings())
    try:
        with pytest.raises(LimitExceeded, match="worker_timeout"):
            slow.read(envelope(spdx(*(f"pkg:npm/p{number}@1" for number in range(20_000)))))
    finally:
        slow.close()


def test_a_document_that_needs_too_much_memory_is_given_up_alone() -> None:
    small = DocumentReader(replace(WorkerSettings(), worker_memory_bytes=24 * 1024 * 1024), DocumentSettings())
    try:
        with pytest.raises(LimitExceeded, match="worker_memory_bytes"):
            small.read(envelope({"spdxVersion": "SPDX-2.3", "packages": [{}] * 1_000_000}))
        assert small.read(envelope(spdx("pkg:npm/a@1"))).components[0].name == "a"
    finally:
        small.close()


def test_a_reader_that_rests_holds_no_process_and_reads_again(reader: DocumentReader) -> None:
    content = envelope(spdx("pkg:npm/a@1"))
    reader.read(content)
    reader.rest()
    resting = set(procfs.tree(os.getpid()))
    reader.read(content)
    assert set(procfs.tree(os.getpid())) > resting
    reader.rest()
    assert set(procfs.tree(os.getpid())) == resting


def test_a_closed_reader_reads_nothing_more(reader: DocumentReader) -> None:
    reader.close()
    with pytest.raises(Unavailable, match="WorkersStopped"):
        reader.read(b"{}")


async def test_a_keeper_indexes_what_is_recorded_while_it_runs(tmp_path: Path, reader: DocumentReader) -> None:
    database = sqlite_database(tmp_path)
    reader.read(envelope(spdx("pkg:npm/p@0")))  # the fork server stays, from the first time on
    reader.rest()
    processes = len(procfs.tree(os.getpid()))
    with database.open() as opened:
        indexer = opened.indexer(database.settings, read=reader.read, pace=pace)
        keeper = IndexKeeper(indexer, reader, interval=0.01, clock=lambda: datetime.now(UTC))
        try:
            until = time.monotonic() + SOON
            for number in range(3):
                leaf, blobs = attesting(envelope(spdx(f"pkg:npm/p@{number}")))
                await opened.writer.record(leaf, blobs=blobs, deadline=soon())
                found = 0
                while found <= number and time.monotonic() < until:
                    time.sleep(0.02)  # noqa: ASYNC251 - the keeper has a thread of its own
                    with opened._reading.begin() as connection:
                        query = select(tables.document.c.id).where(tables.document.c.indexed_at.is_not(None))
                        found = len(connection.execute(query).all())
                assert found == number + 1
            # Once nothing is left it lets its process go.
            while len(procfs.tree(os.getpid())) > processes and time.monotonic() < until:
                time.sleep(0.02)  # noqa: ASYNC251
            assert len(procfs.tree(os.getpid())) == processes
        finally:
            keeper.close()


class _Restless:
    """A reader that reads, and that cannot rest."""

    def __init__(self) -> None:
        self.rested = 0

    def read(self, content: bytes) -> Contents:
        return reading.read(content, DocumentSettings())

    def rest(self) -> None:
        self.rested += 1
        raise RuntimeError("the pool is still running")

    def close(self) -> None:
        """Nothing to stop."""


async def test_a_keeper_goes_on_though_its_reader_could_not_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "RETRY", 0.01)
    database, reader = sqlite_database(tmp_path), _Restless()
    with database.open() as opened:
        indexer = opened.indexer(database.settings, read=reader.read, pace=pace)
        keeper = IndexKeeper(indexer, reader, interval=0.01, clock=lambda: datetime.now(UTC))
        try:
            until = time.monotonic() + SOON
            for number in range(1, 3):
                leaf, blobs = attesting(envelope(spdx(f"pkg:npm/p@{number}")))
                await opened.writer.record(leaf, blobs=blobs, deadline=soon())
                while reader.rested < number and keeper._thread.is_alive() and time.monotonic() < until:
                    time.sleep(0.01)  # noqa: ASYNC251 - the keeper has a thread of its own
                assert (reader.rested, keeper._thread.is_alive()) == (number, True)
        finally:
            keeper.close()
