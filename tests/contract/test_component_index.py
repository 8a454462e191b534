"""What stands in attested documents, indexed: the same on both databases, and what the bytes say."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import create_engine, func, select, table, text

from controller.errors import Unavailable
from controller.inventory import migrate, store, tables
from controller.inventory.database import engines
from controller.inventory.index import reading, writing
from controller.inventory.index.contents import Contents
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.support import postgres
from tests.support.attested import CYCLONEDX, attesting, bundle, cyclonedx, envelope, spdx
from tests.support.inventory import DIGEST, START, Clock, Database, postgres_database, soon

CHILD = "sha256:" + "cc" * 32


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_findings_of_a_database_from_before_learn_what_they_are_about(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        url = f"sqlite:///{tmp_path / 'before.db'}"
    else:
        url = request.getfixturevalue("server").new_database()
    engine = create_engine(engines.parse(url))
    details = {
        "1": {"signedAt": "2026-11-22T10:00:00.500000Z", "child": {"digest": CHILD, "platform": "linux/arm64"}},
        "2": {"signedAt": None},
        "3": {"code": "Unsigned"},
    }
    with engine.begin() as connection:
        config = migrate._config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        for fact, detail in details.items():
            connection.execute(
                text(
                    "INSERT INTO verification (fact, decided_at, recorded_at, digest, finding, policy_kind,"
                    " policy_namespace, policy_name, policy_hash, detail)"
                    " VALUES (:fact, :at, :at, :digest, 'attestation', 'k', '', 'p', 'h', :detail)"
                ),
                {"fact": fact, "at": "2026-11-22T11:00:00.000000Z", "digest": DIGEST, "detail": json.dumps(detail)},
            )
    columns = tables.verification.c
    with engine.begin() as connection:
        # No further: a later one makes these rows anew from leaves, of which this database has none.
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        found = connection.execute(select(columns.fact, columns.child, columns.signed_at)).all()
    engine.dispose()
    assert {row.fact: (row.child, row.signed_at and row.signed_at.isoformat()) for row in found} == {
        "1": (CHILD, "2026-11-22T10:00:00.500000+00:00"),
        "2": (None, None),
        "3": (None, None),
    }


async def record(opened: Store, *attested: tuple[dict[str, Any], dict[Digest, bytes]]) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs=blobs, deadline=soon()) for item, blobs in attested))


def read(content: bytes) -> Contents:
    return reading.read(content, DocumentSettings())


def index(opened: Store, database: Database, **changes: Any) -> int:
    indexer = opened.indexer(database.settings, **{"read": read, **changes})
    count = 0
    while (progress := indexer.step()).more:
        count += progress.indexed
    return count


def rows(opened: Store, table: Any) -> list[dict[str, Any]]:
    with opened._reading.begin() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]


def listed(opened: Store) -> dict[str, set[tuple[str, str | None, str]]]:
    """What each document lists, by its artefact, from the tables alone: name, version, package."""
    document, link, component, package = (
        tables.document,
        tables.sbom_component,
        tables.component,
        tables.package,
    )
    query = (
        select(
            document.c.artifact,
            component.c.name,
            component.c.version,
            package.c.type,
            package.c.namespace,
            package.c.name,
        )
        .join(link, link.c.document == document.c.id)
        .join(component, component.c.id == link.c.component)
        .join(package, package.c.id == component.c.package)
        .where(document.c.indexed_at.is_not(None))
    )
    found: dict[str, set[tuple[str, str | None, str]]] = {}
    with opened._reading.begin() as connection:
        for artifact, name, version, *names in connection.execute(query):
            found.setdefault(artifact, set()).add((name, version, "/".join(filter(None, names))))
    return found


async def test_what_an_sbom_lists_is_indexed_as_its_bytes_say(opened: Store, database: Database) -> None:
    one = bundle(spdx("pkg:deb/debian/openssl@3.0.11?arch=amd64", "pkg:maven/org.apache/log4j-core@2.14.1"))
    other = envelope(
        cyclonedx(
            {"type": "library", "name": "Left-Pad", "version": "1.3.0"},
            {"type": "library", "name": "openssl", "purl": "pkg:deb/debian/openssl@3.0.11?arch=amd64"},
            {"type": "library", "name": "nameless"},
        ),
        CYCLONEDX,
    )
    await record(opened, attesting(one), attesting(other, predicate_type=CYCLONEDX))
    assert index(opened, database) == 2
    assert listed(opened) == {
        str(Digest.of(one)): {
            ("openssl", "3.0.11", "deb/debian/openssl"),
            ("log4j-core", "2.14.1", "maven/org.apache/log4j-core"),
        },
        str(Digest.of(other)): {
            ("Left-Pad", "1.3.0", "left-pad"),
            ("openssl", "3.0.11", "deb/debian/openssl"),
            ("nameless", None, "nameless"),
        },
    }
    heads = {row["artifact"]: row for row in rows(opened, tables.document)}
    first, second = heads[str(Digest.of(one))], heads[str(Digest.of(other))]
    assert (first["kind"], first["format"], first["spec_version"], first["tool"], first["author"]) == (
        *("sbom", "SPDX", "2.3"),
        *("maker-1.0", "Acme"),
    )
    assert first["created_at"] == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert (second["components"], second["lacks_version"], second["lacks_identifier"]) == (3, 1, 2)
    assert {(row["digest"]) for row in rows(opened, tables.document_subject)} == {DIGEST}
    assert len(rows(opened, tables.package)) == 4
    assert index(opened, database) == 0


async def test_one_component_in_many_documents_is_one_row(opened: Store, database: Database) -> None:
    shared = [f"pkg:deb/debian/lib{number}@1.0" for number in range(20)]
    await record(opened, *(attesting(envelope(spdx(*shared, f"pkg:npm/own@{number}"))) for number in range(5)))
    assert index(opened, database) == 5
    assert len(rows(opened, tables.component)) == 25
    assert len(rows(opened, tables.package)) == 21
    assert len(rows(opened, tables.sbom_component)) == 5 * 21


async def test_a_document_that_cannot_be_read_is_told_once_and_not_tried_again(
    opened: Store, database: Database
) -> None:
    broken = envelope({"spdxVersion": "SPDX-2.3", "packages": "many"})
    await record(opened, attesting(broken), attesting(b"no JSON", rejected="KeyMismatch"))
    tried: list[bytes] = []

    def reading_once(content: bytes) -> Contents:
        tried.append(content)
        return read(content)

    assert index(opened, database, read=reading_once) == 2
    assert index(opened, database, read=reading_once) == 0
    assert sorted(tried) == sorted([broken, b"no JSON"])
    found = {row["artifact"]: (row["kind"], row["problem"]) for row in rows(opened, tables.document)}
    assert found == {
        str(Digest.of(broken)): ("sbom", "DocumentMalformed"),
        str(Digest.of(b"no JSON")): ("other", "DocumentMalformed"),
    }


async def test_where_reading_is_not_possible_now_nothing_is_put_down(opened: Store, database: Database) -> None:
    await record(opened, attesting(envelope(spdx("pkg:npm/a@1"))))

    def away(_content: bytes) -> Contents:
        raise Unavailable("WorkersStopped", "not now")

    with pytest.raises(Unavailable):
        index(opened, database, read=away)
    assert rows(opened, tables.document) == []
    assert index(opened, database) == 1


async def test_what_an_earlier_edition_read_is_read_again(
    opened: Store, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = envelope(spdx(*(f"pkg:npm/p{number}@1" for number in range(1200))))
    await record(opened, attesting(content))

    def less(content: bytes) -> Contents:
        whole = read(content)
        return dataclasses.replace(whole, components=(*whole.components[:700], *read(STRAY).components))

    assert index(opened, database, read=less) == 1
    assert len(rows(opened, tables.sbom_component)) == 701
    monkeypatch.setattr(writing, "EDITION", writing.EDITION + 1)
    assert index(opened, database) == 1
    assert {name for name, _, _ in listed(opened)[str(Digest.of(content))]} == {f"p{number}" for number in range(1200)}
    assert index(opened, database) == 0


async def test_one_that_died_half_way_is_not_there_and_then_whole(opened: Store, database: Database) -> None:
    content = envelope(spdx(*(f"pkg:npm/p{number}@1" for number in range(5000))))
    await record(opened, attesting(content))
    transactions = 0

    def dying(_seconds: float) -> None:
        nonlocal transactions
        transactions += 1
        if transactions == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index(opened, database, pace=dying)
    assert 0 < len(rows(opened, tables.sbom_component)) < 5000
    assert listed(opened) == {}
    assert [counted(opened, view) for view in ("v_documents", "v_components")] == [0, 0]
    assert index(opened, database) == 1
    assert len(listed(opened)[str(Digest.of(content))]) == 5000
    assert [counted(opened, view) for view in ("v_documents", "v_components")] == [1, 5000]


def counted(opened: Store, view: str) -> int:
    """The rows that an auditor sees."""
    with opened._reading.begin() as connection:
        return int(connection.execute(select(func.count()).select_from(table(view))).scalar_one())


async def test_what_is_recorded_after_a_look_is_found_by_the_next(
    opened: Store, database: Database, clock: Clock
) -> None:
    indexer = opened.indexer(database.settings, read=read, clock=clock)
    assert indexer.step() == writing.Progress()
    for day in range(3):
        clock.now = START + timedelta(days=day)
        await record(opened, attesting(envelope(spdx(f"pkg:npm/p@{day}"))))
        assert indexer.step().indexed == 1
        assert not indexer.step().more
    assert rows(opened, tables.index_state) == [{"id": 1, "until": START + timedelta(days=2) - writing.SLACK}]


async def test_two_processes_index_each_document_once(server: postgres.Postgres) -> None:
    database = postgres_database(server)
    with database.open() as one, database.open() as two:
        shared = [f"pkg:npm/shared{number}@1" for number in range(600)]
        await record(one, *(attesting(envelope(spdx(*shared, f"pkg:npm/p{number}@1"))) for number in range(20)))
        indexers = [opened.indexer(database.settings, read=read) for opened in (one, two)]

        def work(indexer: writing.Indexer) -> int:
            count, idle = 0, 0
            while idle < 3:
                progress = indexer.step()
                count += progress.indexed
                idle += not progress.more and progress.waiting is None
            return count

        counts = await asyncio.gather(*(asyncio.to_thread(work, indexer) for indexer in indexers))
        assert sum(counts) == 20
        assert len(rows(one, tables.document)) == 20
        assert len(rows(one, tables.component)) == 620
        assert len(rows(one, tables.sbom_component)) == 20 * 601


async def test_a_rebuild_makes_the_same_index(opened: Store, database: Database) -> None:
    await record(
        opened,
        *(attesting(envelope(spdx(f"pkg:npm/p{number}@1", "pkg:npm/shared@2"))) for number in range(5)),
        attesting(b"no JSON", rejected="KeyMismatch"),
    )
    index(opened, database)
    before, problems = listed(opened), sorted(row["problem"] for row in rows(opened, tables.document))
    opened.close()
    assert store.rebuild(database.settings.url()) == 6
    with database.open() as again:
        assert listed(again) == before
        assert sorted(row["problem"] for row in rows(again, tables.document)) == problems
        assert len(rows(again, tables.component)) == 6


STRAY = envelope(spdx("pkg:npm/stray@1"))
