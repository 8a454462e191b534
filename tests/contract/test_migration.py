"""A database of a release, on both databases, brought to this version: all that follows from its leaves is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, delete, insert, select
from sqlalchemy.exc import IntegrityError

from controller.inventory import migrate, store, tables
from controller.inventory.database import engines
from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.support.inventory import (
    START,
    Clock,
    Database,
    evaluation,
    excepted,
    leaf,
    sighting,
    soon,
    sqlite_database,
)
from tests.support.runs import Said, story

RELEASED = "0005"
CHILD = "sha256:" + "cc" * 32


@pytest.fixture
def released(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> str:
    """The URL of an empty database as that release made it."""
    folder = tmp_path / "released"
    folder.mkdir()
    is_file = database.kind == "sqlite"
    url = f"sqlite:///{folder / 'inventory.db'}" if is_file else request.getfixturevalue("server").new_database()
    engine = engines.writing_engine(engines.parse(url))
    with engine.begin() as connection:
        migrate.upgrade(connection, to=RELEASED)
    engine.dispose()
    return str(url)


def rows(url: str) -> dict[str, list[tuple[Any, ...]]]:
    engine = create_engine(engines.parse(url))
    with engine.connect() as connection:
        found = {
            table.name: sorted(map(tuple, connection.execute(select(table))), key=repr) for table in tables.PROJECTIONS
        }
    engine.dispose()
    return found


async def test_a_database_of_a_release_learns_all_that_follows_from_its_leaves(
    database: Database, released: str
) -> None:
    clock = Clock()
    said = [*story(7), *(Said(value, clock.now) for value in (leaf(1, flags=["warn"]), sighting("Gap", 5)))]
    said.append(Said(leaf(2, evaluations=[excepted(), evaluation()]), clock.now))
    of_one_manifest = evaluation() | {"child": {"digest": CHILD, "platform": "linux/arm64"}}
    said.append(Said(leaf(3, evaluations=[of_one_manifest]), clock.now))
    with database.open(clock) as opened:
        for one in said:
            clock.now = one.recorded_at
            await opened.writer.record(one.leaf, blobs={}, deadline=soon())
    expected = rows(database.settings.url())
    assert all(
        expected[name] for name in ("run", "image_manifest", "signer_set", "decision_flag", "trace", "watch_gap")
    )
    assert CHILD in repr(expected["verification"])
    _copy(database.settings.url(), released)
    store.migrate(released)
    assert rows(released) == expected


async def test_a_leaf_that_cannot_be_read_does_not_keep_a_database_from_its_new_version(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = sqlite_database(tmp_path / "now")
    with database.open() as opened:
        await opened.writer.record(leaf(1), blobs={}, deadline=soon())
        await opened.writer.record(broken := leaf(2), blobs={}, deadline=soon())
    url = f"sqlite:///{tmp_path / 'released.db'}"
    old = Database("sqlite", InventorySettings(database_url=url, durability="Database"))
    engine = engines.writing_engine(engines.parse(old.settings.url()))
    with engine.begin() as connection:
        migrate.upgrade(connection, to=RELEASED)
    engine.dispose()
    _copy(database.settings.url(), old.settings.url(), but=broken["id"])
    with Store.open(old.settings) as opened:
        assert [item.name for item in opened.queries.decisions().items] == ["web-1"]
    assert f"leaf {broken['id']} cannot be read" in caplog.text


def test_leaves_keep_their_places_where_their_table_is_made_anew(released: str) -> None:
    """0024: SQLite copies them. The place of a last one that is gone is not given again."""
    engine = engines.writing_engine(engines.parse(released))
    row = {"verdict": "Allow", "canonical": b"{}", "recorded_at": START}
    named = [row | {"id": f"i{number}", "decision_key": f"k{number}"} for number in range(5)]
    with engine.begin() as connection:
        migrate.upgrade(connection, to="0023")
        for one in named:
            connection.execute(insert(tables.leaf), one)
        connection.execute(delete(tables.leaf).where(tables.leaf.c.id.in_(["i1", "i4"])))
        before = connection.execute(select(tables.leaf).order_by(tables.leaf.c.position)).all()
        migrate.upgrade(connection, to="0024")
    with engine.begin() as connection:
        assert connection.execute(select(tables.leaf).order_by(tables.leaf.c.position)).all() == before
        added = connection.execute(insert(tables.leaf), named[0] | {"id": "another"})
        assert added.inserted_primary_key == (6,)
        with pytest.raises(IntegrityError):
            connection.execute(insert(tables.leaf), named[0])
    engine.dispose()


def _copy(source: str, target: str, *, but: str = "") -> None:
    """The leaves alone; that of the id `but` with nothing in it."""
    reading, writing = create_engine(engines.parse(source)), engines.writing_engine(engines.parse(target))
    with reading.connect() as here, writing.begin() as there:
        for row in here.execute(select(tables.leaf)).mappings():
            there.execute(insert(tables.leaf), {**row, **({"canonical": b"{}"} if row["id"] == but else {})})
    reading.dispose()
    writing.dispose()
