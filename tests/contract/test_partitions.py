"""PostgreSQL by month: a record of any time has its place, months are made ahead, and what is asked of a time is read
from that time alone (docs/design/partitions.md)."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event, func, insert, inspect, select, text

from controller.inventory import store, tables
from controller.inventory.asking.asker import MAX_LIMIT
from controller.inventory.bundle.source import Selection
from controller.inventory.database import engines, partitions
from controller.inventory.database.partition_keeping import PartitionKeeper
from controller.inventory.database.partitions import month_of
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.querying import roles
from controller.inventory.records import DecisionFilter
from controller.inventory.store import Store
from controller.inventory.tables import INSTANT_FORMAT
from controller.settings import InventorySettings
from tests.support import postgres
from tests.support.inventory import (
    DIGEST,
    Clock,
    Database,
    evaluation,
    excepted,
    leaf,
    postgres_database,
    read_of,
    sighting,
    soon,
)

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
NOW = month_of(datetime.now(UTC))
MONTHS = 6
EACH = 4  # decisions a month


@pytest.fixture
def database(server: postgres.Postgres) -> Iterator[Database]:
    made = postgres_database(server)
    yield made
    server.drop(made.settings.url())


@contextmanager
def writing(database: Database) -> Iterator[Engine]:
    engine = engines.writing_engine(engines.parse(database.settings.url()))
    try:
        yield engine
    finally:
        engine.dispose()


def keep(database: Database, now: datetime) -> bool:
    with writing(database) as engine:
        return partitions.keep(engine, now)


def parts(database: Database, table: Any = tables.decision) -> list[partitions.Part]:
    with writing(database) as engine, engine.begin() as connection:
        return partitions.parts(connection, table)


def holds(database: Database, part: str) -> int:
    with writing(database) as engine, engine.begin() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {part}")).scalar_one())  # noqa: S608 - a partition


def at(moment: datetime, number: int = 0, **changes: Any) -> dict[str, Any]:
    return leaf(number, decidedAt=moment.strftime(INSTANT_FORMAT), **changes)


async def record(opened: Store, *leaves: dict[str, Any]) -> None:
    await asyncio.gather(*(opened.writer.record(value, blobs={}, deadline=soon()) for value in leaves))


def names(opened: Store, **where: Any) -> list[str]:
    return [item.name for item in opened.queries.decisions(DecisionFilter(**where), limit=MAX_LIMIT).items]


def assert_gapless(found: list[partitions.Part]) -> None:
    assert found[0].since is None
    assert found[-1].until is None
    assert all(one.until == other.since for one, other in itertools.pairwise(found))


def test_the_tables_that_the_code_says_are_partitioned_by_the_time_in_their_key(database: Database) -> None:
    with writing(database) as engine, engine.begin() as connection:
        found = set(connection.execute(text("SELECT partrelid::regclass::text FROM pg_partitioned_table")).scalars())
        assert found == {table.name for table in tables.PARTITIONED}
        for table in tables.PARTITIONED:
            key = inspect(connection).get_pk_constraint(table.name)["constrained_columns"]
            assert key == [*(column.name for column in table.primary_key), "decided_at"]
            assert_gapless(partitions.parts(connection, table))


async def test_a_record_of_any_time_has_its_place(database: Database) -> None:
    far = [at(datetime(1970, 1, 1, tzinfo=UTC), 1), at(NOW, 2), at(datetime(9999, 12, 31, tzinfo=UTC), 3)]
    with database.open() as opened:
        await record(opened, *far)
        assert names(opened) == ["web-3", "web-2", "web-1"]
    assert [holds(database, f"decision_{part}") for part in ("before", f"{NOW:%Y_%m}", "after")] == [1, 1, 1]


async def test_months_are_made_before_they_begin_and_once(database: Database) -> None:
    later = month_of(NOW, 5)
    assert keep(database, later)
    found = parts(database)
    assert_gapless(found)
    assert [part.since for part in found[1:]] == [month_of(NOW, number) for number in range(5 + partitions.AHEAD + 2)]
    assert keep(database, later)
    assert keep(database, NOW)  # one whose clock is behind takes nothing back
    assert parts(database) == found


async def test_several_who_look_after_the_months_at_once_do_no_harm(database: Database) -> None:
    with database.open() as opened:
        threads = [threading.Thread(target=keep, args=(database, month_of(NOW, 7))) for _ in range(4)]
        for thread in threads:
            thread.start()
        await record(opened, *(at(month_of(NOW, number), number) for number in range(7)))
        for thread in threads:
            thread.join()
        keep(database, month_of(NOW, 7))  # whoever found somebody else at it has let it be
        assert len(names(opened)) == 7
    for table in tables.PARTITIONED:
        assert_gapless(parts(database, table))
        assert parts(database, table)[-1].since == month_of(NOW, 7 + partitions.AHEAD + 1)


async def test_what_came_for_a_month_that_nobody_made_is_that_month_from_then_on(database: Database) -> None:
    end = parts(database)[-1].since
    assert end is not None
    beyond = month_of(end, 40)
    with database.open() as opened:
        await record(opened, at(end, 1), at(month_of(end, 1), 2), at(beyond, 3))
        assert holds(database, "decision_after") == 3
        assert keep(database, month_of(end, 1))
        assert names(opened) == ["web-3", "web-2", "web-1"]
        closed = parts(database)[-5:]
        assert_gapless(parts(database))
        assert [part.since for part in closed] == [end, *(month_of(end, number) for number in (2, 3, 4, 5))]
        assert holds(database, f"decision_{end:%Y_%m}") == 2
        assert holds(database, "decision_after") == 1
        await record(opened, at(month_of(end, 2), 4))
        assert holds(database, f"decision_{month_of(end, 2):%Y_%m}") == 1
        assert opened.verify(keys=[SIGNER.key()]).findings == []


async def test_a_month_of_which_retention_has_left_little_is_let_go_and_nothing_in_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "FEW", 2)
    with database.open() as opened:
        await record(opened, *(at(NOW, number) for number in range(2)))
        await record(opened, *(at(month_of(NOW, 1), number) for number in range(2, 5)))
        before = names(opened)
        assert keep(database, month_of(NOW, partitions.SETTLED))
        assert parts(database)[1].since == NOW  # not yet
        assert keep(database, month_of(NOW, partitions.SETTLED + 3))
        found = parts(database)
        assert_gapless(found)
        assert found[1].since == month_of(NOW, 1)  # it has more
        assert holds(database, "decision_before") == 2
        assert names(opened) == before
        assert opened.verify(keys=[SIGNER.key()]).findings == []


async def test_who_reads_for_long_keeps_nobody_from_recording(database: Database) -> None:
    with writing(database) as reader, reader.begin() as connection, database.open() as opened:
        connection.execute(select(func.count()).select_from(tables.decision)).scalar_one()
        began = time.monotonic()
        assert not keep(database, month_of(NOW, 4))
        assert time.monotonic() - began < 10 * partitions.PATIENCE * len(tables.PARTITIONED)
        await record(opened, at(month_of(NOW, 4), 1))
        assert names(opened) == ["web-1"]


async def test_a_role_that_owns_no_table_records_all_the_same(database: Database, server: postgres.Postgres) -> None:
    name = str(engines.parse(database.settings.url()).database)
    scribe = f"scribe_{name}"
    for statement in (
        f"CREATE ROLE {scribe} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {scribe}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {scribe}",
    ):
        server.execute(statement, database=name)
    url = database.settings.url().replace("postgres@", f"{scribe}@")
    settings = InventorySettings(database_url=url, durability="Database")
    with Store.open(settings) as opened:
        engine = engines.writing_engine(engines.parse(url))
        assert not partitions.keep(engine, month_of(NOW, 4))
        engine.dispose()
        await record(opened, at(month_of(NOW, 9), 1))
        assert names(opened) == ["web-1"]


async def test_the_readers_role_reads_partitions_made_after_it(database: Database, server: postgres.Postgres) -> None:
    name = str(engines.parse(database.settings.url()).database)
    reader = f"reader_{name}"
    for statement in roles.statements(reader=reader, querier=f"query_{name}"):
        server.execute(statement, database=name)
    assert keep(database, month_of(NOW, 6))
    with database.open() as opened:
        await record(opened, at(month_of(NOW, 6), 1))
    settings = InventorySettings(
        database_url=database.settings.url(),
        database_reader_url=database.settings.url().replace("postgres@", f"{reader}@"),
    )
    with Store.open_to_read(settings) as opened:
        assert names(opened) == ["web-1"]
        assert not opened.readers_may_write()


async def test_the_process_that_keeps_the_ledger_looks_after_the_months(database: Database) -> None:
    with writing(database) as engine:
        keeper = PartitionKeeper(engine, clock=lambda: month_of(NOW, 2), first=0)
        end = time.monotonic() + 60
        while parts(database)[-1].since != month_of(NOW, 2 + partitions.AHEAD + 1):
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
        keeper.close()


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_second_row_of_a_leaf_at_another_time_is_named(database: Database) -> None:
    """The key of a partitioned table holds the time, so the database itself does not refuse it."""
    with database.open() as opened, writing(database) as engine:
        await record(opened, *(at(NOW, number) for number in range(3)))
        with engine.begin() as connection:
            row = dict(connection.execute(select(tables.decision).limit(1)).mappings().one())
            connection.execute(insert(tables.decision).values(row | {"decided_at": month_of(NOW, 1)}))
        found = opened.verify(keys=[SIGNER.key()]).findings
        assert [finding.where for finding in found] == [f"table decision, {row['leaf']}"]


async def test_rebuilding_makes_every_month_again(database: Database) -> None:
    with database.open() as opened:
        await record(opened, *(at(month_of(NOW, number), number) for number in range(-2, 4)))
        before = names(opened)
    assert store.rebuild(database.settings.url()) == 6
    with Store.open_to_read(database.settings) as opened:
        assert names(opened) == before


@dataclass
class Asked:
    """An inventory with records in each of some months, and the statements by which it was asked."""

    opened: Store
    engine: Engine
    statements: list[tuple[str, Any]]

    def touched(self, ask: Callable[[], Any]) -> set[str]:
        """The partitions that the server reads rows of while it answers; `before` and `after` by these names."""
        self.statements.clear()
        ask()
        assert self.statements
        with self.engine.connect() as connection:
            plans = []
            for statement, parameters in list(self.statements):
                row = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
                plans.append(row if isinstance(row, list) else json.loads(row))
        known = sorted((table.name for table in tables.PARTITIONED), key=len, reverse=True)
        return {
            name.removeprefix(f"{next(table for table in known if name.startswith(f'{table}_'))}_")
            for plan in plans
            for name in _read(plan[0]["Plan"])
            if any(name.startswith(f"{table}_") for table in known)
        }


def _read(node: dict[str, Any]) -> Iterator[str]:
    if "Relation Name" in node and node["Actual Loops"]:
        yield node["Relation Name"]
    for child in node.get("Plans", ()):
        yield from _read(child)


def _month(number: int) -> str:
    return f"{month_of(NOW, number):%Y_%m}"


@pytest.fixture(scope="module")
def asked(server: postgres.Postgres) -> Iterator[Asked]:
    """Plans as large tables have them: what is small PostgreSQL would rather read whole."""
    database = postgres_database(server)
    keep(database, month_of(NOW, MONTHS))
    name = engines.parse(database.settings.url()).database
    for setting in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin", "enable_sort", "enable_bitmapscan"):
        server.execute(f"ALTER DATABASE {name} SET {setting} = off")
    clock = Clock()
    with database.open(clock) as opened:
        asyncio.run(_fill(opened, clock))
        server.execute("VACUUM ANALYZE", database=str(name))
        statements: list[tuple[str, Any]] = []
        engine = create_engine(engines.parse(database.settings.url()))

        @event.listens_for(opened._reading, "before_cursor_execute")
        def heard(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            statements.append((statement, parameters))

        yield Asked(opened, engine, statements)
        engine.dispose()
    server.drop(database.settings.url())


async def _fill(opened: Store, clock: Clock) -> None:
    for month in range(MONTHS):
        for number in range(EACH):
            moment = month_of(NOW, month) + timedelta(days=5, hours=number)
            clock.now = moment
            value = at(moment, number, flags=["exempt"], verdict="Allow" if number % 2 else "Deny")
            judged = excepted(evaluation(policy="release-signed"))
            refused = evaluation(policy="other", outcome="Error" if number % 2 else "Violated")
            read = read_of("jane") | {"decidedAt": value["decidedAt"]}
            await record(opened, value | {"evaluations": [judged, refused]}, read)
            run = sighting("Started", uid=value["object"]["uid"], id=value["id"])
            await record(opened, run | {"decidedAt": value["decidedAt"]})


SINCE, UNTIL = month_of(NOW, 2), month_of(NOW, 3)
IN: dict[str, Any] = {"since": SINCE, "until": UNTIL}
THEN = month_of(NOW, 3) - timedelta(days=1)


def _decisions(**where: Any) -> Callable[[Store], Any]:
    return lambda opened: opened.queries.decisions(DecisionFilter(**IN, **where), limit=MAX_LIMIT).items


def _record(opened: Store) -> Any:
    newest = opened.queries.decisions(DecisionFilter(**IN), limit=1).items[0]
    return opened.questions.gatherer.gather(Selection(record=newest.id), known_at=month_of(NOW, 99))


BOUNDED: dict[str, Callable[[Store], Any]] = {
    "decisions": _decisions(),
    "decisions of a namespace": _decisions(namespace="shop"),
    "decisions about a name": _decisions(name="web-1"),
    "decisions by their verdict": _decisions(verdict="Deny"),
    "decisions with a flag": _decisions(flag="exempt"),
    "decisions with a flag and a verdict": _decisions(flag="exempt", verdict="Deny"),
    "decisions about a digest": _decisions(digest=DIGEST),
    "decisions about a digest in a namespace": _decisions(digest=DIGEST, namespace="shop"),
    "decisions about an image": _decisions(image="ghcr.io/acme/app:1.2"),
    "decisions by a policy": _decisions(policy="release-signed"),
    "decisions by two policies' flags": _decisions(policy="other", flag="exempt", name="web-1"),
    "decisions by an exception": _decisions(exception="hotfix"),
    "decisions by an exception and a digest": _decisions(exception="hotfix", digest=DIGEST),
    "what was read": lambda opened: opened.questions.reads.reads(**IN).items,
}


@pytest.mark.parametrize("what", BOUNDED)
def test_what_is_asked_of_a_month_is_read_from_that_month(asked: Asked, what: str) -> None:
    assert BOUNDED[what](asked.opened), "a question without an answer shows nothing"
    assert asked.touched(lambda: BOUNDED[what](asked.opened)) == {_month(2)}


def _newest(**where: Any) -> Callable[[Store], Any]:
    return lambda opened: opened.queries.decisions(DecisionFilter(**where), limit=2).items


NEWEST: dict[str, Callable[[Store], Any]] = {
    "decisions": _newest(),
    "decisions of a namespace": _newest(namespace="shop"),
    "decisions with a flag": _newest(flag="exempt"),
    "decisions about a digest": _newest(digest=DIGEST),
    "decisions about an image": _newest(image="ghcr.io/acme/app"),
    "decisions by a policy": _newest(policy="other"),
    "decisions by an exception": _newest(exception="hotfix"),
    "denials": _newest(verdict="Deny"),
    "how a name was judged": lambda opened: opened.questions.admissions.admissions(name="web-1", limit=1).items,
    "what was read": lambda opened: opened.questions.reads.reads(limit=2).items,
}


@pytest.mark.parametrize("what", NEWEST)
def test_a_list_that_begins_with_the_newest_reads_no_older_month_than_it_shows(asked: Asked, what: str) -> None:
    assert NEWEST[what](asked.opened), "a question without an answer shows nothing"
    touched = asked.touched(lambda: NEWEST[what](asked.opened))
    assert _month(MONTHS - 1) in touched
    assert touched <= {_month(month) for month in range(MONTHS - 2, MONTHS + partitions.AHEAD + 1)} | {"after"}


def test_the_next_page_of_a_list_does_not_read_the_months_of_the_pages_before(asked: Asked) -> None:
    queries = asked.opened.queries
    page = queries.decisions(limit=3 * EACH - 1)
    touched = asked.touched(lambda: queries.decisions(limit=2, cursor=page.cursor))
    assert touched == {_month(MONTHS - 3), _month(MONTHS - 4)}


JOINED: dict[str, Callable[[Store], Any]] = {
    "what each policy denied": lambda opened: opened.queries.denied(since=SINCE, cluster="local"),
    "a record for an export": _record,
}


@pytest.mark.parametrize("what", JOINED)
def test_what_is_joined_is_looked_for_in_its_own_month(asked: Asked, what: str) -> None:
    assert JOINED[what](asked.opened), "a question without an answer shows nothing"
    touched = asked.touched(lambda: JOINED[what](asked.opened))
    assert not touched & {_month(0), _month(1), "before"}


def test_what_is_known_of_an_image_on_a_day_is_read_from_no_later_month(asked: Asked) -> None:
    def known() -> Any:
        return asked.opened.queries.image(DIGEST, namespace="shop", as_of=THEN, known_at=THEN)

    assert known() is not None
    assert asked.touched(known) <= {"before", *map(_month, range(3))}
