"""How a database is opened: to write, to derive what can be made again, to read, or for the length of one question.

The writing connection is set up so that a commit that returns is on disk (SQLite: WAL with `synchronous=FULL`;
PostgreSQL: `synchronous_commit` at least `on`, and a server that runs with `fsync=off` is refused). Reading connections
cannot write, see one state for the length of a transaction, and every statement of theirs has a time limit.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, QueuePool, create_engine, event, make_url
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from controller.errors import ConfigurationError
from controller.inventory.database.failures import as_sqlalchemy_has_it
from controller.inventory.database.turns import WritingConnection, turns_of

READ_TIMEOUT = 5.0  # seconds that one read may take: bounds what a costly question does to the others
POOL_TIMEOUT = 2.0  # seconds that a reader waits for a connection
BUSY_TIMEOUT = 5.0  # seconds that SQLite waits for another process's lock (a backup, a checkpoint)
CONNECT_TIMEOUT = 5  # seconds for one connection attempt to PostgreSQL
WRITE_TIMEOUT = 10.0  # seconds that one statement of a group may take, waiting for locks included
READ_HANGS = 15.0  # seconds after which a reading transaction's connection to PostgreSQL is cut
WRITE_HANGS = 60.0  # the same of a writing one, which may have to bring what lay in the spool over a slow line
WATCH_INTERVAL = 1.0  # seconds between two looks for such
CHECKPOINT_PAGES = 12_000  # WAL pages (47 MiB) after which who commits copies what `backfill` has not copied yet
MAX_WAL_BYTES = 64 * 1024 * 1024  # size to which a WAL that grew under load is cut back
WRITING_CACHE = 16 * 1024  # KiB of pages that SQLite keeps for who writes: names by chance go to many of them
KEEPING_CACHE = 2 * 1024  # the same for who writes in order, or hardly ever
PROGRESS_STEPS = 10_000  # SQLite instructions between two looks at the clock


_EXPECTED = "the database must be sqlite:///FILE or postgresql+psycopg://HOST/NAME"


def parse(url: str) -> URL:
    """The database's address. Raises `ConfigurationError` (`DatabaseUrlInvalid`), which never quotes the URL."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        raise ConfigurationError("DatabaseUrlInvalid", _EXPECTED) from exc
    backend = parsed.drivername.partition("+")[0]
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        raise ConfigurationError("DatabaseUrlInvalid", _EXPECTED)
    if not parsed.database or parsed.database == ":memory:" or parsed.query:
        raise ConfigurationError(
            "DatabaseUrlInvalid", "an SQLite database is named sqlite:///FILE, without parameters: memory keeps nothing"
        )
    return parsed


def sqlite_file(url: URL) -> Path | None:
    """The file of an SQLite database, without symbolic links, so that it has one name; None for PostgreSQL."""
    return Path(url.database or "").resolve() if url.get_backend_name() == "sqlite" else None


def writing_engine(url: URL, *, cache: int = WRITING_CACHE, connections: int = 1) -> Engine:
    """A connection whose commits are durable when they return; to PostgreSQL as many as are asked for.

    `cache` bounds the pages that SQLite keeps for it, in KiB: it keeps them until `let_go`, or for good.
    Raises `ConfigurationError` (`DriverMissing`).
    """
    file = sqlite_file(url)
    if file is not None:
        return _sqlite_engine(lambda: _open_for_writing(file, cache), size=1)
    engine = _postgresql_engine(url, size=connections, hangs_after=WRITE_HANGS)
    event.listen(engine, "connect", _prepare_for_writing)
    return engine


def deriving_engine(url: URL) -> Engine:
    """One connection for what can be made again: its last commits may be lost with the machine, none is ever half.

    Raises `ConfigurationError` (`DriverMissing`).
    """
    engine = writing_engine(url)

    @event.listens_for(engine, "connect")
    def hurry(connection: Any, _record: Any) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.execute("PRAGMA synchronous=NORMAL")
            return
        with _configuring(connection):
            connection.execute("SET synchronous_commit = off")

    return engine


def reading_engine(url: URL, *, connections: int) -> Engine:
    """A small pool of connections that cannot write. Raises `ConfigurationError` (`DriverMissing`)."""
    file = sqlite_file(url)
    if file is None:
        engine = _postgresql_engine(url, size=connections, hangs_after=READ_HANGS)
        event.listen(engine, "connect", _prepare_for_reading)
        return engine
    engine = _sqlite_engine(lambda: _open_for_reading(file), size=connections)

    @event.listens_for(engine, "connect")
    def limit(connection: Any, record: Any) -> None:
        record.info["until"] = float("inf")
        connection.set_progress_handler(lambda: time.monotonic() > record.info["until"], PROGRESS_STEPS)

    @event.listens_for(engine, "checkout")
    def start(_connection: Any, record: Any, _proxy: Any) -> None:
        record.info["until"] = time.monotonic() + READ_TIMEOUT

    return engine


def let_go(engine: Engine) -> None:
    """Give back the pages that SQLite keeps for who writes, and will not for a while."""
    if engine.dialect.name == "sqlite":
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA shrink_memory").close()
        finally:
            connection.close()


