"""Questions of one's own, asked by somebody hostile: nothing but the views, nothing written, nothing without end."""
# ruff: noqa: S608 - statements are what is tested here

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import make_url

from controller.errors import AssayError, ConfigurationError, InputError, Unavailable
from controller.inventory.querying import answer, postgresql, questions, roles, sqlite, sqlite_child, statement, views
from controller.inventory.querying.answer import Bounds
from controller.inventory.querying.questions import OwnQuestions
from controller.inventory.store import Store, migrate
from controller.settings import InventorySettings, Seconds
from tests.support import postgres
from tests.support.inventory import DIGEST, Clock, Database, blob, excepted, leaf, sighting, soon, sqlite_database

ROOT = Path(__file__).resolve().parents[2]
SECRET = "9f3c5a1e"  # stands in what no view shows


@dataclasses.dataclass(frozen=True)
class Inventory:
    """A filled inventory, with the role that may ask."""

    kind: str
    settings: InventorySettings

    def ask(self, sql: str, **kwargs: Any) -> answer.Answer:
        return OwnQuestions(self.settings).ask(sql, **kwargs)

    def bounded(self, **bounds: Any) -> Inventory:
        return dataclasses.replace(self, settings=dataclasses.replace(self.settings, **bounds))

    @property
    def unchecked(self) -> Any:
        """The database's own wall alone: without the look at the words before it."""
        bounds = Bounds(10.0, 100, 1 << 20)
        if self.kind == "sqlite":
            file = Path(make_url(self.settings.database_url).database or "")
            return lambda sql: sqlite.ask(file, sql, bounds)
        return lambda sql: postgresql.ask(make_url(self.settings.database_query_url), sql, bounds)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


def as_role(url: str, role: str) -> str:
    return make_url(url).set(username=role).render_as_string(hide_password=False)


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def inventory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    if request.param == "sqlite":
        settings = sqlite_database(tmp_path_factory.mktemp("inventory")).settings
    else:
        server: postgres.Postgres = request.getfixturevalue("server")
        url = server.new_database()
        migrate(url)
        name = make_url(url).database or ""
        for command in roles.statements():
            server.execute(command, database=name)
        settings = InventorySettings(
            database_url=url,
            database_reader_url=as_role(url, roles.READER),
            database_query_url=as_role(url, roles.QUERIER),
            durability="Database",
        )
    digest, content = blob(SECRET.encode())
    with Database(request.param, settings).open(Clock()) as store:

        async def fill() -> None:
            for number in range(5):
                value = leaf(number, blobs=[str(digest)], message=f"message {number}", salt=SECRET * 4)
                value["request"]["facts"] = {"annotation": SECRET}
                if number == 2:
                    value["evaluations"] = [excepted()]
                await store.writer.record(value, blobs={digest: content}, deadline=soon())
            await store.writer.record(sighting("Started", 1), blobs={}, deadline=soon())
            await store.writer.record(sighting("Ended", 2), blobs={}, deadline=soon())

        asyncio.run(fill())
    return Inventory(request.param, settings)


def test_every_view_can_be_asked_and_has_the_columns_that_are_documented(inventory: Inventory) -> None:
    filled = {"v_decisions": 5, "v_images": 5, "v_policies": 1, "v_exceptions": 1, "v_exception_uses": 1, "v_runs": 1}
    for view in views.VIEWS:
        found = inventory.ask(f"SELECT * FROM {view.name}")
        assert found.columns == tuple(name for name, _, _ in view.columns)
        assert len(found.rows) == filled.get(view.name, len(found.rows)), view.name
    assert len(inventory.ask("SELECT * FROM v_evaluations").rows) == 5
    assert len(inventory.ask("SELECT * FROM v_evidence").rows) == 3


