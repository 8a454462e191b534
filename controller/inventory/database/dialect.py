"""Where the SQL of SQLite and PostgreSQL differs; nobody else asks which of the two it is, but who opens them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    func,
    inspect,
    select,
    text,
    type_coerce,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.types import NULLTYPE

from controller.inventory.database.failures import unavailable

_POD_CLAIMS = 0x61737279  # the space of `claim_pods` among a PostgreSQL server's advisory locks


def bytewise(connection: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """The column, to order by its bytes whatever the database's language: so does Python compare text."""
    if connection.dialect.name == "postgresql" and isinstance(column.type, Text):
        return column.collate("C")
    return column


def compared(column: ColumnElement[str]) -> ColumnElement[str]:
    """The column, to be compared and not to be found by: where few rows are looked at, SQLite would go through all that
    an index has of a common value."""
    return column.concat("")


def stored(connection: Connection, columns: Iterable[Column[Any]]) -> list[ColumnElement[Any]]:
    """The columns as they lie in the database: SQLite keeps whatever was written there, a type notwithstanding."""
    if connection.dialect.name == "postgresql":
        return list(columns)
    return [type_coerce(column, NULLTYPE).label(column.name) for column in columns]


@contextmanager
def any_text(connection: Connection) -> Iterator[None]:
    """Let SQLite give text that is no UTF-8 too, its bytes as surrogates, where it would refuse the whole answer."""
    own: object = connection.connection.dbapi_connection
    if not isinstance(own, sqlite3.Connection):
        yield
        return
    own.text_factory = lambda content: content.decode(errors="surrogateescape")
    try:
        yield
    finally:
        own.text_factory = str


def upsert(connection: Connection, table: Table) -> Any:
    """An INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`, which both databases have alike."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


def take_time(connection: Connection) -> None:
    """Lift the time limit of statements for this transaction: migrations, rebuilds and audits take what they take."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
    info = connection.connection.info  # not `record_info`, which is another one
    info["until"] = float("inf")


def overwrite_deleted(connection: Connection) -> None:
    """Let SQLite write zeros over what this connection deletes from now on: else it stays in the file until it is used
    for something else. (PostgreSQL clears it away by vacuum; its backups and logs are another matter.)"""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete=ON")


def may_write(engine: Engine) -> bool:
    """Whether a connection's own rights let it write. In SQLite a file opened read-only cannot be written."""
    if engine.dialect.name != "postgresql":
        return False
    query = (
        "SELECT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR EXISTS (SELECT 1 FROM pg_class c"
        " WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p')"
        " AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE'))"
    )
    try:
        with engine.begin() as connection:
            return bool(connection.exec_driver_sql(query).scalar_one())
    except SQLAlchemyError as exc:
        raise unavailable(exc) from exc


def take_part(connection: Connection) -> None:
    """Before anything is appended: this transaction appends, and whoever wants that nobody does waits for its end.

    By a lock of `ledger_state`, of one row, that who may only read cannot have. One of `leaf` would be refused for as
    long as the server vacuums that, which takes hours once it is large, and begins anew whenever it is broken off. For
    replicas of older versions the database does it, as late as a leaf is inserted (migration 0026). (In SQLite a
    writing transaction is alone.)
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE ledger_state IN ROW SHARE MODE")


def stop_appends(connection: Connection, *, patience: float | None = None) -> None:
    """Let nobody append a leaf, number or drop one, or keep evidence, until this transaction ends: to be asked before
    all else in it.

    Who waits for that keeps all who come after him waiting too: for `patience` seconds at most, if it is given. (In
    SQLite the writing transaction itself does that.)
    """
    if connection.dialect.name == "postgresql":
        if patience is not None:
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = {int(patience * 1000)}")
        connection.exec_driver_sql("LOCK TABLE ledger_state IN EXCLUSIVE MODE")


def claim_pods(connection: Connection, pods: Iterable[str]) -> None:
    """Wait for whoever else records something about these pods, and let others wait until this transaction ends.

    (In SQLite the writing transaction itself does that.) Claims are taken in one order, after all that is unique.
    """
    if connection.dialect.name == "postgresql":
        keys = sorted({int.from_bytes(hashlib.sha256(pod.encode()).digest()[:4], signed=True) for pod in pods})
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(%(space)s, key) FROM unnest(%(keys)s::int[]) AS key",
            {"space": _POD_CLAIMS, "keys": keys},
        )


def revision(connection: Connection) -> str | None:
    """The newest migration that this database has; None for one that has no tables yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT max(version_num) FROM alembic_version")).scalar()


def rows_at_once(engine: Engine) -> int:
    """How many rows that can wait are written in one transaction: on SQLite decisions wait for it meanwhile."""
    return 500 if engine.dialect.name == "sqlite" else 2000


def claim(connection: Connection, name: int) -> bool:
    """Whether this connection alone now does what has this name, until it gives it back, or is closed.

    An SQLite file belongs to one process anyway.
    """
    if connection.dialect.name != "postgresql":
        return True
    return bool(connection.execute(select(func.pg_try_advisory_lock(name))).scalar())


def give_back(connection: Connection, name: int) -> None:
    """Let others do it."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_unlock(name)))
