"""The inventory's INSERTs, each made into SQL once: what a decision recorded alone costs is mostly that making.

On SQLite the finished text goes straight to the driver, within SQLAlchemy's transaction: the database is part of this
process, so the way there is all that there is to save (three quarters of it). PostgreSQL is sent all rows of a group in
one statement that never changes, an array for each column: it is prepared once, and a row costs a sixth of what it
costs as a message of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    LargeBinary,
    String,
    Table,
    Text,
    bindparam,
    case,
    cast,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from controller.inventory.database.dialect import upsert
from controller.inventory.database.failures import as_sqlalchemy_has_it

SIZES = (256, 64, 16, 4, 1)
"""Rows in one statement to SQLite, the largest first: with 30 columns within what any SQLite takes (32,766 values)."""

Row = Mapping[str, Any]


class Inserting:
    """An INSERT into one table of rows that name all its columns, except one that the database numbers itself.

    `finish` adds what follows the values: ON CONFLICT, RETURNING. `numbered`: the rows name that column too.
    """

    def __init__(
        self, table: Table, finish: Callable[[Any], Any] = lambda statement: statement, *, numbered: bool = False
    ) -> None:
        self._table = table
        self._finish = finish
        self._columns = [column for column in table.columns if numbered or column is not table.autoincrement_column]
        self._ways: dict[str, _Way] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        """Insert the rows, in their order, in the caller's transaction. Returns what the database returns.

        Raises `sqlalchemy.exc.DBAPIError`, whichever way the rows go.
        """
        name = connection.dialect.name
        way = self._ways.get(name)
        if way is None:
            make = _Direct if name == "sqlite" else _Arrays
            statement = upsert(connection, self._table)
            way = self._ways[name] = make(statement, self._finish, self._columns, connection.dialect)
        return way.run(connection, rows)


def keeping_earliest(table: Table) -> Inserting:
    """An INSERT into a table whose rows have two times: a row that is there already keeps the earlier of each.

    One that has both already is not written again.
    """

    def finish(statement: Any) -> Any:
        def earlier(name: str) -> ColumnElement[Any]:
            return case((statement.excluded[name] < table.c[name], statement.excluded[name]), else_=table.c[name])

        times = ("decided_at", "recorded_at")
        is_earlier = (statement.excluded[name] < table.c[name] for name in times)
        return statement.on_conflict_do_update(
            index_elements=list(table.primary_key),
            set_={name: earlier(name) for name in times},
            where=next(is_earlier) | next(is_earlier),
        )

    return Inserting(table, finish)


class Appending:
    """An INSERT into a table that numbers its rows itself, and that leaves out those that are there already.

    `name` is a unique column. On SQLite the numbers are given here, where the transaction has the only writing lock: to
    have them returned, a row at a time, takes the interpreter's lock as often, from an event loop that is at work.
    """

    def __init__(self, table: Table, name: str) -> None:
        (number,) = (column.name for column in table.primary_key)
        self._name = name
        self._number = number
        self._numbered = Inserting(table, lambda statement: statement.on_conflict_do_nothing(), numbered=True)
        self._returning = Inserting(
            table, lambda statement: statement.on_conflict_do_nothing().returning(table.c[name], table.c[number])
        )
        # The largest number that a row has, or ever had: what AUTOINCREMENT goes on from.
        had = f"SELECT seq FROM sqlite_sequence WHERE name = '{table.name}'"  # noqa: S608 - names of our own
        has = f"SELECT max({number}) FROM {table.name}"  # noqa: S608
        self._last = f"SELECT max(coalesce(({had}), 0), coalesce(({has}), 0))"
        self._after = f"SELECT {name}, {number} FROM {table.name} WHERE {number} > ?"  # noqa: S608

    def run(self, connection: Connection, rows: Sequence[Row]) -> dict[str, int]:
        """Insert the rows, in their order, in the caller's transaction. Returns the numbers of those that are new.

        Raises `sqlalchemy.exc.DBAPIError`.
        """
        if connection.dialect.name != "sqlite":
            return dict(self._returning.run(connection, rows))
        driver: Any = connection.connection.dbapi_connection
        with as_sqlalchemy_has_it(connection, self._last):
            ((last,),) = driver.execute(self._last).fetchall()
        before = driver.total_changes
        self._numbered.run(connection, [{**row, self._number: last + n} for n, row in enumerate(rows, start=1)])
        if driver.total_changes - before == len(rows):
            return {row[self._name]: last + n for n, row in enumerate(rows, start=1)}
        with as_sqlalchemy_has_it(connection, self._after):
            return dict(driver.execute(self._after, (last,)).fetchall())


class _Way(Protocol):
    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]: ...


class _Direct:
    """A statement's text, and how rows become its parameters, for SQLite's own driver: many rows a statement.

    The interpreter's lock is let go for as long as a statement runs, and had back only once the event loop has gone to
    sleep, or for 5 ms has not. So a statement for each row had the two take turns; in one for hundreds the database
    works on one core while the event loop does on another. Each size is a text of its own, that the driver keeps
    prepared: hence few sizes.

    `OR FAIL`: what a failed statement did already is undone with the caller's transaction. Else SQLite would put aside
    each page before it changes it, in a file of its own, to undo the statement alone.
    """

    def __init__(
        self, statement: Any, finish: Callable[[Any], Any], columns: Sequence[Column[Any]], dialect: Dialect
    ) -> None:
        kinds = {column.name: column.type for column in columns}
        compiled = finish(statement).compile(dialect=dialect, column_keys=list(kinds))
        names: list[str] = compiled.positiontup
        processors = [kinds[name].dialect_impl(dialect).bind_processor(dialect) for name in names]
        row = f"({', '.join('?' * len(names))})"
        text = str(compiled).replace("INSERT INTO", "INSERT OR FAIL INTO", 1)
        before, values, after = text.partition(f"VALUES {row}")
        self._returns = bool(compiled.effective_returning)
        # Rows of which something is returned are first put aside: 64 leaves in memory, 256 in a file.
        sizes = SIZES[1:] if self._returns else SIZES
        self._texts = {size: f"{before}{values}{f', {row}' * (size - 1)}{after}" for size in sizes}
        self._width = len(names)
        self._pick = itemgetter(*names)
        self._processors = [
            (index, process)
            for index, (name, process) in enumerate(zip(names, processors, strict=True))
            if process is not None and not isinstance(kinds[name], LargeBinary)  # bytes go as they are
        ]

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        cursor = connection.connection.cursor()
        returned: list[Any] = []
        try:
            with as_sqlalchemy_has_it(connection, self._texts[1]):
                start = 0
                for size, text in self._texts.items():
                    while len(rows) - start >= size:
                        cursor.execute(text, self._parameters(rows[start : start + size]))
                        if self._returns:
                            returned += cursor.fetchall()
                        start += size
        finally:
            cursor.close()
        return returned

    def _parameters(self, rows: Sequence[Row]) -> Sequence[Any]:
        """The values of all rows, one after another."""
        values: list[Any] = []
        for row in rows:
            values += self._pick(row)
        for index, process in self._processors:
            column = values[index :: self._width]
            known = {value: process(value) for value in set(column)}  # the times of a group are few
            values[index :: self._width] = map(known.__getitem__, column)
        return values


class _Arrays:
    """A statement of PostgreSQL that inserts any number of rows, in their order: an array for each column."""

    def __init__(
        self, statement: Any, finish: Callable[[Any], Any], columns: Sequence[Column[Any]], dialect: Dialect
    ) -> None:
        self._names = [(column.name, f"_{column.name}") for column in columns]
        arrays = [cast(bindparam(f"_{c.name}"), ARRAY(_element(c.type.dialect_impl(dialect)))) for c in columns]
        rows = select(func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived())
        whole = finish(statement.from_select([column.name for column in columns], rows))
        text = str(whole.compile(dialect=dialect))
        for _, parameter in self._names:  # binary: text would have to be quoted, and bytes be written in hex
            text = text.replace(f"%({parameter})s", f"%({parameter})b")
        self._text = text

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        arrays = {parameter: [row[name] for row in rows] for name, parameter in self._names}
        result = connection.exec_driver_sql(self._text, arrays)
        return result.all() if result.returns_rows else ()


def _element(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type of an array's elements: the column's, but for a collation, which values have none of."""
    return Text() if isinstance(kind, String) else kind
