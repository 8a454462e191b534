"""A SELECT that is asked with every record: made once, and of SQLite asked by its own driver.

For an ordinary question what SQLAlchemy does about it is nothing beside the answer. What a decision asks is answered in
20 µs, mostly with nothing, and there making the statement takes a millisecond, and going over a made one a quarter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Dialect, Select

from controller.inventory.database.failures import as_sqlalchemy_has_it

Rows = Sequence[Sequence[Any]]


class Selecting:
    """A SELECT with parameters (`bindparam`). `make` is told the kind of database (`Dialect.name`)."""

    def __init__(self, make: Callable[[str], Select[Any]]) -> None:
        self._make = make
        self._ways: dict[str, _Way] = {}

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> Rows:
        """The rows, their values as the columns' types have them. Raises `sqlalchemy.exc.DBAPIError`."""
        name = connection.dialect.name
        way = self._ways.get(name)
        if way is None:
            statement = self._make(name)
            way = _Direct(statement, connection.dialect) if name == "sqlite" else _Usual(statement)
            self._ways[name] = way
        return way.rows(connection, parameters)


class _Way(Protocol):
    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> Rows: ...


class _Usual:
    def __init__(self, statement: Select[Any]) -> None:
        self._statement = statement

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> Rows:
        return connection.execute(self._statement, dict(parameters)).all()


class _Direct:
    """The statement's text, and what becomes of parameters and values, for SQLite's own driver."""

    def __init__(self, statement: Select[Any], dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self._text = str(compiled)
        self._own = dict(compiled.params)  # constants of the statement, which are parameters as well
        self._places = [
            (name, compiled.binds[name].type.dialect_impl(dialect).bind_processor(dialect))
            for name in compiled.positiontup
        ]
        columns: Sequence[Any] = list(statement.selected_columns)
        readers = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._readers = [(index, read) for index, read in enumerate(readers) if read is not None]

    def rows(self, connection: Connection, parameters: Mapping[str, Any]) -> Rows:
        given = {**self._own, **parameters}
        values = [given[name] if write is None else write(given[name]) for name, write in self._places]
        cursor = connection.connection.cursor()
        try:
            with as_sqlalchemy_has_it(connection, self._text):
                found = cursor.execute(self._text, values).fetchall()
        finally:
            cursor.close()
        return [self._read(row) for row in found] if self._readers else found

    def _read(self, row: Sequence[Any]) -> Sequence[Any]:
        values = list(row)
        for index, read in self._readers:
            values[index] = read(values[index])
        return values
