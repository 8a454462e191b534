"""A question of one's own to PostgreSQL: as a role that may read the views and nothing else (`database_query_url`).

What that role may do is looked at before each question, and one that may do more gets no answer: the server's rights
are the wall, not this code. The transaction is read only, bounded in time and memory, and ends before the answer is
told. Each row is measured by the server before it is sent.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError

from controller.errors import ConfigurationError, InputError, Unavailable
from controller.inventory.database.engines import CONNECT_TIMEOUT
from controller.inventory.querying import views
from controller.inventory.querying.answer import Answer, Bounds, collect

MAX_ROW = 1024 * 1024  # bytes of one row, as text
WORK_MEMORY = "16MB"  # for one sort or hash; what needs more goes to a file, bounded by the role's temp_file_limit
_TOO_LARGE = "assay: a row is too large: "
_CANCELLED, _TOO_MUCH = "57014", ("53", "54")

# Whether this role may do more than read the views: own or read a table, or write anything.
_WIDE = """
SELECT (SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
        FROM pg_catalog.pg_roles WHERE rolname = current_user)
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
        AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
        AND (has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
            OR (has_any_column_privilege(c.oid, 'SELECT') AND NOT (c.relkind = 'v' AND c.relname = ANY(%s)))))
"""


def ask(url: URL, sql: str, bounds: Bounds, *, explain: bool = False) -> Answer:
    """The answer. Raises `InputError` (`QueryRefused`, `QueryMalformed`, `QueryTooCostly`), `Unavailable`,
    `ConfigurationError` (`QueryRoleTooWide`, `DriverMissing`)."""
    statement = f"EXPLAIN {sql}" if explain else _measured(sql)
    with _opened(url, bounds.seconds) as connection, _translated():
        cursor = connection.cursor()
        # One row at a time, and by the extended protocol, which takes one statement only.
        rows = cursor.stream(statement)
        first = next(rows, None)
        if first is None:  # then the stream does not tell its columns
            cursor = connection.execute(f"SELECT * FROM (\n{sql}\n) AS assay_asked LIMIT 0", prepare=True)  # noqa: S608
        columns = [column.name for column in cursor.description or ()]
        return collect(columns, _from(first, rows), bounds)


def _measured(sql: str) -> str:
    """The question in a frame that fails for a row that is too large, at the server."""
    return (
        f"SELECT * FROM (\n{sql}\n) AS assay_asked WHERE CASE WHEN octet_length(assay_asked::text) > {MAX_ROW}"  # noqa: S608 - checked
        f" THEN CAST('{_TOO_LARGE}' || octet_length(assay_asked::text) AS integer) = 0 ELSE true END"
    )


def _from(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
        yield from rest


@contextmanager
def _opened(url: URL, seconds: float) -> Iterator[Any]:
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT}
    try:
        engine = create_engine(url, connect_args=arguments, poolclass=NullPool, hide_parameters=True)
    except (ImportError, NoSuchModuleError) as exc:
        raise ConfigurationError("DriverMissing", "PostgreSQL needs psycopg: install assay[postgresql]") from exc
    try:
        pooled = engine.raw_connection()
    except SQLAlchemyError as exc:
        raise Unavailable("DatabaseUnavailable", "the database did not answer") from exc
    connection: Any = pooled.driver_connection
    try:
        with _translated():
            for setting, value in (
                ("statement_timeout", str(int(seconds * 1000))),
                ("lock_timeout", str(int(seconds * 1000))),
                ("work_mem", WORK_MEMORY),
                ("hash_mem_multiplier", "1"),
                ("max_parallel_workers_per_gather", "0"),
                ("standard_conforming_strings", "on"),
                ("TimeZone", "UTC"),
            ):
                connection.execute("SELECT set_config(%s, %s, false)", (setting, value))
            connection.commit()
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            (wide,) = connection.execute(_WIDE, (sorted(views.NAMES),)).fetchone()
        if wide:
            raise ConfigurationError(
                "QueryRoleTooWide",
                "database_query_url may do more than read the views: `assay inventory roles` prints one that may not",
            )
        yield connection
    finally:
        connection.close()
        pooled.invalidate()
        engine.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    import psycopg

    try:
        yield
    except psycopg.Error as exc:
        state, said = exc.sqlstate or "", (exc.diag.message_primary or "")[:500]
        if state == _CANCELLED:
            raise InputError("QueryTooCostly", "the question took too long: narrow it by time or namespace") from exc
        if state.startswith(_TOO_MUCH) or _TOO_LARGE in said:
            raise InputError("QueryTooCostly", "the question makes a row or a sort that is too large") from exc
        if state in {"42501", "25006"}:
            raise InputError("QueryRefused", f"the question cannot be asked: {said}; it may read the views") from exc
        if state[:2] in {"42", "22", "0A", "21", "44", "2F"}:
            raise InputError("QueryMalformed", f"the database does not understand the question: {said}") from exc
        raise Unavailable("DatabaseUnavailable", f"the database did not answer ({type(exc).__name__} {state})") from exc
