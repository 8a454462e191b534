"""The inventory's INSERTs, each made into SQL once: what a decision recorded alone costs is mostly that making.

On SQLite the finished text goes straight to the driver, within SQLAlchemy's transaction: the database is part of this
process, so the way there is all that there is to save (three quarters of it). PostgreSQL is asked through SQLAlchemy,
which sends many rows in few messages.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect, Table, case
from sqlalchemy.exc import DBAPIError

from controller.inventory.dialect import upsert

Row = Mapping[str, Any]


class Inserting:
    """An INSERT into one table of rows that name all its columns, except one that the database numbers itself.

    `finish` adds what follows the values: ON CONFLICT, RETURNING.
    """

    def __init__(self, table: Table, finish: Callable[[Any], Any] = lambda statement: statement) -> None:
        self._table = table
        self._finish = finish
        self._statements: dict[str, Any] = {}
        self._direct: _Direct | None = None

    def run(self, connection: Connection, rows: Sequence[Row]) -> Sequence[Any]:
        """Insert the rows, in their order, in the caller's transaction. Returns what the database returns.

        Raises `sqlalchemy.exc.DBAPIError`, whichever way the rows go.
        """
        if connection.dialect.name == "sqlite":
            if self._direct is None:
                self._direct = _Direct(self._statement(connection), self._table, connection.dialect)
            return self._direct.run(connection, rows)
        result = connection.execute(self._statement(connection), rows)
        return result.all() if result.returns_rows else ()

    def _statement(self, connection: Connection) -> Any:
        name = connection.dialect.name
        if name not in self._statements:
            self._statements[name] = self._finish(upsert(connection, self._table))
        return self._statements[name]


def keeping_earliest(table: Table) -> Inserting:
    """An INSERT into a table whose rows have two times: a row that is there already keeps the earlier of each."""

    def finish(statement: Any) -> Any:
        def earlier(name: str) -> ColumnElement[Any]:
            return case((statement.excluded[name] < table.c[name], statement.excluded[name]), else_=table.c[name])

        return statement.on_conflict_do_update(
            index_elements=list(table.primary_key), set_={name: earlier(name) for name in ("decided_at", "recorded_at")}
        )

    return Inserting(table, finish)


class _Direct:
    """A statement's text, and how a row becomes its parameters, for SQLite's own driver."""

    def __init__(self, statement: Any, table: Table, dialect: Dialect) -> None:
        columns = [column for column in table.columns if column is not table.autoincrement_column]
        compiled = statement.compile(dialect=dialect, column_keys=[column.name for column in columns])
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
