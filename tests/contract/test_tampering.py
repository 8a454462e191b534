"""One bit changed in any column of any table, a row removed, a row added, two rows exchanged: each is named exactly
(guarantee 14), on both databases.

Made from `tables.metadata`, so that a table or a column which somebody adds is tampered with here from then on. What
cannot be held against anything is listed with its reason; nothing else passes.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Engine, LargeBinary, Table, and_, create_engine, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from controller.inventory import tables
from controller.inventory.audit.verifying import Report
from controller.inventory.database import engines
from controller.inventory.ledger import tiles
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.store import Store
from tests.support.filled import fill
from tests.support.inventory import Clock, Database, postgres_database, sqlite_database

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
ATTEMPTS = 40  # at finding a change that the database itself does not refuse (a key that is there already)

UNHELD_COLUMNS = {
    ("blob", "recorded_at"): "the first writer's time; no answer rests on it",
    ("ledger_checkpoint", "signed_at"): "says which checkpoints are kept; what was signed is in the note",
    ("ledger_state", "term"): "whoever takes over raises it; a lower one stops a writer, and forges nothing",
}
"""Columns in which a change cannot be told (docs/design/ledger.md)."""

UNHELD_ROWS = {
    "ledger_checkpoint": "all but the newest: between two, each root is computed anew; only the newest must be there",
}
"""Tables of which a row can be taken out or put in unseen, other than the last by its key."""

UNHELD_ADDITIONS = {
    "leaf": "one behind the last waits for its number, as every new record does; before it: test_ledger.py",
}
"""Tables to which a row can be added that looks like any other."""

ELSEWHERE = dict.fromkeys(
    ("document", "package", "component", "sbom_component", "index_state"),
    "what follows from a change in one is told of others as well: each by itself in test_index_audit.py",
)
"""Tables in which changes are tried elsewhere, and why."""


def _is_all_key(name: str) -> bool:
    """Whether a row says nothing but its key: two of those that are exchanged are the same two."""
    return all(column.primary_key for column in tables.metadata.tables[name].columns)


Row = dict[str, Any]
TABLES = [table.name for table in tables.metadata.sorted_tables if table.name not in ELSEWHERE]


@dataclass
class Filled:
    """An inventory in which every table has rows, and somebody who can write the database."""

    store: Store
    engine: Engine
    names: dict[int, int]  # the ledger's number by a leaf's position

    def rows(self, table: Table) -> list[Row]:
        with self.engine.begin() as connection:
            return [dict(row) for row in connection.execute(select(table)).mappings()]

    def replace(self, table: Table, old: list[Row], new: list[Row]) -> None:
        """Put the new rows where the old ones are."""
        with self.engine.begin() as connection:
            for row in old:
                connection.execute(delete(table).where(_is(table, row)))
            for row in new:
                connection.execute(insert(table).values(row))

    def change(self, table: Table, row: Row, column: str, value: object) -> None:
        with self.engine.begin() as connection:
            done = connection.execute(update(table).where(_is(table, row)).values({column: value}))
            assert done.rowcount == 1

    def verify(self) -> Report:
        return self.store.verify(keys=[SIGNER.key()])

    def name(self, table: Table, row: Row) -> str:
        """How a finding calls this row, or begins to."""
        match table.name:
            case "leaf":
                number = self.names.get(row["position"])
                return f"leaf {row['id']}" if number is None else f"ledger_entry {number}"
            case "blob":
                return f"blob {row['digest']}"
            case "ledger_entry":
                return f"ledger_entry {row['number']}"
            case "ledger_checkpoint":
                return f"ledger_checkpoint {row['size']}"
            case "ledger_state":
                return "ledger_state"
            case "ledger_tile":
                width = tiles.width_of(row["level"], row["number"], len(self.names))
                known = tiles.path(row["level"], row["number"], width) if width else ""
                return known or f"ledger_tile {row['level']} {row['number']}"
            case other:
                return f"table {other}, {' '.join(str(row[column.name]) for column in table.primary_key)}"


def _is(table: Table, row: Mapping[str, Any]) -> Any:
    """This very row: where a table is partitioned, two may differ in nothing but the time."""
    told = [*table.primary_key, *([table.c.decided_at] if table in tables.PARTITIONED else [])]
    return and_(*(column == row[column.name] for column in told))


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Filled once; each test puts back what it changed, and asserts that."""
    database = _database(request, tmp_path_factory.mktemp("tampering"))
    clock = Clock()
    with database.open(clock) as store:
        asyncio.run(fill(database, store, SIGNER, clock))
        engine = create_engine(engines.parse(database.settings.url()))
        with engine.begin() as connection:
            entry = tables.ledger_entry
            names: dict[int, int] = dict(connection.execute(select(entry.c.leaf, entry.c.number)).all())
        yield Filled(store, engine, names)
        engine.dispose()