def scratch_engine(file: Path) -> Engine:
    """A database for the length of one question: a new file that may be lost at any moment."""
    engine = _sqlite_engine(lambda: sqlite3.connect(file, isolation_level=None, check_same_thread=False), size=1)

    @event.listens_for(engine, "connect")
    def hurry(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=OFF")

    return engine


def _sqlite_engine(connect: Callable[[], sqlite3.Connection], *, size: int) -> Engine:
    engine = create_engine(
        "sqlite://",
        creator=connect,
        poolclass=QueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_TIMEOUT,
        hide_parameters=True,
    )

    engine.dialect.statement_compiler = _Compiler

    @event.listens_for(engine, "begin")
    def started(connection: Connection) -> None:
        own: Any = connection.connection.dbapi_connection
        begin = "BEGIN IMMEDIATE" if isinstance(own, WritingConnection) else "BEGIN"
        # By the driver itself: what SQLAlchemy does about a statement costs four times as much.
        with (
            as_sqlalchemy_has_it(connection, begin),
            own.turn() if isinstance(own, WritingConnection) else nullcontext(),
        ):
            own.execute(begin)

    return engine


class _Compiler(SQLiteCompiler):
    """Writes hints about a table (`INDEXED BY`) behind its name, as SQLite has them; SQLAlchemy leaves them out."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:  # noqa: ARG002 - the base's signature
        """The hint as it stands in FROM."""
        return text


def _open_for_writing(file: Path, cache: int) -> sqlite3.Connection:
    connection = sqlite3.connect(
        file, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT, factory=WritingConnection
    )
    connection.turns, connection.patience = turns_of(file), BUSY_TIMEOUT
    try:
        (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
        if mode != "wal":
            raise ConfigurationError("DatabaseNotDurable", f"the file system of {file} cannot hold SQLite's WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit={MAX_WAL_BYTES}")
        connection.execute(f"PRAGMA cache_size={-cache}")
    except BaseException:
        connection.close()
        raise
    return connection


def _open_for_reading(file: Path) -> sqlite3.Connection:
    address = f"file:{quote(str(file))}?mode=ro"
    connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False, timeout=POOL_TIMEOUT)
    connection.execute("PRAGMA query_only=ON")
    return connection


def _cut_what_hangs(engine: Engine, after: float) -> None:
    """End the connection of a transaction that takes longer, so that who waits for its server does not for ever.

    The limits of statements are the server's: one that is frozen, or out of reach, keeps none. `take_time` lifts it.
    The thread that looks lives as long as there is a connection.
    """
    records: set[Any] = set()
    changing = threading.Lock()
    watching = False
    still = weakref.ref(engine)

    def watch() -> None:
        nonlocal watching
        while True:
            time.sleep(WATCH_INTERVAL)
            with changing:
                if still() is None or not records:
                    watching = False
                    return
                open_now = tuple(records)
            for record in open_now:
                if time.monotonic() > record.info.get("until", float("inf")):
                    _cut(record.dbapi_connection)

    @event.listens_for(engine, "connect")
    def connected(_connection: Any, record: Any) -> None:
        nonlocal watching
        record.info["until"] = float("inf")
        with changing:
            records.add(record)
            if watching:
                return
            watching = True
        threading.Thread(target=watch, name="inventory-watch", daemon=True).start()

    @event.listens_for(engine, "close")
    def closed(_connection: Any, record: Any) -> None:
        with changing:
            records.discard(record)

    @event.listens_for(engine, "checkout")
    def begun(_connection: Any, record: Any, _proxy: Any) -> None:
        record.info["until"] = time.monotonic() + after

    @event.listens_for(engine, "checkin")
    def ended(_connection: Any, record: Any) -> None:
        record.info["until"] = float("inf")


def _cut(connection: Any) -> None:
    try:
        with socket.socket(fileno=os.dup(connection.fileno())) as end:
            end.shutdown(socket.SHUT_RDWR)
    except Exception:  # noqa: BLE001 - the driver's own errors as well, and it need not be installed
        return  # it has ended by itself


def _postgresql_engine(url: URL, *, size: int, hangs_after: float) -> Engine:
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": CONNECT_TIMEOUT}
    try:
        engine = create_engine(
            url,
            connect_args=arguments,
            poolclass=QueuePool,
            pool_size=size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT,
            hide_parameters=True,
        )
    except (ImportError, NoSuchModuleError) as exc:
        raise ConfigurationError("DriverMissing", "PostgreSQL needs psycopg: install assay[postgresql]") from exc
    _cut_what_hangs(engine, hangs_after)
    return engine


def _prepare_for_writing(connection: Any, _record: Any) -> None:
    with _configuring(connection):
        if connection.execute("SHOW fsync").fetchone()[0] != "on":
            raise ConfigurationError(
                "DatabaseNotDurable", "the PostgreSQL server runs with fsync=off: it loses records"
            )
        if connection.execute("SHOW synchronous_commit").fetchone()[0] != "remote_apply":
            connection.execute("SET synchronous_commit = on")
        connection.execute(f"SET statement_timeout = {int(WRITE_TIMEOUT * 1000)}")
        # A writer that was frozen with a transaction open must not keep the others waiting until its machine is missed.
        connection.execute(f"SET idle_in_transaction_session_timeout = {int(WRITE_TIMEOUT * 1000)}")


def _prepare_for_reading(connection: Any, _record: Any) -> None:
    with _configuring(connection):
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        connection.execute(f"SET statement_timeout = {int(READ_TIMEOUT * 1000)}")
        # Every question looks up little. To compile one, as PostgreSQL does where it expects much, takes longer.
        connection.execute("SET jit = off")


@contextmanager
def _configuring(connection: Any) -> Iterator[None]:
    """Settings made outside a transaction stay for the session; a connection that refuses them is not kept."""
    try:
        connection.autocommit = True
        yield
        connection.autocommit = False
    except BaseException:
        connection.close()
        raise