def test_a_question_of_one_s_own_is_answered(inventory: Inventory) -> None:
    found = inventory.ask(
        "/* who */ SELECT name, message, decided_at, latency_us > 0 AND verdict = 'Allow' AS ok -- comment ; ( '\n"
        "FROM v_decisions WHERE decided_at >= '2026-11-22T11:00:03.000000Z' ORDER BY decided_at DESC;"
    )
    assert found.columns == ("name", "message", "decided_at", "ok")
    assert [row[:3] for row in found.rows] == [
        ("web-4", "message 4", "2026-11-22T11:00:04.000000Z"),
        ("web-3", "message 3", "2026-11-22T11:00:03.000000Z"),
    ]
    assert all(row[3] in (1, True) for row in found.rows)
    joined = inventory.ask(
        "WITH seen AS (SELECT digest, count(*) AS times FROM v_images GROUP BY digest) "
        "SELECT e.finding, e.signer_subject, s.times FROM v_evidence e JOIN seen s ON s.digest = e.digest "
        "WHERE e.finding IN ('signature', 'attestation') ORDER BY e.finding"
    )
    assert [(row[0], row[2]) for row in joined.rows] == [("attestation", 5), ("signature", 5)]
    (run,) = inventory.ask("SELECT pod, digest, ended_at IS NOT NULL FROM v_runs").rows
    assert run[:2] == ("web", DIGEST)
    assert run[2]
    assert inventory.ask("SELECT * FROM v_decisions WHERE namespace = 'x'", explain=True).rows


HOSTILE = [
    "SELECT canonical FROM leaf",
    "SELECT content FROM blob",
    "SELECT * FROM decision",
    "SELECT detail FROM verification",
    "SELECT count(*) FROM leaf",
    "SELECT 1 FROM leaf",
    "SELECT (SELECT max(id) FROM leaf)",
    "SELECT * FROM v_decisions UNION ALL SELECT * FROM leaf",
    "WITH v_decisions AS (SELECT * FROM leaf) SELECT * FROM v_decisions",
    "WITH v_policies AS (SELECT canonical FROM leaf) SELECT canonical FROM v_policies",
    "SELECT * FROM (SELECT content FROM blob) AS v_decisions",
    "SELECT * FROM v_decisions WHERE id IN (SELECT id FROM leaf)",
    "SELECT * FROM v_decisions ORDER BY (SELECT count(*) FROM ledger_state)",
    "INSERT INTO leaf DEFAULT VALUES",
    "UPDATE decision SET verdict = 'Allow'",
    "DELETE FROM leaf",
    "WITH gone AS (DELETE FROM leaf RETURNING 1) SELECT * FROM gone",
    "DROP VIEW v_decisions",
    "CREATE TABLE x (a int)",
    "CREATE TEMP TABLE x AS SELECT 1",
    "SELECT 1 INTO x",
    "SELECT 1; DROP TABLE leaf",
    "SELECT 1) AS assay_asked; DROP TABLE leaf; SELECT * FROM (SELECT 1",
    "SELECT * FROM v_decisions FOR UPDATE",
    "TABLE leaf",
    "SELECT * FROM (TABLE leaf) AS x",
    "EXPLAIN SELECT 1",
    "VACUUM",
    "BEGIN",
]
SQLITE = [
    "SELECT * FROM sqlite_master",
    "SELECT * FROM sqlite_schema",
    "SELECT * FROM pragma_table_info('leaf')",
    "SELECT * FROM pragma_database_list",
    "PRAGMA writable_schema=ON",
    "PRAGMA query_only=OFF",
    "ATTACH DATABASE '/tmp/x' AS x",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT readfile('/etc/passwd')",
    "SELECT writefile('/tmp/x', 'x')",
    "SELECT randomblob(1000000000)",
    "SELECT zeroblob(1000000000)",
    "SELECT printf('%.*c', 1000000000, 'x')",
    "SELECT hex(zeroblob(100))",
    "SELECT sqlite_compileoption_get(1)",
    "SELECT * FROM leaf AS v_decisions",
    "SELECT [content] FROM [blob]",
    "SELECT `content` FROM `blob`",
    "WITH 'v_policies'(hash) AS (SELECT canonical FROM leaf) SELECT hash FROM v_policies",
]
BORROWED = 'WITH "V_Decisions" AS (SELECT content FROM blob) SELECT * FROM v_decisions'  # another name in PostgreSQL
POSTGRESQL = [
    "SELECT pg_sleep(100)",
    "SELECT pg_catalog.pg_sleep(100)",
    'SELECT "pg_sleep"(100)',
    'SELECT U&"\\0070g_sleep"(100)',
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_ls_dir('/')",
    "SELECT pg_advisory_lock(1)",
    "SELECT pg_terminate_backend(1)",
    "SELECT pg_reload_conf()",
    "SELECT * FROM pg_shadow",
    "SELECT * FROM pg_catalog.pg_stat_activity",
    "SELECT * FROM information_schema.tables",
    "SELECT set_config('default_transaction_read_only', 'off', false)",
    "SELECT current_setting('data_directory')",
    "SELECT query_to_xml('SELECT * FROM leaf', true, false, '')",
    "SELECT table_to_xml('leaf', true, false, '')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT dblink('host=x', 'SELECT 1')",
    "SELECT nextval('leaf_position_seq')",
    "SELECT repeat('x', 1000000000)",
    "SELECT * FROM generate_series(1, 1000000000)",
    "COPY leaf TO STDOUT",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "DO 'BEGIN END'",
    "SET ROLE postgres",
    "SELECT $$x$$",
    "SELECT E'\\' , (SELECT max(id) FROM leaf) --'",
    "LISTEN x",
    "SELECT 1 -- \r, pg_sleep(100)",
    "SELECT /* /* */ pg_sleep(100) /* */ */",
]