def _database(request: pytest.FixtureRequest, directory: Path) -> Database:
    if request.param == "sqlite":
        return sqlite_database(directory)
    return postgres_database(request.getfixturevalue("server"))


@pytest.fixture
def chance() -> random.Random:
    seed = secrets.randbits(32)
    print(f"seed {seed}")  # shown where the test fails
    return random.Random(seed)  # noqa: S311 - which cell, not a secret


@pytest.mark.guarantee(14)
def test_guarantee_14_nothing_is_found_where_nothing_was_changed(filled: Filled) -> None:
    report = filled.verify()
    assert (report.findings, report.omitted, report.waiting) == ([], 0, 0)
    assert report.signed == report.entries == len(filled.names)


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("name", TABLES)
def test_guarantee_14_every_table_is_filled_and_so_looked_at(filled: Filled, name: str) -> None:
    """A table that nobody fills here is one of which nobody knows whether a change in it would be found."""
    rows = filled.rows(tables.metadata.tables[name])
    assert len(rows) >= (1 if name == "ledger_state" else 2), f"tests/support/filled.py has to fill table {name}"


def _flipped(column: Column[Any], value: Any, chance: random.Random) -> Any:
    """The value with one bit changed, or its closest neighbour that the column's type can hold."""
    if value is None:
        kind = column.type.python_type
        return {bool: True, int: 1, float: 1.0, str: "x", bytes: b"x"}.get(kind, datetime(2026, 1, 1).astimezone())
    if isinstance(column.type, Boolean) or isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value ^ (1 << chance.randrange(12))
    if isinstance(value, float):
        return value + 1
    if isinstance(value, datetime):
        return value + timedelta(microseconds=1)
    if isinstance(column.type, LargeBinary):
        content = bytearray(value)
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        return bytes(content)
    if not value:
        return "x"
    at = chance.randrange(len(value))
    return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("name", TABLES)
