"""Raw evidence, however and wherever it is kept: on both databases it comes back to the byte, or it is named."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import select, update

from controller.errors import Unacceptable
from controller.inventory import migrate as migrations
from controller.inventory import tables
from controller.inventory.blobs import packing
from controller.inventory.database import engines
from controller.inventory.store import Store, migrate
from tests.support import postgres
from tests.support.inventory import START, Database, blob, leaf, postgres_database, soon, sqlite_database

LARGE = random.Random(6).randbytes(5000)  # noqa: S311 - bytes that nothing makes smaller
SBOM = json.dumps(
    {"components": [{"name": f"package-{n}", "version": f"1.{n}", "supplier": "acme"} for n in range(2000)]}
).encode()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """Evidence of 1,000 bytes and more is kept in files here."""
    made = (
        sqlite_database(tmp_path)
        if request.param == "sqlite"
        else postgres_database(request.getfixturevalue("server"), blob_directory=str(tmp_path / "blobs"))
    )
    return replace(made, settings=dataclasses.replace(made.settings, blob_file_bytes=1000))


async def keep(store: Store, *contents: bytes) -> list[str]:
    blobs = dict(map(blob, contents))
    await store.writer.record(leaf(blobs=sorted(map(str, blobs))), blobs=blobs, deadline=soon())
    return [str(blob(content)[0]) for content in contents]


def rows(store: Store) -> dict[str, Any]:
    with store._reading.begin() as connection:
        return {row.digest: row for row in connection.execute(select(tables.blob))}


def files(database: Database, tmp_path: Path) -> dict[str, Path]:
    folder = tmp_path / ("inventory.db.blobs" if database.kind == "sqlite" else "blobs")
    found = [path for path in folder.rglob("*") if path.is_file()]
    return {f"{path.parent.parent.name}:{path.parent.name}{path.name}": path for path in found}


def change(database: Database, statement: Any) -> None:
    engine = engines.writing_engine(engines.parse(database.settings.url()))
    with engine.begin() as connection:
        assert connection.execute(statement).rowcount in {1, -1}  # an INSERT tells PostgreSQL's driver nothing
    engine.dispose()


async def test_evidence_is_kept_in_the_smaller_form_and_read_back_to_the_byte(
    database: Database, tmp_path: Path
) -> None:
    contents = (SBOM, LARGE, LARGE[:900], b"x" * 10_000, b"short", b"")
    with database.open() as store:
        names = await keep(store, *contents)
        for name, content in zip(names, contents, strict=True):
            assert store.queries.blob(name) == content
            assert rows(store)[name].size == len(content)
        kept = [(rows(store)[name].encoding, rows(store)[name].location) for name in names]
    assert kept == [("zstd", "file"), ("raw", "file"), ("raw", "row"), ("zstd", "row"), ("raw", "row"), ("raw", "row")]
    assert set(files(database, tmp_path)) == set(names[:2])
    assert files(database, tmp_path)[names[0]].stat().st_size < len(SBOM) / 5
    with Store.open_to_read(database.settings) as reader:
        assert reader.queries.blob(names[0]) == SBOM


async def test_files_are_their_owners_alone_and_none_is_left_half_written(database: Database, tmp_path: Path) -> None:
    with database.open() as store:
        await keep(store, SBOM)
    (path,) = files(database, tmp_path).values()
    assert [one.stat().st_mode & 0o777 for one in (path, path.parent, path.parent.parent)] == [0o600, 0o700, 0o700]
    assert list(path.parent.iterdir()) == [path]


async def test_evidence_stays_in_the_database_where_no_folder_is_set(server: postgres.Postgres) -> None:
    database = postgres_database(server, blob_file_bytes=1000)
    with database.open() as store:
        (name,) = await keep(store, LARGE)
        assert rows(store)[name].location == "row"
        assert store.queries.blob(name) == LARGE


async def test_what_an_older_version_recorded_is_read_as_it_lies_there(database: Database) -> None:
    """Rows of before have neither column: the migration says of them what they are."""
    digest, content = blob(SBOM)
    with database.open() as store:
        change(database, tables.blob.insert().values(_old_row(str(digest), content)))
        assert store.queries.blob(str(digest)) == SBOM
        await store.writer.record(leaf(blobs=[str(digest)]), blobs={digest: content}, deadline=soon())
        assert rows(store)[str(digest)].encoding == "raw"
        assert store.verify(keys=[]).findings == []


def _old_row(digest: str, content: bytes) -> dict[str, Any]:
    return {"digest": digest, "size": len(content), "content": content, "recorded_at": START}


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_file_that_is_gone_cut_or_changed_is_named(database: Database, tmp_path: Path) -> None:
    with database.open() as store:
        packed, raw = await keep(store, SBOM, LARGE)
        assert store.verify(keys=[]).findings == []
        paths = files(database, tmp_path)
        for name in (packed, raw):
            path = paths[name]
            content = path.read_bytes()
            for damage, code in (
                (content[:-1], "BlobChanged"),
                (content[:-1] + bytes([content[-1] ^ 1]), "BlobChanged"),
                (content + content, "BlobChanged"),
                (b"", "BlobChanged"),
                (None, "BlobRemoved"),
            ):
                path.unlink() if damage is None else path.write_bytes(damage)
                (finding,) = store.verify(keys=[]).findings
                assert (finding.code, finding.where) == (code, f"blob {name}")
                with pytest.raises(Unacceptable, match="BlobDamaged"):
                    store.queries.blob(name)
                path.write_bytes(content)
        assert store.verify(keys=[]).findings == []
        path.unlink()
        path.symlink_to("/dev/zero")
        (finding,) = store.verify(keys=[]).findings
        assert finding.code == "BlobRemoved"
        path.unlink()
        path.mkdir()
        (finding,) = store.verify(keys=[]).findings
        assert finding.code == "BlobRemoved"


@pytest.mark.guarantee(14)
@pytest.mark.parametrize(
    "change_to",
    [
        {"encoding": "raw"},
        {"encoding": "lz4"},
        {"location": "file"},
        {"location": "somewhere"},
        {"size": 3},
        {"size": len(SBOM) + 1},
        {"size": 2**62},
        {"size": -1},
        {"content": b""},
    ],
    ids=str,
)
async def test_guarantee_14_a_row_that_says_otherwise_how_its_bytes_are_kept_is_named(
    database: Database, change_to: dict[str, Any]
) -> None:
    in_rows = replace(database, settings=dataclasses.replace(database.settings, blob_file_bytes=0))
    with in_rows.open() as store:
        (name,) = await keep(store, SBOM)
        change(database, update(tables.blob).values(change_to))
        (finding,) = store.verify(keys=[]).findings
        assert finding.where == f"blob {name}"
        with pytest.raises(Unacceptable, match="BlobDamaged"):
            store.queries.blob(name)


async def test_a_record_with_a_large_blob_is_brought_from_the_spool_too(tmp_path: Path) -> None:
    base = sqlite_database(tmp_path, durability="Spool", blob_file_bytes=1000)
    with base.open() as store:
        store.writer._fallback.leave()  # type: ignore[union-attr]
        (name,) = await keep(store, LARGE)
        for _ in range(600):
            if store.writer._fallback._spool.is_empty:  # type: ignore[union-attr]
                break
            await asyncio.sleep(0.05)
        assert store.queries.blob(name) == LARGE
    assert set(files(base, tmp_path)) == {name}


def test_a_migrated_database_keeps_its_evidence(server: postgres.Postgres, tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path / 'old.db'}", server.new_database()):
        engine = engines.writing_engine(engines.parse(url))
        digest, content = blob(SBOM)
        with engine.begin() as connection:
            config = migrations._config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0007")
            connection.execute(tables.blob.insert().values(_old_row(str(digest), content)))
        migrate(url)
        with engine.begin() as connection:
            row = connection.execute(select(tables.blob)).one()
        assert (row.encoding, row.location, row.content) == ("raw", "row", SBOM)
        engine.dispose()


@pytest.mark.parametrize("size", [0, 1, packing.MIN_PACKED_BYTES, 1_000_000])
def test_packing_and_unpacking_are_inverse(size: int) -> None:
    for content in (b"a" * size, random.Random(size).randbytes(size)):  # noqa: S311 - bytes, not secrets
        encoding, kept = packing.pack(content)
        assert len(kept) <= len(content)
        assert packing.unpack(encoding, kept, size=len(content)) == content
