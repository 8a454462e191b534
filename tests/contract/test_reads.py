"""Who read what, on both databases: recorded before the answer leaves, in the ledger, and without anything secret."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import select, text

from controller.cli import run
from controller.errors import RecordingFailed
from controller.inventory import tables
from controller.inventory.asking.reads import Logged
from controller.inventory.database import engines
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.model.workload import User
from controller.reading import whole
from controller.reading.app import create_app
from controller.reading.reads import ReadRecorder
from tests.support.asgi import Answer, call
from tests.support.inventory import (
    ARTIFACT,
    DIGEST,
    START,
    Clock,
    Database,
    blob,
    leaf,
    read_of,
    soon,
)

TOKEN = "eyJhbGciOiJSUzI1NiJ9.canary-token.signature"
GROUP = "canary-group"
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))


class Everybody:
    """Readers: one token, whose user may read all but what lies in the namespace `hidden`."""

    async def identify(self, token: str) -> User | None:
        return User(username="jane", uid="1", groups=(GROUP,)) if token == TOKEN else None

    async def may(self, user: User, *, verb: str, resource: str, namespace: str) -> bool:
        return namespace != "hidden" and bool(user and verb and resource)


class Broken:
    """A recorder that cannot."""

    async def record(self, *_: Any, **__: Any) -> None:
        raise RecordingFailed("DatabaseUnavailable", "the decision could not be made durable")


def application(store: Store, clock: Clock, logged: Logged = Logged.ALL, recorder: Any = None) -> FastAPI:
    reads = ReadRecorder(recorder or store.writer, logged=logged, cluster="local", clock=clock)
    return create_app(store.questions, readers=Everybody(), reads=reads)


async def ask(app: FastAPI, path: str, *, token: str | None = TOKEN, **headers: str) -> Answer:
    plain, _, query = path.partition("?")
    shown = headers | ({} if token is None else {"authorization": f"Bearer {token}"})
    return await call(app, "GET", plain, query=query, headers=shown)


async def record(opened: Store, *leaves: dict[str, Any], blobs: dict[Digest, bytes] | None = None) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs=blobs or {}, deadline=soon()) for item in leaves))


async def test_what_somebody_read_is_a_record_of_the_ledger(opened: Store, database: Database, clock: Clock) -> None:
    value = leaf()
    await record(opened, value)
    app = application(opened, clock)
    clock.now = START + timedelta(hours=1)
    assert (await ask(app, f"/api/v1/decisions/{value['id']}?knownAt=2026-11-22T12:00:00Z")).status == 200
    assert (await ask(app, "/api/v1/decisions?namespace=shop&verdict=Allow")).status == 200
    latest, first = opened.questions.reads.reads().items
    assert (first.username, first.via, first.verb, first.resource) == ("jane", "REST", "get", "decisions")
    assert (first.namespace, first.identity, first.status, first.count) == ("shop", value["id"], 200, 1)
    assert first.parameters == {"knownAt": ["2026-11-22T12:00:00Z"]}
    assert first.decided_at == clock.now
    assert (latest.verb, latest.namespace, latest.identity, latest.count) == ("list", "shop", "", 1)
    assert latest.parameters == {"namespace": ["shop"], "verdict": ["Allow"]}
    sequencer = opened.sequencer(database.settings, signer=SIGNER, clock=clock)
    sequencer.take_over()
    sequencer.sequence()
    report = opened.verify(keys=[SIGNER.key()])
    assert (report.findings, report.entries) == ([], 3)
    assert opened.ledger.prove(first.id) is not None
    # A row that was changed is named, as any other projection's.
    with engines.writing_engine(engines.parse(database.settings.url())).begin() as connection:
        connection.execute(tables.read.update().where(tables.read.c.id == first.id).values(username="john"))
    assert opened.verify(keys=[SIGNER.key()]).findings


async def test_nothing_leaves_that_could_not_be_recorded(opened: Store, clock: Clock) -> None:
    digest, content = blob(b"evidence")
    value = leaf(blobs=[str(digest)])
    await record(opened, value, blobs={digest: content})
    app = application(opened, clock, recorder=Broken())
    for path in (
        f"/api/v1/decisions/{value['id']}",
        "/api/v1/decisions",
        "/api/v1/decisions?format=csv",
        f"/api/v1/blobs/{digest}",
        f"/api/v1/images/{DIGEST}",
    ):
        answer = await ask(app, path)
        assert (answer.status, answer.json["code"]) == (503, "ReadNotRecorded"), path
        assert answer.headers["content-type"] == "application/problem+json"
        for shown in (value["id"].encode(), content, ARTIFACT.encode()):
            assert shown not in answer.body


async def test_what_showed_nothing_is_no_read(opened: Store, clock: Clock) -> None:
    await record(opened, leaf())
    app = application(opened, clock)
    for path, status in {
        "/api/v1/decisions/nothing": 404,
        "/api/v1/decisions?namespace=hidden": 403,
        "/api/v1/decisions?limit=0": 400,
        "/livez": 200,
        "/api/v1/openapi.json": 200,
    }.items():
        assert (await ask(app, path)).status == status, path
    assert (await ask(app, "/api/v1/decisions", token=None)).status == 401
    assert opened.questions.reads.reads().items == ()


async def test_evidence_alone_is_recorded_where_that_is_what_is_set(opened: Store, clock: Clock) -> None:
    digest, content = blob(b"evidence")
    value = leaf(blobs=[str(digest)])
    await record(opened, value, blobs={digest: content})
    app = application(opened, clock, Logged.EVIDENCE)
    for path in ("/api/v1/decisions", "/api/v1/runs", "/api/v1/exceptions", "/api/v1/reads"):
        assert (await ask(app, path)).status == 200
    assert opened.questions.reads.reads().items == ()
    for path in (f"/api/v1/blobs/{digest}", f"/api/v1/images/{DIGEST}", f"/api/v1/decisions/{value['id']}"):
        answer = await ask(app, path)
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"  # what is read again is recorded again
    seen = await ask(app, f"/api/v1/blobs/{digest}", **{"if-none-match": f'"{digest}"'})
    assert seen.status == 304
    assert [item.resource for item in opened.questions.reads.reads().items[::-1]] == [
        "blobs",
        "images",
        "decisions",
        "blobs",
    ]


async def test_a_whole_list_is_one_read_recorded_before_its_first_byte(
    opened: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await record(opened, *(leaf(number) for number in range(5)))
    monkeypatch.setattr(whole, "MAX_LIMIT", 2)
    answer = await ask(application(opened, clock), "/api/v1/decisions?format=jsonl")
    assert len(answer.body.splitlines()) == 5
    (read,) = opened.questions.reads.reads().items
    assert (read.resource, read.count, read.parameters) == ("decisions", None, {"format": ["jsonl"]})


async def test_reads_are_listed_by_who_what_and_when_page_by_page(opened: Store, clock: Clock) -> None:
    clock.now = START + timedelta(hours=1)
    await record(opened, *(read_of("jane" if number % 2 else "john", number) for number in range(7)))
    reads = opened.questions.reads.reads
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = reads(limit=2, cursor=cursor)
        seen += [item.identity for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [f"record-{number}" for number in reversed(range(7))]
    assert [item.identity for item in reads(username="jane").items] == ["record-5", "record-3", "record-1"]
    assert len(reads(identity="record-4").items) == 1
    assert len(reads(resource="blobs").items) == 0
    assert len(reads(since=START + timedelta(seconds=2), until=START + timedelta(seconds=4)).items) == 2
    assert len(reads(as_of=START + timedelta(seconds=2)).items) == 3
    assert len(reads(known_at=START).items) == 0


@pytest.mark.guarantee(12)
async def test_guarantee_12_a_read_tells_no_token_and_no_group(
    opened: Store, database: Database, clock: Clock, tmp_path: Path
) -> None:
    value = leaf()
    await record(opened, value)
    app = application(opened, clock)
    for path in (f"/api/v1/decisions/{value['id']}", "/api/v1/decisions", f"/api/v1/images/{DIGEST}"):
        assert (await ask(app, path, cookie=f"session={TOKEN}")).status == 200
    assert len(opened.questions.reads.reads().items) == 3
    everything = everything_in(opened, database, tmp_path)
    assert b"jane" in everything
    assert TOKEN.encode() not in everything
    assert GROUP.encode() not in everything


def everything_in(opened: Store, database: Database, folder: Path) -> bytes:
    """Every byte that the database keeps: the files of SQLite, every column of PostgreSQL."""
    if database.kind == "sqlite":
        return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
    with opened._reading.begin() as connection:
        rows = [row for table in tables.metadata.sorted_tables for row in connection.execute(select(table))]
        return b"".join(bytes(cell) if isinstance(cell, bytes) else str(cell).encode() for row in rows for cell in row)


def test_a_command_that_reads_is_recorded_before_it_shows_anything(
    database: Database, opened: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    value = leaf()
    asyncio.run(record(opened, value))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    monkeypatch.setenv("ASSAY_LOG_READS", "Evidence")
    monkeypatch.setenv("LOGNAME", "auditor")
    # The serving process has the database open meanwhile.
    assert run(["inventory", "show", value["id"], "--known-at", "2099-01-01", "-o", "json"]) == 0
    assert run(["inventory", "decisions"]) == 0
    (read,) = opened.questions.reads.reads().items
    assert (read.username, read.via, read.resource, read.identity) == ("auditor", "CLI", "show", value["id"])
    assert (read.status, read.count) == (0, None)
    assert "database_url" not in read.parameters
    monkeypatch.setenv("ASSAY_LOG_READS", "All")
    assert run(["inventory", "decisions", "-n", "shop", "-o", "json"]) == 0
    assert opened.questions.reads.reads().items[0].namespace == "shop"
    capfd.readouterr()
    assert run(["inventory", "reads", "-o", "json"]) == 0
    assert [item["resource"] for item in json.loads(capfd.readouterr().out)["items"]] == ["decisions", "show"]


def test_a_command_that_cannot_record_shows_nothing(
    database: Database, opened: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    value = leaf()
    asyncio.run(record(opened, value))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    monkeypatch.setenv("ASSAY_LOG_READS", "All")
    engine = engines.writing_engine(engines.parse(database.settings.url()))
    with engine.begin() as connection:
        if database.kind == "postgresql":
            connection.execute(text("LOCK TABLE leaf IN EXCLUSIVE MODE"))
        monkeypatch.setattr(engines, "BUSY_TIMEOUT", 0.2)
        monkeypatch.setattr(engines, "WRITE_TIMEOUT", 1.0)
        assert run(["inventory", "show", value["id"]]) == 2
    engine.dispose()
    out, err = capfd.readouterr()
    assert out == ""
    assert "nothing is shown" in err
