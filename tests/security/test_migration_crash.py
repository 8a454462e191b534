"""`kill -9` of a migration at random statements, on both databases: it is run again, and all is there, once
(guarantee 13). From the first version, and from a later one, whose ledger numbered and signed what it has."""

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
from sqlalchemy import column, create_engine, delete, func, insert, inspect, select, table, text

from controller.inventory import migrate as migrations
from controller.inventory import store, tables
from controller.inventory.database import engines, partitions
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.recording.projecting import RESOURCE_SCHEMA
from controller.model.reference import Digest
from controller.settings import InventorySettings
from tests.support import filled, postgres
from tests.support.dying_migration import statements
from tests.support.filled import leaves
from tests.support.inventory import Clock, Database, soon, sqlite_database

FIRST, LATER = "0001", "0018"
DEATHS = {("sqlite", FIRST): 30, ("postgresql", FIRST): 20, ("sqlite", LATER): 15, ("postgresql", LATER): 10}
SERVER_DIES = 5  # each so manieth time on PostgreSQL it is the server that dies
COPIES = 5  # of each record: what the migrations have to read comes in several batches
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
ROOT = Path(__file__).parents[2]
PLAIN = {"encoding": "raw", "location": "row"}  # how the first version kept bytes
CONFIG = (
    b'{"architecture":"amd64","config":{"Env":["TOKEN=s3cr3t"]},"os":"linux","rootfs":{}}'  # kept by older versions
)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


def _of_the_first() -> list[dict[str, Any]]:
    """Decisions as the first version knew them."""
    values, _ = leaves()
    decisions = [value | {"evaluations": value["evaluations"][:1]} for value in values if "object" in value]
    assert not any("exceptions" in each for value in decisions for each in value["evaluations"])  # they came later
    return [
        value | {"id": f"{value['id']}-{copy}", "decisionKey": f"{value['decisionKey']}-{copy}"}
        for value in decisions
        for copy in range(COPIES)
    ]


def _with_configuration(value: dict[str, Any]) -> dict[str, Any]:
    digest = str(Digest.of(CONFIG))
    value["blobs"] = [*value["blobs"], digest]
    value["evaluations"][0]["used"] |= {"configs": [{"digest": digest, "manifest": digest, "platform": None}]}
    return value


async def _record(opened: store.Store, values: list[dict[str, Any]]) -> None:
    _, blobs = leaves()
    told = [_with_configuration(value) if "object" in value else value for value in values]
    await asyncio.gather(*(opened.writer.record(value, blobs=blobs, deadline=soon()) for value in told))


def _fill(source: Database, opened: store.Store, revision: str) -> None:
    if revision == FIRST:
        asyncio.run(_record(opened, _of_the_first()))
        return
    asyncio.run(filled.fill(source, opened, SIGNER, Clock(), but={RESOURCE_SCHEMA}))
    values, _ = leaves()
    asyncio.run(_record(opened, [value for value in values if "object" in value]))  # the ledger has not numbered these


def fill_old(url: str, folder: Path, revision: str) -> None:
    """Make a database as a version left it, with records in it: the rows that this version makes of them, as far as
    that one had their columns."""
    folder.mkdir()
    source = sqlite_database(folder)
    engine, reading = create_engine(engines.parse(url)), create_engine(engines.parse(source.settings.url()))
    with source.open() as opened:
        _fill(source, opened, revision)
        with engine.begin() as connection, reading.begin() as current:
            config = migrations._config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            if revision != FIRST:
                partitions.lay(connection)
            found = inspect(connection)
            for known in tables.metadata.sorted_tables:
                if not found.has_table(known.name):
                    continue
                names = {each["name"] for each in found.get_columns(known.name)}
                columns = [each for each in known.columns if each.name in names]
                rows = [dict(row) for row in current.execute(select(*columns)).mappings()]
                if known is tables.blob:
                    plain = {name: value for name, value in PLAIN.items() if name in names}
                    rows = [row | plain | {"content": opened.queries.blob(row["digest"])} for row in rows]
                    rows.append(rows[0] | {"digest": str(Digest.of(CONFIG)), "size": len(CONFIG), "content": CONFIG})
                assert rows, known.name
                into = table(known.name, *(column(each.name, each.type) for each in columns))
                connection.execute(delete(into))  # what the migrations put there, for a database that is new
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


def assert_goes_on(url: str, expected: dict[str, Any], numbered: int) -> None:
    """The migration that was killed is done by the next, and the inventory is whole."""
    store.migrate(url)
    assert_signed(url, numbered)
    found = dump(url)
    assert found.keys() == expected.keys()
    assert str(Digest.of(CONFIG)) not in repr(found["blob"])
    for name, what in expected.items():
        assert found[name] == what, f"table {name} is not what an undisturbed migration makes"


def assert_signed(url: str, numbered: int) -> None:
    """What was numbered and signed before is so still, and holds."""
    with store.Store.open_to_read(InventorySettings(database_url=url)) as opened:
        report = opened.verify(keys=[SIGNER.key()])
    assert (report.findings, report.entries, report.signed) == ([], numbered, numbered)
    assert report.waiting > 0


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


def numbered_in(url: str) -> int:
    """How many entries the ledger has."""
    engine = create_engine(engines.parse(url))
    with engine.begin() as connection:
        count = connection.execute(select(func.count()).select_from(tables.ledger_entry)).scalar_one()
    engine.dispose()
    return int(count)


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("revision", [FIRST, LATER])
def test_guarantee_13_a_migration_killed_at_any_statement_is_done_whole_by_the_next_on_sqlite(
    memory: Path, revision: str
) -> None:
    old = memory / "old.db"
    fill_old(f"sqlite:///{old}", memory / "source", revision)
    whole = memory / "whole.db"
    shutil.copy(old, whole)
    count = statements(f"sqlite:///{whole}")
    expected = dump(f"sqlite:///{whole}")
    numbered = numbered_in(f"sqlite:///{whole}")
    assert bool(numbered) is (revision == LATER)
    assert_whole(f"sqlite:///{whole}")
    with mother() as dying:
        for number, at in enumerate(moments(count, DEATHS["sqlite", revision])):
            file = memory / f"{number}.db"
            shutil.copy(old, file)
            assert dying.migrate(f"sqlite:///{file}", victim=0, at=at) == -9
            assert_goes_on(f"sqlite:///{file}", expected, numbered)


@pytest.mark.guarantee(13)
@pytest.mark.timeout(600)
@pytest.mark.parametrize("revision", [FIRST, LATER])
def test_guarantee_13_a_migration_killed_at_any_statement_is_done_whole_by_the_next_on_postgresql(
    server: postgres.Postgres, memory: Path, revision: str
) -> None:
    """Killed are the process that migrates, or the server's own, with all its connections."""
    old = server.new_database()
    fill_old(old, memory / "source", revision)
    whole = server.copy_of(old)
    count = statements(whole)
    expected = dump(whole)
    numbered = numbered_in(whole)
    assert bool(numbered) is (revision == LATER)
    with mother() as dying:
        for number, at in enumerate(moments(count, DEATHS["postgresql", revision])):
            url = server.copy_of(old)
            if number % SERVER_DIES:
                assert dying.migrate(url, victim=0, at=at) == -9
            else:
                ended = dying.migrate(url, victim=server.pid, at=at)
                assert ended in {0, 3}  # at the very end it may be done already
                server.start_again()
            assert_goes_on(url, expected, numbered)
    assert_whole(whole)