@pytest.mark.guarantee(20)
@pytest.mark.parametrize("sql", [*HOSTILE, *SQLITE, *POSTGRESQL])
def test_guarantee_20_a_hostile_question_gets_nothing(inventory: Inventory, sql: str) -> None:
    begun = time.monotonic()
    with pytest.raises(InputError) as refused:
        inventory.ask(sql)
    assert refused.value.code in {"QueryRefused", "QueryMalformed"}
    assert SECRET not in str(refused.value)
    assert time.monotonic() - begun < 30


@pytest.mark.guarantee(20)
@pytest.mark.parametrize("sql", HOSTILE)
def test_guarantee_20_the_database_itself_lets_nobody_past_the_views(inventory: Inventory, sql: str) -> None:
    """Whatever the look at the words let through. (SQLite runs no second statement, PostgreSQL none either.)"""
    if inventory.kind == "sqlite" and sql in {"EXPLAIN SELECT 1", "SELECT * FROM v_decisions FOR UPDATE", "BEGIN"}:
        pytest.skip("harmless: shows nothing, changes nothing")
    with pytest.raises(AssayError):
        inventory.unchecked(sql)


@pytest.mark.parametrize("sql", [*SQLITE, BORROWED])
@pytest.mark.guarantee(20)
def test_guarantee_20_sqlite_s_authorizer_stands_by_itself(inventory: Inventory, sql: str) -> None:
    if inventory.kind != "sqlite":
        pytest.skip("SQLite's own")
    with pytest.raises(InputError):
        inventory.unchecked(sql)


@pytest.mark.guarantee(20)
def test_guarantee_20_a_view_s_name_borrowed_for_another_table_shows_no_more_than_the_view(
    inventory: Inventory,
) -> None:
    if inventory.kind != "sqlite":
        pytest.skip("SQLite's authorizer is told names")
    for column in ("canonical", "decision_key"):
        for name in views.NAMES:
            with pytest.raises(InputError):
                inventory.unchecked(f"WITH {name} AS (SELECT {column} FROM leaf) SELECT {column} FROM {name}")


