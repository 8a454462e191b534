"""`kill -9` of a migration at random statements, on both databases: it is run again, and all is there, once
(guarantee 13)."""

from __future__ import annotations

import asyncio
import random
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import column, create_engine, insert, inspect, select, table, text

from controller.inventory import migrate as migrations
from controller.inventory import store, tables
from controller.inventory.database import engines
from controller.inventory.ledger.notes import NoteSigner
from controller.model.reference import Digest
from controller.settings import InventorySettings
from tests.support import postgres
from tests.support.dying_migration import statements
from tests.support.filled import leaves
from tests.support.inventory import soon, sqlite_database

DEATHS = {"sqlite": 30, "postgresql": 20}
SERVER_DEATHS = 4  # of those on PostgreSQL, in which it is the server that dies
COPIES = 5  # of each record: what the migrations have to read comes in several batches
FIRST = "0001"
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
ROOT = Path(__file__).parents[2]
CONFIG = (
    b'{"architecture":"amd64","config":{"Env":["TOKEN=s3cr3t"]},"os":"linux","rootfs":{}}'  # kept by older versions
)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


async def _record(opened: store.Store) -> None:
    values, blobs = leaves()
    decisions = [value | {"evaluations": value["evaluations"][:1]} for value in values if "object" in value]
    assert not any("exceptions" in each for value in decisions for each in value["evaluations"])  # they came later
    digest = str(Digest.of(CONFIG))
    for value in decisions:
        value["blobs"] = [*value["blobs"], digest]
        value["evaluations"][0]["used"] |= {"configs": [{"digest": digest, "manifest": digest, "platform": None}]}
    copies = [
        value | {"id": f"{value['id']}-{copy}", "decisionKey": f"{value['decisionKey']}-{copy}"}
        for value in decisions
        for copy in range(COPIES)
    ]
    await asyncio.gather(*(opened.writer.record(value, blobs=blobs, deadline=soon()) for value in copies))


def fill_first(url: str, folder: Path) -> None:
    """Make a database as the first version left it, with decisions in it: the rows that this version makes of them, as
    far as that one had their columns."""
    folder.mkdir()
    source = sqlite_database(folder)
    engine, reading = create_engine(engines.parse(url)), create_engine(engines.parse(source.settings.url()))
    with source.open() as opened:
        asyncio.run(_record(opened))
        with engine.begin() as connection, reading.begin() as current:
            config = migrations._config()
            config.attributes["connection"] = connection
            command.upgrade(config, FIRST)
            found = inspect(connection)
            for known in tables.metadata.sorted_tables:
                if not found.has_table(known.name):
                    continue
                names = {each["name"] for each in found.get_columns(known.name)}
                columns = [each for each in known.columns if each.name in names]
                rows = [dict(row) for row in current.execute(select(*columns)).mappings()]
                if known is tables.blob:
                    rows = [row | {"content": opened.queries.blob(row["digest"])} for row in rows]
                    rows.append(rows[0] | {"digest": str(Digest.of(CONFIG)), "size": len(CONFIG), "content": CONFIG})
                assert rows, known.name
                into = table(known.name, *(column(each.name, each.type) for each in columns))
                connection.execute(insert(into), rows)
            if connection.dialect.name == "postgresql":  # the next record has a position of its own
                connection.execute(text("SELECT setval('leaf_position_seq', (SELECT max(position) FROM leaf))"))
    engine.dispose()
    reading.dispose()


def dump(url: str) -> dict[str, Any]:
    """Everything in a database: each table's columns, indexes and rows."""
    engine = create_engine(engines.parse(url))
    with engine.begin() as connection:
        found = inspect(connection)
        what: dict[str, Any] = {}
        indexes_of = found.get_multi_indexes()  # all at once: PostgreSQL has a table for each month
        for (schema, name), described in found.get_multi_columns().items():
            columns = [(each["name"], str(each["type"]), each["nullable"]) for each in described]
            indexes = sorted(str(each["name"]) for each in indexes_of[schema, name])
            rows = sorted(map(repr, connection.execute(text(f"SELECT * FROM {name}")).all()))  # noqa: S608 - its own name
            what[name] = columns, indexes, rows
    engine.dispose()
    return what


class Mother:
    """The process that migrations die in."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def migrate(self, url: str, *, victim: int, at: int) -> int:
        """How the migration ended that was killed, or whose server was."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{url} {victim} {at}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


@contextmanager
def mother() -> Iterator[Mother]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.dying_migration"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Mother(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


def moments(count: int, deaths: int) -> list[int]:
    """Random statements of so many; the first, the last and the commit are among them."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # shown where the test fails
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    return [0, count - 1, count - 2, *(chance.randrange(count) for _ in range(deaths - 3))]


def assert_goes_on(url: str, expected: dict[str, Any]) -> None:
    """The migration that was killed is done by the next, and the inventory is whole."""
    store.migrate(url)
    found = dump(url)
    assert found.keys() == expected.keys()
    assert str(Digest.of(CONFIG)) not in repr(found["blob"])
    for name, what in expected.items():
        assert found[name] == what, f"table {name} is not what an undisturbed migration makes"


def assert_whole(url: str) -> None:
    """What the migration left verifies, once it has its numbers; and it is what the leaves say."""
    settings = InventorySettings(database_url=url, durability="Database")
    with store.Store.open(settings) as opened:
        sequencer = opened.sequencer(settings, signer=SIGNER)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass
        report = opened.verify(keys=[SIGNER.key()])
        assert (report.findings, report.waiting) == ([], 0)
        assert report.entries == report.signed > 0
    assert store.rebuild(url) == report.entries


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_guarantee_13_a_migration_killed_at_any_statement_is_done_whole_by_the_next_on_sqlite(memory: Path) -> None:
    first = memory / "first.db"
    fill_first(f"sqlite:///{first}", memory / "source")
    whole = memory / "whole.db"
    shutil.copy(first, whole)
    count = statements(f"sqlite:///{whole}")
    expected = dump(f"sqlite:///{whole}")
    assert_whole(f"sqlite:///{whole}")
    with mother() as dying:
        for number, at in enumerate(moments(count, DEATHS["sqlite"])):
            file = memory / f"{number}.db"
            shutil.copy(first, file)
            assert dying.migrate(f"sqlite:///{file}", victim=0, at=at) == -9
            assert_goes_on(f"sqlite:///{file}", expected)


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
def test_guarantee_13_a_migration_killed_at_any_statement_is_done_whole_by_the_next_on_postgresql(
    server: postgres.Postgres, memory: Path
) -> None:
    """Killed are the process that migrates, or the server's own, with all its connections."""
    first = server.new_database()
    fill_first(first, memory / "source")
    whole = server.copy_of(first)
    count = statements(whole)
    expected = dump(whole)
    with mother() as dying:
        for number, at in enumerate(moments(count, DEATHS["postgresql"])):
            url = server.copy_of(first)
            if number % (DEATHS["postgresql"] // SERVER_DEATHS):
                assert dying.migrate(url, victim=0, at=at) == -9
            else:
                ended = dying.migrate(url, victim=server.pid, at=at)
                assert ended in {0, 3}  # at the very end it may be done already
                server.start_again()
            assert_goes_on(url, expected)
    assert_whole(whole)
