"""An index that does not say what the documents' bytes say is found, and the row is named (guarantee 14)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, insert, select, update

from controller.inventory import tables
from controller.inventory.database import engines
from controller.inventory.index import reading, writing
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from tests.support.attested import CYCLONEDX, attesting, bundle, cyclonedx, envelope, spdx
from tests.support.fixtures import recorded_bundle
from tests.support.inventory import START, Clock, Database, soon, sqlite_database

ONE = bundle(spdx("pkg:deb/debian/openssl@3.0.11", "pkg:npm/left-pad@1.3.0", "pkg:npm/shared@1"))
OTHER = envelope(
    cyclonedx({"type": "library", "name": "nameless"}, {"type": "library", "name": "x", "purl": "pkg:npm/shared@1"}),
    CYCLONEDX,
)
BROKEN = b"no JSON"


@pytest.fixture
def indexed(database: Database) -> Iterator[Store]:
    clock = Clock()
    with database.open(clock) as opened:
        attested = [
            attesting(ONE),
            attesting(OTHER, predicate_type=CYCLONEDX),
            attesting(BROKEN, rejected="KeyMismatch"),
        ]

        async def record() -> None:
            for value, blobs in attested:
                await opened.writer.record(value, blobs=blobs, deadline=soon())

        asyncio.run(record())
        clock.now = START + 2 * writing.SLACK
        indexer = opened.indexer(
            database.settings, read=lambda content: reading.read(content, DocumentSettings()), clock=clock
        )
        while indexer.step().more:
            pass
        yield opened


@pytest.fixture
def intruder(database: Database) -> Iterator[Engine]:
    engine = create_engine(engines.parse(database.settings.url()))
    yield engine
    engine.dispose()


def found(opened: Store) -> list[str]:
    """Where the index is not what it should be; of an inventory whose ledger is not signed."""
    report = opened.verify(keys=[])
    return [finding.where for finding in report.findings if finding.code == "IndexChanged"]


def number_of(engine: Engine, content: bytes) -> int:
    with engine.begin() as connection:
        query = select(tables.document.c.id).where(tables.document.c.artifact == str(Digest.of(content)))
        return int(connection.execute(query).scalar_one())


def component(engine: Engine, name: str) -> dict[str, Any]:
    with engine.begin() as connection:
        query = select(tables.component).where(tables.component.c.name == name)
        return dict(connection.execute(query).mappings().one())


@pytest.mark.guarantee(14)
def test_guarantee_14_an_index_as_it_was_made_is_what_the_bytes_say(indexed: Store) -> None:
    assert found(indexed) == []
    assert indexed.verify(keys=[]).documents == 3


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("column", ["name", "version", "purl", "licenses", "supplier", "cpe"])
def test_guarantee_14_a_component_that_was_changed_is_named(indexed: Store, intruder: Engine, column: str) -> None:
    row = component(intruder, "openssl")
    with intruder.begin() as connection:
        connection.execute(update(tables.component).where(tables.component.c.id == row["id"]).values({column: "other"}))
    assert found(indexed) == [f"table component, {row['id']}"]


@pytest.mark.guarantee(14)
def test_guarantee_14_a_component_that_was_removed_is_named(indexed: Store, intruder: Engine) -> None:
    row = component(intruder, "openssl")
    with intruder.begin() as connection:
        connection.execute(delete(tables.component).where(tables.component.c.id == row["id"]))
    assert found(indexed) == [f"table component, {row['id']}"]


@pytest.mark.guarantee(14)
def test_guarantee_14_a_component_under_another_package_is_named(indexed: Store, intruder: Engine) -> None:
    one, other = component(intruder, "openssl"), component(intruder, "left-pad")
    with intruder.begin() as connection:
        changing = update(tables.component).where(tables.component.c.id == one["id"])
        connection.execute(changing.values(package=other["package"]))
    assert found(indexed) == [f"table component, {one['id']}"]


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("column", ["type", "namespace", "name", "key"])
def test_guarantee_14_a_package_that_was_changed_or_removed_is_named(
    indexed: Store, intruder: Engine, column: str
) -> None:
    package = component(intruder, "openssl")["package"]
    where = tables.package.c.id == package
    with intruder.begin() as connection:
        connection.execute(update(tables.package).where(where).values({column: "other"}))
    assert f"table package, {package}" in found(indexed)
    with intruder.begin() as connection:
        connection.execute(delete(tables.package).where(where))
    assert found(indexed) == [f"table package, {package}"]


@pytest.mark.guarantee(14)
def test_guarantee_14_a_link_that_was_removed_added_or_moved_is_named(indexed: Store, intruder: Engine) -> None:
    one, other = number_of(intruder, ONE), number_of(intruder, OTHER)
    number = component(intruder, "openssl")["id"]
    table = tables.sbom_component
    with intruder.begin() as connection:
        connection.execute(delete(table).where(table.c.document == one, table.c.component == number))
    assert found(indexed) == [f"table sbom_component, {one} {number}"]
    with intruder.begin() as connection:
        connection.execute(insert(table).values(document=other, component=number, segment=0))
    assert sorted(found(indexed)) == sorted(
        [f"table sbom_component, {one} {number}", f"table sbom_component, {other} {number}"]
    )
    with intruder.begin() as connection:
        connection.execute(delete(table).where(table.c.document == other, table.c.component == number))
        connection.execute(insert(table).values(document=one, component=number, segment=7))
    assert found(indexed) == [f"table sbom_component, {one} {number}"]


@pytest.mark.guarantee(14)
@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(
            (name, "other")
            for name in ("kind", "predicate_type", "problem", "format", "spec_version", "tool", "author")
        ),
        *((name, 7) for name in ("components", "lacks_version", "lacks_supplier", "lacks_identifier", "lacks_license")),
        ("created_at", START),
        ("created_at", None),
    ],
)
def test_guarantee_14_a_document_that_was_changed_is_named(
    indexed: Store, intruder: Engine, column: str, value: Any
) -> None:
    number = number_of(intruder, ONE)
    with intruder.begin() as connection:
        connection.execute(update(tables.document).where(tables.document.c.id == number).values({column: value}))
    assert found(indexed) == [f"table document, {number}"]


@pytest.mark.guarantee(14)
def test_guarantee_14_a_document_that_was_removed_or_renamed_is_named(indexed: Store, intruder: Engine) -> None:
    one, broken = number_of(intruder, ONE), number_of(intruder, BROKEN)
    with intruder.begin() as connection:
        connection.execute(delete(tables.document).where(tables.document.c.id == broken))  # it has no other row
    assert found(indexed) == [f"blob {Digest.of(BROKEN)}"]
    with intruder.begin() as connection:
        renaming = update(tables.document).where(tables.document.c.id == one)
        connection.execute(renaming.values(artifact="sha256:" + "00" * 32))
    assert set(found(indexed)) == {f"table document, {one}", f"blob {Digest.of(BROKEN)}", f"blob {Digest.of(ONE)}"}
    with intruder.begin() as connection:
        connection.execute(delete(tables.document).where(tables.document.c.id == one))
    assert f"table document, {one}" in found(indexed)


@pytest.mark.guarantee(14)
def test_guarantee_14_what_a_report_found_is_held_too(database: Database) -> None:
    bundle_ = recorded_bundle("release.none.vuln")
    with database.open(Clock()) as opened:
        value, blobs = attesting(bundle_.raw, digest=bundle_.digest, predicate_type=bundle_.predicate_type)
        asyncio.run(opened.writer.record(value, blobs=blobs, deadline=soon()))
        indexer = opened.indexer(
            database.settings, read=lambda content: reading.read(content, DocumentSettings()), clock=Clock()
        )
        while indexer.step().more:
            pass
        assert found(opened) == []
        table = tables.vulnerability_finding
        engine = create_engine(engines.parse(database.settings.url()))
        with engine.begin() as connection:
            row = connection.execute(select(table)).mappings().first()
            assert row is not None
            key = f"{row['document']} {row['number']}"
            this = (table.c.document == row["document"]) & (table.c.number == row["number"])
            connection.execute(update(table).where(this).values(vulnerability="CVE-0000-0000"))
        assert found(opened) == [f"table vulnerability_finding, {key}"]
        with engine.begin() as connection:
            connection.execute(delete(table).where(this))
        assert found(opened) == [f"table vulnerability_finding, {key}"]
        engine.dispose()


@pytest.mark.guarantee(14)
def test_guarantee_14_the_images_that_a_document_is_about_are_held_too(indexed: Store, intruder: Engine) -> None:
    number = number_of(intruder, ONE)
    table, added = tables.document_subject, "sha256:" + "01" * 32
    with intruder.begin() as connection:
        connection.execute(insert(table).values(document=number, digest=added))
    assert found(indexed) == [f"table document_subject, {number} {added}"]
    with intruder.begin() as connection:
        connection.execute(delete(table).where(table.c.document == number))
    assert len(found(indexed)) == 1


OF_STATE = tables.index_state.c.id == 1


def say(engine: Engine, until: Any) -> None:
    """Write into the note of how far the index has come, as somebody can who writes the database."""
    with engine.begin() as connection:
        connection.execute(update(tables.index_state).where(OF_STATE).values(until=until))


def said(engine: Engine) -> Any:
    with engine.begin() as connection:
        return connection.execute(select(tables.index_state.c.until).where(OF_STATE)).scalar_one()


@pytest.mark.guarantee(14)
def test_guarantee_14_who_says_that_all_is_indexed_hides_no_document(database: Database) -> None:
    """Not from a process that looks at what was recorded since it looked last, and not from the audit."""
    engine, clock = create_engine(engines.parse(database.settings.url())), Clock()

    def read(content: bytes) -> writing.Contents:
        return reading.read(content, DocumentSettings())

    with database.open(clock) as opened:
        indexer = opened.indexer(database.settings, read=read, clock=clock)
        assert not indexer.step().more
        for number in range(2):
            say(engine, START + timedelta(days=3650))
            value, blobs = attesting(envelope(spdx(f"pkg:npm/later@{number}")))
            asyncio.run(opened.writer.record(value, blobs=blobs, deadline=soon()))
            (artifact,) = blobs
            assert found(opened) == [f"blob {artifact}"]  # it seems to be gone, and so it is shouted about
            while indexer.step().more:
                pass
            assert found(opened) == []
            assert opened.verify(keys=[]).documents == number + 1
            assert said(engine) == clock.now - writing.SLACK
    engine.dispose()


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("until", [None, START - timedelta(days=3650)], ids=["nothing", "long ago"])
def test_guarantee_14_who_says_that_little_is_indexed_makes_no_document_look_as_if_it_had_never_been(
    indexed: Store, intruder: Engine, database: Database, until: Any
) -> None:
    """One that was taken out and one that waits are alike then: both are counted, and both are indexed by the next."""
    gone = number_of(intruder, BROKEN)
    assert indexed.verify(keys=[]).unindexed == 0
    say(intruder, until)
    with intruder.begin() as connection:
        connection.execute(delete(tables.document).where(tables.document.c.id == gone))
    assert (found(indexed), indexed.verify(keys=[]).unindexed) == ([], 1)
    clock = Clock(START + 2 * writing.SLACK)
    indexer = indexed.indexer(
        database.settings, read=lambda content: reading.read(content, DocumentSettings()), clock=clock
    )
    while indexer.step().more:
        pass
    report = indexed.verify(keys=[])
    assert (found(indexed), report.unindexed, report.documents) == ([], 0, 3)
    assert said(intruder) == clock.now - writing.SLACK


@pytest.mark.guarantee(14)
def test_guarantee_14_a_running_indexer_looks_again_where_the_note_of_its_work_was_put_back(
    database: Database,
) -> None:
    engine, clock = create_engine(engines.parse(database.settings.url())), Clock()
    with database.open(clock) as opened:
        value, blobs = attesting(ONE)
        asyncio.run(opened.writer.record(value, blobs=blobs, deadline=soon()))
        clock.now = START + 2 * writing.SLACK
        indexer = opened.indexer(
            database.settings, read=lambda content: reading.read(content, DocumentSettings()), clock=clock
        )
        while indexer.step().more:
            pass
        with engine.begin() as connection:
            for table in (*writing.OWN_ROWS, tables.document, tables.index_state):
                connection.execute(delete(table))
        while indexer.step().more:
            pass
        assert found(opened) == []
        assert opened.verify(keys=[]).documents == 1
    engine.dispose()


@pytest.mark.guarantee(14)
def test_guarantee_14_another_row_beside_the_note_is_named_and_is_not_gone_by(indexed: Store, intruder: Engine) -> None:
    with intruder.begin() as connection:
        connection.execute(insert(tables.index_state).values(id=0, until=START + timedelta(days=3650)))
    assert found(indexed) == ["table index_state, 0"]


@pytest.mark.guarantee(14)
def test_guarantee_14_a_note_that_is_no_time_is_named_and_put_right(tmp_path: Path) -> None:
    """In SQLite, which keeps what it is given."""
    database, clock = sqlite_database(tmp_path), Clock()
    with database.open(clock) as opened:
        indexer = opened.indexer(
            database.settings, read=lambda content: reading.read(content, DocumentSettings()), clock=clock
        )
        assert not indexer.step().more
        with closing(sqlite3.connect(tmp_path / "inventory.db")) as file, file:
            file.execute("UPDATE index_state SET until = 'x'")
        assert found(opened) == ["table index_state, 1"]
        assert not indexer.step().more
        assert found(opened) == []