@pytest.mark.guarantee(20)
def test_guarantee_20_the_roles_of_postgresql_cannot_write_by_any_connection(
    server: postgres.Postgres, inventory: Inventory
) -> None:
    if inventory.kind != "postgresql":
        pytest.skip("PostgreSQL's own")
    name = make_url(inventory.settings.database_url).database or ""
    tables = [
        row[0]
        for row in server.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')",
            database=name,
        )
    ]
    assert {"leaf", "blob", "decision", "ledger_state"} <= set(tables)
    for role in (roles.READER, roles.QUERIER):
        address = f"host={server._socket} user={role} dbname={name}"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("SET default_transaction_read_only = off")  # what a connection sets for itself
            for table in tables:
                quoted = f'"{table}"'
                for command in (
                    f"INSERT INTO {quoted} DEFAULT VALUES",
                    f"DELETE FROM {quoted}",
                    f"TRUNCATE {quoted}",
                    f"LOCK TABLE {quoted} IN EXCLUSIVE MODE",
                    f"DROP TABLE {quoted}",
                    f"ALTER TABLE {quoted} ADD COLUMN x int",
                ):
                    with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.NoActiveSqlTransaction)):
                        connection.execute(command.encode())
            for command in ("CREATE TABLE x (a int)", "SET ROLE postgres", "COPY (SELECT 1) TO PROGRAM 'id'"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(command.encode())
            if role == roles.QUERIER:
                for table in tables:
                    with pytest.raises(psycopg.errors.InsufficientPrivilege):
                        connection.execute(f'SELECT 1 FROM "{table}"'.encode())


def test_a_store_reads_as_the_role_that_cannot_write(inventory: Inventory) -> None:
    if inventory.kind != "postgresql":
        pytest.skip("SQLite's file is opened read-only")
    with Store.open_to_read(inventory.settings) as store:
        assert not store.readers_may_write()
        assert len(store.queries.decisions().items) == 5
        assert store.queries.image(DIGEST) is not None
        assert store.queries.runs().items
        with store._reading.begin() as connection:
            assert connection.exec_driver_sql("SELECT current_user").scalar_one() == roles.READER
    with Store.open_to_read(dataclasses.replace(inventory.settings, database_reader_url="")) as store:
        assert store.readers_may_write()  # the owner's own rights: `serve` warns of it


def test_a_role_that_may_do_more_than_read_the_views_is_not_used(inventory: Inventory) -> None:
    if inventory.kind != "postgresql":
        pytest.skip("PostgreSQL's own")
    for url in (inventory.settings.database_url, inventory.settings.database_reader_url):
        with pytest.raises(ConfigurationError) as refused:
            inventory.bounded(database_query_url=url).ask("SELECT 1")
        assert refused.value.code == "QueryRoleTooWide"
    with pytest.raises(ConfigurationError) as refused:
        inventory.bounded(database_query_url="").ask("SELECT 1")
    assert refused.value.code == "QueryRoleMissing"


def test_roles_may_read_the_views_after_a_migration_made_them_anew(
    server: postgres.Postgres, inventory: Inventory
) -> None:
    if inventory.kind != "postgresql":
        pytest.skip("PostgreSQL's own")
    name = make_url(inventory.settings.database_url).database or ""
    server.execute("DROP VIEW v_runs", database=name)  # an older version that had fewer
    server.execute("UPDATE alembic_version SET version_num = '0000'", database=name)
    server.execute(f"UPDATE alembic_version SET version_num = '{_head()}'", database=name)
    from sqlalchemy import create_engine

    from controller.inventory.migrate import upgrade

    engine = create_engine(inventory.settings.database_url)
    with engine.begin() as connection:
        upgrade(connection)
    engine.dispose()
    assert len(inventory.ask("SELECT * FROM v_runs").rows) == 1


def _head() -> str:
    from controller.inventory.migrate import head

    return str(head())


ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
CROSSED = "SELECT count(*) FROM " + ", ".join(f"v_decisions d{number}" for number in range(14))


@pytest.mark.guarantee(10)
def test_guarantee_10_a_question_without_end_is_ended(inventory: Inventory) -> None:
    for sql in (CROSSED, ENDLESS.replace("n(i) AS (SELECT 1", "n AS (SELECT 1 AS i")):
        begun = time.monotonic()
        with pytest.raises(InputError) as refused:
            inventory.bounded(query_timeout=Seconds(0.5)).ask(sql)
        assert refused.value.code == "QueryTooCostly"
        assert time.monotonic() - begun < 10


@pytest.mark.guarantee(10)
def test_guarantee_10_a_value_that_grows_without_bound_is_refused(inventory: Inventory) -> None:
    eightfold = " || ".join("x" * 8)
    grown = ", ".join(
        f"t{number} AS MATERIALIZED (SELECT {eightfold} AS x FROM t{number - 1})" for number in range(1, 9)
    )
    with pytest.raises(InputError) as refused:
        inventory.ask(f"WITH t0 AS (SELECT 'xxxxxxxx' AS x), {grown} SELECT x FROM t8")
    assert refused.value.code == "QueryTooCostly"


ASKED_APART = """
import json, resource, sys
from controller.errors import InputError
from controller.inventory.querying.questions import OwnQuestions
from controller.settings import InventorySettings, Seconds

try:
    OwnQuestions(InventorySettings(database_url=sys.argv[1], query_timeout=Seconds(30))).ask(sys.argv[2])
except InputError as exc:
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    json.dump([exc.code, exc.message, peak], sys.stdout)
"""
"""The peak is of all children that a process ever had: so one asks that has no other."""


@pytest.mark.guarantee(10)
def test_guarantee_10_a_statement_that_unfolds_without_bound_ends_within_its_memory(inventory: Inventory) -> None:
    if inventory.kind != "sqlite":
        pytest.skip("PostgreSQL's server bounds itself")
    unfolding = ", ".join(f"t{number} AS (SELECT x || x || x || x AS x FROM t{number - 1})" for number in range(1, 17))
    sql = f"WITH t0 AS (SELECT run AS x FROM v_runs), {unfolding} SELECT x FROM t16"
    asked = [sys.executable, "-c", ASKED_APART, inventory.settings.database_url, sql]
    done = subprocess.run(asked, cwd=ROOT, capture_output=True, check=True, timeout=120)
    code, message, peak = json.loads(done.stdout)
    # Not *took too long*: it is its memory that ends it, well before its time.
    assert (code, message) == ("QueryTooCostly", "the question makes a value or a sort that is too large")
    assert peak < sqlite_child.MAX_MEMORY


SPINNING = """
from controller.inventory.querying import sqlite_child

def compile_for_ever(_question):
    while True:
        pass

sqlite_child.ask = compile_for_ever
sqlite_child.main()
"""


@pytest.mark.guarantee(10)
def test_guarantee_10_a_statement_that_compiles_without_end_is_said_to_take_too_long(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No clock is looked at while SQLite compiles: the kernel counts, and its signal is told from that of memory."""
    if inventory.kind != "sqlite":
        pytest.skip("PostgreSQL's server bounds itself")
    run = subprocess.run
    monkeypatch.setattr(sqlite.subprocess, "run", lambda asked, **how: run([asked[0], "-c", SPINNING], **how))
    monkeypatch.setattr(sqlite, "GRACE", 60.0)  # its own clock is not to end it
    with pytest.raises(InputError, match="QueryTooCostly: the question took too long"):
        inventory.bounded(query_timeout=Seconds(1)).ask("SELECT 1 AS one FROM v_runs")


@pytest.mark.guarantee(10)
def test_guarantee_10_the_connection_that_asks_postgresql_is_bounded(
    inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    if inventory.kind != "postgresql":
        pytest.skip("SQLite's child is bounded by the kernel")
    bounds = {
        "statement_timeout": "7000",
        "lock_timeout": "7000",
        "work_mem": "16384",  # kB
        "hash_mem_multiplier": "1",
        "max_parallel_workers_per_gather": "0",
        "temp_file_limit": "1048576",  # kB, of the role
        "transaction_read_only": "on",
        "default_transaction_read_only": "on",
    }
    names = ", ".join(f"'{name}'" for name in bounds)
    # Instead of the question, on the connection and in the transaction in which that would be asked.
    monkeypatch.setattr(
        postgresql, "_measured", lambda _: f"SELECT name, setting FROM pg_settings WHERE name IN ({names})"
    )
    found = inventory.bounded(query_timeout=Seconds(7)).ask("SELECT 1 AS one FROM v_runs")
    assert dict(found.rows) == bounds


@pytest.mark.guarantee(10)
def test_guarantee_10_an_answer_is_cut_at_its_bounds_and_says_so(inventory: Inventory) -> None:
    assert inventory.bounded(query_max_rows=5).ask("SELECT id FROM v_decisions").cut == ""
    cut = inventory.bounded(query_max_rows=4).ask("SELECT id FROM v_decisions")
    assert (len(cut.rows), cut.cut) == (4, "rows")
    cut = inventory.bounded(query_max_bytes=200).ask("SELECT id FROM v_decisions")
    assert (0 < len(cut.rows) < 5, cut.cut) == (True, "bytes")
    many = "SELECT a.id FROM " + ", ".join(f"v_decisions {name}" for name in "abcdefg")
    cut = inventory.ask(many)  # 78,125 rows
    assert (len(cut.rows), cut.cut) == (10_000, "rows")


@pytest.mark.parametrize(
    "sql",
    ["", ";", "SELECT 1 +", "SELECT nothing FROM v_decisions", "SELECT * FROM nowhere", "SELECT 'a",
     "SELECT (1", "SELECT 1)", "SELECT " + "(" * 100 + "1" + ")" * 100, "x" * (statement.MAX_STATEMENT + 1),
     "SELECT 1 \0"],
)  # fmt: skip
def test_what_is_no_question_is_said(inventory: Inventory, sql: str) -> None:
    with pytest.raises(InputError) as refused:
        inventory.ask(sql)
    assert refused.value.code in {"QueryRefused", "QueryMalformed"}
    assert len(str(refused.value)) < 1000


def test_only_so_many_questions_are_asked_at_once(inventory: Inventory, monkeypatch: pytest.MonkeyPatch) -> None:
    own = OwnQuestions(inventory.bounded(query_timeout=Seconds(3)).settings)
    monkeypatch.setattr(questions, "AT_ONCE", questions.AT_ONCE)
    threads = [threading.Thread(target=_quietly, args=(own, CROSSED)) for _ in range(questions.AT_ONCE)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                own.ask("SELECT 1")
            except Unavailable as exc:
                found = exc.code
                break
            assert time.monotonic() < deadline
        assert found == "QueriesBusy"
    finally:
        for thread in threads:
            thread.join()
    assert own.ask("SELECT 1").rows == ((1,),)


def _quietly(own: OwnQuestions, sql: str) -> None:
    try:
        own.ask(sql)
    except InputError:
        return


def test_a_question_takes_no_lock_that_a_writer_waits_for(inventory: Inventory) -> None:
    if inventory.kind != "sqlite":
        pytest.skip("readers of PostgreSQL never lock writers out")
    file = make_url(inventory.settings.database_url).database or ""
    asking = threading.Thread(
        target=_quietly, args=(OwnQuestions(inventory.bounded(query_timeout=Seconds(2)).settings), CROSSED)
    )
    asking.start()
    with closing(sqlite3.connect(file, timeout=0.5, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("ROLLBACK")
    asking.join()
