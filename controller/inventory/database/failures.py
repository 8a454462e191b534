"""What a database's failures mean: whether it is away, or what it was asked is wrong; told without its own words."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from controller.errors import Unavailable

_ADVICE = {  # by the beginning of SQLite's names, and of what PostgreSQL and its driver say
    "SQLITE_BUSY": "another process has it: try again",
    "SQLITE_LOCKED": "another process has it: try again",
    "SQLITE_READONLY": "SQLite writes beside a file even to read it: copy it, with its -wal, into a folder of your own",
    "SQLITE_CANTOPEN": "you may not read it, or its folder",
    "SQLITE_PERM": "you may not read it, or its folder",
    "SQLITE_NOTADB": "it is no SQLite database",
    "SQLITE_CORRUPT": "it is damaged: restore it from a backup",
    "SQLITE_FULL": "there is no room for it",
    "authentication failed": "the password or the role is not right",
    "does not exist": "there is no database, or no role, of that name",
    "permission denied": "this role may not: assay inventory roles has the statements that let one read",
    "Connection refused": "nothing answers there",
    "failed to resolve host": "there is no such host",
}
_LIMIT_EXCEEDED = "54"  # PostgreSQL's class for what is too much by itself, such as text too long for an index


# PostgreSQL's states of a server that only reads, a standby to which a failover led, and of a transaction that it ended
# since nothing had come for too long: of a process that was frozen.
_AWAY = frozenset({"25006", "25P03", "25P04"})


def unavailable(exc: Exception) -> Unavailable:
    """The database's failure, without its text: that may hold values, addresses and credentials."""
    if isinstance(exc, PoolTimeout):
        return Unavailable("DatabaseBusy", "all connections to the database are in use")
    return Unavailable("DatabaseUnavailable", f"the database did not answer ({cause(exc)})")


@contextmanager
def unavailable_as() -> Iterator[None]:
    """Translate the database's failures. Raises `Unavailable` (`DatabaseBusy`, `DatabaseUnavailable`)."""
    try:
        yield
    except SQLAlchemyError as exc:
        raise unavailable(exc) from exc


def is_away(exc: Exception) -> bool:
    """Whether it is the database that is away, full or locked, and no fault of what it was asked to write.

    `OSError` is the same of the files beside it.
    """
    if isinstance(exc, DBAPIError) and getattr(exc.orig, "sqlstate", None) in _AWAY:
        return True
    if isinstance(exc, OperationalError) and str(getattr(exc.orig, "sqlstate", "")).startswith(_LIMIT_EXCEEDED):
        return False
    return isinstance(exc, OperationalError | InterfaceError | PoolTimeout | OSError)


def is_server_away(exc: Exception) -> bool:
    """Whether a database server does not answer, or not yet: not one that refuses who asks, or lacks the database."""
    if not is_away(exc) or not isinstance(exc, DBAPIError) or isinstance(exc.orig, sqlite3.Error):
        return False
    state = str(getattr(exc.orig, "sqlstate", None) or "")
    said = str(exc.orig)
    return state[:2] in {"", "08", "57"} and not any(
        word in said for word in ("authentication failed", "does not exist")
    )


def advice(exc: Exception) -> str:
    """What to look at where a database cannot be used, never in its own words."""
    original = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    name, said = str(getattr(original, "sqlite_errorname", None) or ""), str(original)
    told = (text for sign, text in _ADVICE.items() if name.startswith(sign) or (not name and sign in said))
    return next(told, "is it there, is it Assay's, and may you read it?")


def cause(exc: Exception) -> str:
    """A name for a database's failure: its SQLSTATE or SQLite's error name, else the exception's type."""
    original = exc.orig if isinstance(exc, DBAPIError) and exc.orig is not None else exc
    name = getattr(original, "sqlstate", None) or getattr(original, "sqlite_errorname", None)
    if isinstance(original, OSError):
        name = errno.errorcode.get(original.errno or 0)
    return f"{type(original).__name__} {name}" if name else type(original).__name__


@contextmanager
def as_sqlalchemy_has_it(connection: Connection, text: str) -> Iterator[None]:
    """What SQLite's own driver raises of a statement, as SQLAlchemy would have it: its callers know no other."""
    try:
        yield
    except sqlite3.Error as exc:
        raise DBAPIError.instance(
            text, None, exc, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
        ) from exc
