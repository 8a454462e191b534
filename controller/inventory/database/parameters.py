"""Many values in one statement: as a table, a list, or one parameter, in the way of each database.

However many they are, a statement has few parameters: its text stays the same, so that it is made and planned once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Integer,
    LargeBinary,
    Select,
    Subquery,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeDecorator


def present(connection: Connection, column: Column[Any], values: Collection[str]) -> set[str]:
    """Those of the values that the column has: a question of one form however many they are, so made up once."""
    if not values:
        return set()
    table, name = column.table.name, column.name
    if connection.dialect.name == "postgresql":
        query = f"SELECT DISTINCT {name} FROM {table} WHERE {name} = ANY(%(values)s)"  # noqa: S608 - the schema's names
        return set(connection.exec_driver_sql(query, {"values": sorted(values)}).scalars())
    query = f"SELECT DISTINCT {name} FROM {table} WHERE {name} IN (SELECT value FROM json_each(?))"  # noqa: S608
    return set(connection.exec_driver_sql(query, (json.dumps(sorted(values)),)).scalars())


def ids_of(connection: Connection, column: Column[Any], values: Sequence[Any]) -> dict[Any, int]:
    """The `id` of each row whose column holds one of the values, which are few; those without a row are not in it.

    Said in the databases' own words: what SQLAlchemy makes of a list of values costs more than looking for them.
    """
    if not values:
        return {}
    table = column.table
    if connection.dialect.name == "postgresql":
        kind = "bytea" if isinstance(column.type, LargeBinary) else "text"
        wanted = f"{column.name} = ANY(%(values)b::{kind}[])"  # binary: bytes as text are hex, and quoted
        query = f"SELECT {column.name}, id FROM {table.name} WHERE {wanted}"  # noqa: S608 - our own names
        return {row[0]: row[1] for row in connection.exec_driver_sql(query, {"values": list(values)})}
    marks = ",".join("?" * len(values))
    query = f"SELECT {column.name}, id FROM {table.name} WHERE {column.name} IN ({marks})"  # noqa: S608 - our own names
    return dict(connection.connection.cursor().execute(query, list(values)).fetchall())


def pairs(connection: Connection, values: Sequence[tuple[int, str]]) -> Subquery:
    """A table of these numbers and texts, in its columns `number` and `text`: few parameters, however many they are."""
    if connection.dialect.name == "postgresql":
        columns = zip(*values, strict=True) if values else ([], [])
        numbers, texts = (list(column) for column in columns)
        table = func.unnest(cast(numbers, postgresql.ARRAY(Integer)), cast(texts, postgresql.ARRAY(Text)))
        return select(table.table_valued("number", "text").render_derived()).subquery()
    each = func.json_each(json.dumps(list(values))).table_valued("value").c.value
    number, text_ = func.json_extract(each, "$[0]"), func.json_extract(each, "$[1]")
    return select(number.label("number"), text_.label("text")).subquery()


def texts(connection: Connection, names: Sequence[str], rows: Sequence[Sequence[str]]) -> CTE:
    """A table of these texts, in columns of these names: few parameters, however many they are."""
    given = as_texts(connection.dialect.name, names, rows)
    return listed_texts(connection.dialect.name, names, lambda name, of: literal(given[name], of))


def listed_texts(kind: str, names: Sequence[str], value: Callable[[str, Any], ColumnElement[Any]] | None = None) -> CTE:
    """The same in a database of this kind, of texts that are parameters (`as_texts`), unless `value` says otherwise."""
    value = value or (lambda name, of: bindparam(name, type_=of))
    if kind == "postgresql":
        array = postgresql.ARRAY(Text)
        columns = [cast(value(f"texts_{name}", array), array) for name in names]
        return select(
            func.unnest(*columns).table_valued(*(column(name, Text) for name in names)).render_derived()
        ).cte()
    each = func.json_each(value("texts", Text())).table_valued("value").c.value
    return select(*(func.json_extract(each, f"$[{n}]", type_=Text).label(name) for n, name in enumerate(names))).cte()


def as_texts(kind: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """The parameters of `listed_texts`."""
    if kind == "postgresql":
        return {f"texts_{name}": [row[number] for row in rows] for number, name in enumerate(names)}
    return {"texts": json.dumps([list(row) for row in rows])}


def among(connection: Connection, column: ColumnElement[Any], values: Sequence[Any]) -> ColumnElement[bool]:
    """Whether the column holds one of these numbers or texts: one parameter, however many they are."""
    return _is_one_of(connection.dialect.name, column, literal(json.dumps(list(values)), Text()))


def listed(kind: str, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """Whether the column holds one of the values of this parameter (`as_list`), in a database of this kind."""
    return _is_one_of(kind, column, bindparam(name, type_=_Listed()))


def sifted(kind: str, column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """The same for a thousand values and more, of a column by which rows are not to be found.

    PostgreSQL hashes a subquery; a list in a statement that is planned for any parameters it compares one by one. Asked
    whether it is true, it makes no join of it, for which it would read to the end.
    """
    plain = column.concat("") if isinstance(column.type, Text) else column + 0
    values = bindparam(name, type_=_Listed())
    if kind != "postgresql":
        return _is_one_of(kind, plain, values)
    return plain.in_(_each(kind, column, values)).is_(True)


def as_list(values: Sequence[Any]) -> str:
    """A parameter of `listed` and `sifted`, written down once: SQLite is given it in each part of a statement."""
    return json.dumps(list(values))


class _Listed(TypeDecorator[Any]):
    """Numbers or texts as one parameter, in JSON: to write down an array of texts takes the driver much longer."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[Any] | str | None, dialect: Dialect) -> str:  # noqa: ARG002 - the base's
        """To the database."""
        return value if isinstance(value, str) else as_list(value or ())


def _is_one_of(kind: str, column: ColumnElement[Any], values: ColumnElement[Any]) -> ColumnElement[bool]:
    """PostgreSQL gets the list as one that it does not know when it plans: of a thousand that it knows it asks of each
    how many rows have it, which takes longer than to look them up."""
    each = _each(kind, column, values)
    if kind != "postgresql":
        return column.in_(each)
    return column == any_(func.array(each.scalar_subquery(), type_=postgresql.ARRAY(column.type)))


def _each(kind: str, column: ColumnElement[Any], values: ColumnElement[Any]) -> Select[Any]:
    """The values of a list in JSON, to be compared with this column."""
    if kind != "postgresql":
        return select(func.json_each(values).table_valued("value").c.value)
    each = func.json_array_elements_text(cast(values, postgresql.JSON)).table_valued("value").render_derived()
    return select(each.c.value if isinstance(column.type, Text) else cast(each.c.value, column.type))
