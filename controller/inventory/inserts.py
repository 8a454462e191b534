"""The inventory's INSERTs, each made into SQL once: what a decision recorded alone costs is mostly that making.

On SQLite the finished text goes straight to the driver, within SQLAlchemy's transaction: the database is part of this
process, so the way there is all that there is to save (three quarters of it). PostgreSQL is sent all rows of a group in
one statement that never changes, an array for each column: it is prepared once, and a row costs a sixth of what it
costs as a message of its own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Dialect, String, Table, Text, bindparam, case, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from controller.inventory.dialect import upsert

Row = Mapping[str, Any]


class Inserting:
    """An INSERT into one table of rows that name all its columns, except one that the database numbers itself.

    `finish` adds what follows the values: ON CONFLICT, RETURNING.
    """

    def __init__(self, table: Table, finish: Callable[[Any], Any] = lambda statement: statement) -> None:
        self._table = table
        self._finish = finish
        self._ways: dict[str, _Way] = {}

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        """Insert the rows, in their order, in the caller's transaction. Returns what the database returns.

        Raises `sqlalchemy.exc.DBAPIError`, whichever way the rows go.
        """
        name = connection.dialect.name
        way = self._ways.get(name)
        if way is None:
            make = _Direct if name == "sqlite" else _Arrays
            way = self._ways[name] = make(
                upsert(connection, self._table), self._finish, self._table, connection.dialect
            )
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


class _Way(Protocol):
    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]: ...


def _columns(table: Table) -> list[Any]:
    return [column for column in table.columns if column is not table.autoincrement_column]


class _Direct:
    """A statement's text, and how a row becomes its parameters, for SQLite's own driver."""

    def __init__(self, statement: Any, finish: Callable[[Any], Any], table: Table, dialect: Dialect) -> None:
        compiled = finish(statement).compile(dialect=dialect, column_keys=[column.name for column in _columns(table)])
        names: list[str] = compiled.positiontup
        processors = [table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names]
        self._text = str(compiled)
        self._pick = itemgetter(*names)
        self._processors = [(index, process) for index, process in enumerate(processors) if process is not None]
        self._returns = bool(compiled.effective_returning)

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        cursor = connection.connection.cursor()
        try:
            parameters = map(self._parameters, rows)
            if not self._returns:
                cursor.executemany(self._text, parameters)  # type: ignore[arg-type]  # SQLite's takes any iterable
                return ()
            returned: list[Any] = []
            for values in parameters:
                cursor.execute(self._text, values)
                returned += cursor.fetchall()
            return returned
        except sqlite3.Error as exc:  # as SQLAlchemy would have it: its callers know no other
            raise DBAPIError.instance(
                self._text, None, exc, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
            ) from exc
        finally:
            cursor.close()

    def _parameters(self, row: Row) -> Sequence[Any]:
        values = list(self._pick(row))
        for index, process in self._processors:
            values[index] = process(values[index])
        return values


class _Arrays:
    """A statement of PostgreSQL that inserts any number of rows, in their order: an array for each column."""

    def __init__(self, statement: Any, finish: Callable[[Any], Any], table: Table, dialect: Dialect) -> None:
        columns = _columns(table)
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
