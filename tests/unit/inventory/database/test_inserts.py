"""Inserting on SQLite without SQLAlchemy's statements: what arrives, and what its callers are told when it fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import IntegrityError, OperationalError

from controller.inventory import tables
from controller.inventory.database.engines import parse, writing_engine
from controller.inventory.database.inserts import Appending, Inserting, keeping_earliest

EARLY = datetime(2026, 11, 22, 13, 0, 0, 5, tzinfo=timezone(timedelta(hours=2)))
LATE = EARLY + timedelta(days=1)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = writing_engine(parse(f"sqlite:///{tmp_path / 'inventory.db'}"))
    tables.metadata.create_all(engine)
    yield engine
    engine.dispose()


def blob(digest: str, content: bytes | None = b"\0bytes") -> dict[str, Any]:
    where = {"encoding": "raw", "location": "row"}
    return {"content": content, "recorded_at": EARLY, "digest": digest, "size": 7, **where}


def test_rows_are_what_sqlalchemy_would_have_written(engine: Engine) -> None:
    with engine.begin() as connection:
        Inserting(tables.blob).run(connection, [blob("a"), blob("b")])
        connection.execute(insert(tables.blob), [blob("c")])
        rows = connection.exec_driver_sql("SELECT digest, size, content, recorded_at FROM blob ORDER BY digest").all()
    assert [row[1:] for row in rows] == [(7, b"\0bytes", "2026-11-22T11:00:00.000005Z")] * 3
    assert [row[0] for row in rows] == ["a", "b", "c"]


def test_rows_are_returned_in_the_order_of_the_rows_that_were_new(engine: Engine) -> None:
    leaf = tables.leaf
    inserting = Inserting(leaf, lambda s: s.on_conflict_do_nothing().returning(leaf.c.id, leaf.c.position))
    row = {"decision_key": "k", "verdict": "Allow", "canonical": b"{}", "recorded_at": EARLY}
    rows = [row | {"id": name, "decision_key": name} for name in ("z", "a", "z", "m")]
    with engine.begin() as connection:
        identities, positions = zip(*inserting.run(connection, rows), strict=True)
    assert identities == ("z", "a", "m")
    assert list(positions) == sorted(positions)


def leaves(names: Iterable[str], content: bytes = b"{}") -> list[dict[str, Any]]:
    row = {"verdict": "Allow", "recorded_at": EARLY, "canonical": content}
    return [row | {"id": name, "decision_key": f"k{name}"} for name in names]


def numbered(connection: Connection) -> list[tuple[str, int]]:
    return [tuple(row) for row in connection.exec_driver_sql("SELECT id, position FROM leaf ORDER BY position")]


@pytest.mark.parametrize("count", [0, 1, 3, 255, 256, 257, 600])
def test_any_number_of_rows_is_written_whole_and_in_order(engine: Engine, count: int) -> None:
    rows = [row | {"canonical": row["id"].encode()} for row in leaves(f"{n * 7919 % 1000:03}" for n in range(count))]
    with engine.begin() as connection:
        placed = Appending(tables.leaf, "id").run(connection, rows)
        found = connection.exec_driver_sql(
            "SELECT id, decision_key, canonical, recorded_at, position FROM leaf ORDER BY position"
        ).all()
    at = "2026-11-22T11:00:00.000005Z"
    assert [tuple(one[:4]) for one in found] == [(r["id"], r["decision_key"], r["canonical"], at) for r in rows]
    assert placed == {one.id: one.position for one in found}


def test_of_rows_that_are_there_already_or_twice_only_the_new_are_numbered(engine: Engine) -> None:
    appending = Appending(tables.leaf, "id")
    with engine.begin() as connection:
        before = appending.run(connection, leaves(["a", "b"]))
        placed = appending.run(connection, leaves(["x", "b", "y", "x"]))
        assert placed.keys() == {"x", "y"}
        assert dict(numbered(connection)) == before | placed
        assert appending.run(connection, leaves(["x", "a"])) == {}


def test_a_group_of_leaves_is_one_statement_that_returns_nothing(engine: Engine) -> None:
    """Each row that is returned, and each statement, takes the interpreter's lock back from a busy event loop."""
    asked: list[str] = []
    with engine.begin() as connection:
        driver: Any = connection.connection.dbapi_connection
        driver.set_trace_callback(asked.append)
        Appending(tables.leaf, "id").run(connection, leaves(f"{n:03}" for n in range(256)))
        driver.set_trace_callback(None)
    query, insert_ = asked
    assert query.startswith("SELECT max(")
    assert insert_.startswith("INSERT")
    assert "RETURNING" not in insert_