def test_guarantee_14_one_bit_changed_in_any_column_is_named(filled: Filled, name: str, chance: random.Random) -> None:
    """Each column in a row of its own; in the ledger and what it is made of, where one change has several
    consequences, one column at a time."""
    table = tables.metadata.tables[name]
    rows = filled.rows(table)
    columns = [column for column in table.columns if (name, column.name) not in UNHELD_COLUMNS]
    changes = [(column, False) for column in columns]
    changes += [(column, True) for column in columns if any(row[column.name] is not None for row in rows)]
    together = 1 if table in (*tables.TRUTH, *tables.LEDGER) else max(1, len(rows) // 2)
    changes = [(column, emptied) for column, emptied in changes if not emptied or column.nullable]
    for batch in (changes[at : at + together] for at in range(0, len(changes), together)):
        changed: list[tuple[Row, Row]] = []
        try:
            for column, emptied in batch:
                untouched = [row for row in rows if all(row is not one and row is not other for one, other in changed)]
                changed.append(_changed(filled, table, column, untouched, chance, emptied=emptied))
            told = [row for pair in changed for row in _told(filled, table, *pair)]
            _assert_named(filled, table, told, filled.verify(), about=[row for pair in changed for row in pair])
        finally:
            filled.replace(table, [after for _, after in changed], [row for row, _ in changed])


def _told(filled: Filled, table: Table, row: Row, after: Row) -> list[Row]:
    """Which rows a change must name: under the key that it had, and the one that it has now."""
    if filled.name(table, row) == filled.name(table, after) or table is tables.leaf:
        return [row]  # (a leaf without an entry can be one that waits for its number)
    before = [row, *(one for one in filled.rows(table) if _key(table, one) != _key(table, after))]
    gone = [row] if row in _held(table, before) else []
    return [*gone, after]


def _changed(
    filled: Filled, table: Table, column: Column[Any], rows: list[Row], chance: random.Random, *, emptied: bool
) -> tuple[Row, Row]:
    """Change one value of one of these rows; the row as it was, and as it is now."""
    for _ in range(ATTEMPTS):
        row = chance.choice([row for row in rows if not emptied or row[column.name] is not None])
        value = None if emptied else _flipped(column, row[column.name], chance)
        try:
            filled.change(table, row, column.name, value)
        except IntegrityError:
            continue
        return row, row | {column.name: value}
    raise AssertionError(f"no change of {column} was taken")


def _held(table: Table, rows: list[Row]) -> list[Row]:
    """The rows whose absence can be told."""
    return [max(rows, key=lambda row: _key(table, row))] if table.name in UNHELD_ROWS else rows


def _key(table: Table, row: Row) -> list[Any]:
    return [row[column.name] for column in table.primary_key]


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("name", TABLES)
def test_guarantee_14_a_row_that_is_removed_is_named(filled: Filled, name: str, chance: random.Random) -> None:
    """Any, and the last."""
    table = tables.metadata.tables[name]
    rows = sorted(_held(table, filled.rows(table)), key=lambda row: _key(table, row))
    for row in [chance.choice(rows[:-1]), rows[-1]] if len(rows) > 1 else rows:
        filled.replace(table, [row], [])
        try:
            _assert_named(filled, table, [row], filled.verify())
        finally:
            filled.replace(table, [], [row])


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("name", [name for name in TABLES if name != "ledger_state" and not _is_all_key(name)])
def test_guarantee_14_two_rows_that_are_exchanged_are_named(filled: Filled, name: str, chance: random.Random) -> None:
    """Each of the two stands under the other's key."""
    table = tables.metadata.tables[name]
    one, other = _two(table, filled.rows(table), chance)
    keys = [column.name for column in table.primary_key]
    swapped = [
        one | {key: other[key] for key in keys},
        other | {key: one[key] for key in keys},
    ]
    filled.replace(table, [one, other], swapped)
    try:
        _assert_named(filled, table, [one, other], filled.verify())
    finally:
        filled.replace(table, swapped, [one, other])


def _two(table: Table, rows: list[Row], chance: random.Random) -> tuple[Row, Row]:
    """Two that differ in what is held."""
    held = [
        column.name
        for column in table.columns
        if not column.primary_key and (table.name, column.name) not in UNHELD_COLUMNS
    ]
    for _ in range(ATTEMPTS):
        one, other = chance.sample(rows, 2)
        if [one[name] for name in held] != [other[name] for name in held]:
            return one, other
    pytest.skip("all rows of this table are alike but for their keys")


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("name", [name for name in TABLES if name not in {*UNHELD_ROWS, *UNHELD_ADDITIONS}])
def test_guarantee_14_a_row_that_is_added_is_named(filled: Filled, name: str, chance: random.Random) -> None:
    table = tables.metadata.tables[name]
    new = _added(filled, table, chance)
    try:
        _assert_named(filled, table, [new], filled.verify())
    finally:
        filled.replace(table, [new], [])


def _added(filled: Filled, table: Table, chance: random.Random) -> Row:
    """A copy of a row under keys that nobody has."""
    keys = _keys(table)
    rows = filled.rows(table)
    for _ in range(ATTEMPTS):
        row = dict(chance.choice(rows))
        for key in keys:
            row[key.name] = _another(key, row[key.name], rows, chance)
        try:
            filled.replace(table, [], [row])
        except IntegrityError:
            continue
        return row
    raise AssertionError(f"no new row of {table} was taken")


def _keys(table: Table) -> list[Column[Any]]:
    """All columns by which a row is told from the others."""
    unique = [
        column
        for constraint in table.constraints
        if type(constraint).__name__ == "UniqueConstraint"
        for column in constraint.columns
    ]
    indexed = [column for index in table.indexes if index.unique for column in index.columns]
    return list(dict.fromkeys([*table.primary_key, *unique, *indexed]))


def _another(column: Column[Any], value: Any, rows: list[Row], chance: random.Random) -> Any:
    taken = {row[column.name] for row in rows}
    if isinstance(value, int):
        return max(taken) + 1 + chance.randrange(3)
    changed = value
    while changed in taken:
        changed = _flipped(column, changed, chance)
    return changed


def _assert_named(filled: Filled, table: Table, rows: list[Row], report: Report, *, about: Sequence[Row] = ()) -> None:
    """Each of the rows is named, and the first finding is about one of them; in what is derived, each is about one.

    A finding may also be `about` the key that a row had before: it is no longer there.
    """
    names = [filled.name(table, row) for row in rows]
    touched = [*names, *(filled.name(table, row) for row in about)]
    if "document" in table.columns:  # that there is no such document is said of the document first
        touched += [f"table document, {row['document']}" for row in (*rows, *about)]
    found = [finding.where for finding in report.findings]
    said = "\n".join(f"{finding.code} {finding.where}: {finding.message}" for finding in report.findings[:5])
    for name in names:
        assert any(_begins(where, name) for where in found), f"{name} is not named in:\n{said or 'nothing was found'}"
    looked_at = found[:1] if table in (*tables.TRUTH, *tables.LEDGER) else found
    others = [where for where in looked_at if not any(_begins(where, name) for name in touched)]
    assert not others, f"{others} is said to be wrong, and {names} are:\n{said}"


def _begins(where: str, name: str) -> bool:
    return where == name or where.startswith((f"{name},", f"{name} "))
