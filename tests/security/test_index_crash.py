"""Indexing that dies at any moment: what was indexed is whole, and the next process goes on (guarantee 13)."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.inventory.index import reading, writing
from controller.settings import DocumentSettings
from tests.support.attested import attesting, envelope, spdx
from tests.support.inventory import soon, sqlite_database

ROOT = Path(__file__).parents[2]
DEATHS = 40
DOCUMENTS, COMPONENTS = 25, 1200  # three transactions of links each


def _lists(number: int) -> list[str]:
    return [f"pkg:npm/p{(number * 7 + at) % 3000}@{at % 3}" for at in range(COMPONENTS)]


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_guarantee_13_an_index_survives_forty_kills_and_is_whole_in_the_end(tmp_path: Path) -> None:
    database = sqlite_database(tmp_path)
    with database.open() as opened:

        async def record() -> None:
            for number in range(DOCUMENTS):
                value, blobs = attesting(envelope(spdx(*_lists(number))))
                await opened.writer.record(value, blobs=blobs, deadline=soon())

        asyncio.run(record())
    chance = random.Random()  # noqa: S311 - moments, not secrets
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.security.test_index_crash", str(tmp_path)],
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
            time.sleep(chance.random() * 0.15)
            os.kill(pid, signal.SIGKILL)
            assert mother.stdout.readline() == "dead\n"
            _every_document_that_counts_is_whole(tmp_path / "inventory.db")
        mother.stdin.close()
        assert mother.wait(60) == 0
    with database.open() as opened:
        indexer = opened.indexer(database.settings, read=_read)
        while indexer.step().more:
            pass
        found = [finding for finding in opened.verify(keys=[]).findings if finding.code == "IndexChanged"]
        assert found == []
    connection = sqlite3.connect(tmp_path / "inventory.db")
    assert connection.execute("SELECT count(*) FROM document WHERE indexed_at IS NOT NULL").fetchone() == (DOCUMENTS,)
    assert connection.execute("SELECT count(*) FROM document").fetchone() == (DOCUMENTS,)
    every = {purl for number in range(DOCUMENTS) for purl in _lists(number)}
    assert connection.execute("SELECT count(*) FROM component").fetchone() == (len(every),)


def _every_document_that_counts_is_whole(file: Path) -> None:
    connection = sqlite3.connect(file)
    query = """SELECT d.id, count(l.component) FROM document d LEFT JOIN sbom_component l ON l.document = d.id
               WHERE d.indexed_at IS NOT NULL GROUP BY d.id"""
    for document, links in connection.execute(query):
        assert links == COMPONENTS, f"document {document} counts, and has {links} links"
    connection.close()


def _read(content: bytes) -> writing.Contents:
    return reading.read(content, DocumentSettings())


def _mother(directory: Path) -> None:
    database = sqlite_database(directory)
    for _ in sys.stdin:
        child = os.fork()
        if child == 0:
            os.write(1, f"born {os.getpid()}\n".encode())
            opened = database.open()
            indexer = opened.indexer(database.settings, read=_read, clock=lambda: datetime.now(UTC))
            while True:
                indexer.step()
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    _mother(Path(sys.argv[1]))