def test_a_number_is_never_given_twice(engine: Engine) -> None:
    """Not that of a row that was dropped, nor one above which the database's own count has fallen."""
    appending = Appending(tables.leaf, "id")
    with engine.begin() as connection:
        placed = appending.run(connection, leaves(["a", "b", "c"]))
        connection.exec_driver_sql("DELETE FROM leaf WHERE id = 'c'")
        assert appending.run(connection, leaves(["d"]))["d"] > placed["c"]
        connection.exec_driver_sql("DELETE FROM sqlite_sequence")
        placed = appending.run(connection, leaves(["e"]))
        assert dict(numbered(connection))["e"] == placed["e"] == max(number for _, number in numbered(connection))


def test_a_transaction_that_is_undone_leaves_no_row_and_no_number(engine: Engine) -> None:
    appending = Appending(tables.leaf, "id")
    with pytest.raises(IntegrityError), engine.begin() as connection:
        appending.run(connection, [*leaves(["a"]), *leaves(["b"], content=None)])  # type: ignore[arg-type]
    with engine.begin() as connection:
        assert numbered(connection) == []
        assert appending.run(connection, leaves(["a"])) == {"a": 1}


def test_nothing_is_written_to_any_file_before_the_commit(engine: Engine) -> None:
    """Nor to a temporary one, for pages put aside: a container may have no place for it."""
    appending = Appending(tables.leaf, "id")

    def spread(numbers: range, content: bytes) -> list[dict[str, Any]]:
        return leaves((f"{number * 7919 % 10_007:05}-{'0' * 60}" for number in numbers), content)

    def written() -> int:
        return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())["wchar"])

    with engine.begin() as connection:
        appending.run(connection, spread(range(5_000), b"{}"))
    with engine.begin() as connection:
        before = written()
        appending.run(connection, spread(range(5_000, 5_256), b"{}" * 5_000))
        assert written() - before < 4096


def test_the_earlier_time_is_kept_in_either_order(engine: Engine) -> None:
    inserting = keeping_earliest(tables.policy_version)
    row = {"kind": "EvidencePolicy", "namespace": "shop", "name": "signed", "hash": "sha256:00"}
    with engine.begin() as connection:
        inserting.run(connection, [row | {"decided_at": LATE, "recorded_at": EARLY}])
        inserting.run(connection, [row | {"decided_at": EARLY, "recorded_at": LATE}])
        found = connection.execute(select(tables.policy_version.c.decided_at, tables.policy_version.c.recorded_at))
        assert found.all() == [(EARLY, EARLY)]


def test_a_refused_row_is_an_error_of_sqlalchemy_that_quotes_no_value(engine: Engine) -> None:
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        Inserting(tables.blob).run(connection, [blob("fine"), blob("hidden-value", None)])
    assert "hidden-value" not in str(caught.value)
    assert caught.value.orig is not None
    with engine.begin() as connection:
        assert connection.execute(select(tables.blob)).all() == []


def test_a_database_that_cannot_be_written_is_an_operational_error(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
        with pytest.raises(OperationalError):
            Inserting(tables.blob).run(connection, [blob("a")])


def test_a_row_that_lacks_a_column_is_never_written(engine: Engine) -> None:
    incomplete = blob("a")
    del incomplete["size"]
    with pytest.raises(KeyError), engine.begin() as connection:
        Inserting(tables.blob).run(connection, [incomplete])
