"""The process that asks SQLite one question: `python -m controller.inventory.querying.sqlite_child`, JSON in and out.

The wall is SQLite's authorizer (https://www.sqlite.org/c3ref/set_authorizer.html), which is asked as the statement is
compiled. What a view may read of the tables is learnt from the views themselves, column by column: even a question that
gives a table of its own a view's name reaches nothing that the view does not show.

It loads little, so that it starts quickly.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import closing
from enum import StrEnum
from typing import Any, TypedDict
from urllib.parse import quote

from controller.inventory.querying.answer import Answer, Bounds, collect

MAX_MEMORY = 512 * 1024 * 1024  # bytes of address space
MAX_FILE = 1024 * 1024 * 1024  # bytes of a temporary file
BUSY = 2.0  # seconds that it waits for a checkpoint or a backup
STEPS = 10_000  # instructions between two looks at the clock
CACHE_KIB = 16 * 1024  # memory for pages; what a sort needs beyond goes to a temporary file
LIMITS = {
    sqlite3.SQLITE_LIMIT_LENGTH: 1024 * 1024,  # bytes of one value
    sqlite3.SQLITE_LIMIT_COLUMN: 100,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 1000,
    sqlite3.SQLITE_LIMIT_FUNCTION_ARG: 32,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_TRIGGER_DEPTH: 1,
    sqlite3.SQLITE_LIMIT_WORKER_THREADS: 0,
}
_OPERATORS = frozenset({"->", "->>"})  # functions by another name
_VIRTUAL = frozenset({"json_each"})
_HARMLESS = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE})
_TOO_MUCH = frozenset({sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_FULL})
_AWAY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_CANTOPEN})


class Question(TypedDict):
    """What the child is given, as JSON."""

    file: str
    sql: str
    seconds: float
    rows: int
    bytes: int
    views: list[str]
    functions: list[str]


class Code(StrEnum):
    """Why there is no answer."""

    REFUSED = "Refused"
    MALFORMED = "Malformed"
    SLOW = "Slow"
    LARGE = "Large"
    AWAY = "Away"


def ask(question: Question) -> Answer:
    """The answer. Raises `sqlite3.Error`."""
    address = f"file:{quote(question['file'])}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, isolation_level=None, timeout=BUSY)) as connection:
        for pragma in ("query_only=ON", "temp_store=FILE", f"cache_size=-{CACHE_KIB}", "trusted_schema=OFF"):
            connection.execute(f"PRAGMA {pragma}")
        wall = Wall(connection, question["views"], question["functions"])
        connection.text_factory = lambda content: content.decode(errors="replace")
        for limit, value in LIMITS.items():
            connection.setlimit(limit, value)
        end = time.monotonic() + question["seconds"]
        connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
        connection.set_authorizer(wall)
        with closing(connection.execute(question["sql"])) as cursor:
            columns = [name for name, *_ in cursor.description or ()]
            return collect(columns, cursor, Bounds(question["seconds"], question["rows"], question["bytes"]))


class Wall:
    """The authorizer: what may be read, learnt from the database before the question comes."""

    def __init__(self, connection: sqlite3.Connection, views: Iterable[str], functions: Iterable[str]) -> None:
        self._views = frozenset(views)
        self._functions = frozenset(functions) | _OPERATORS
        self._shown: dict[str, set[tuple[str, str]]] = defaultdict(set)
        connection.set_authorizer(self._learn)
        for name in sorted(self._views):
            connection.execute(f"EXPLAIN SELECT * FROM {name}").close()  # noqa: S608 - our own names
        connection.set_authorizer(None)
        self._beneath = {table for shown in self._shown.values() for table, _ in shown}
        for name in _VIRTUAL:  # made when it is first asked of, which is no part of a question
            connection.execute(f"SELECT 1 FROM {name}('[]')").close()  # noqa: S608 - our own names
        stored = connection.execute("SELECT lower(name) FROM sqlite_master").fetchall()
        modules = connection.execute("SELECT lower(name) FROM pragma_module_list").fetchall()
        self._real = {name for (name,) in (*stored, *modules)}

    def __call__(
        self, action: int, first: str | None, second: str | None, _base: str | None, source: str | None
    ) -> int:
        """SQLite's question about one step of the statement: what, of what, through which view."""
        if action in _HARMLESS:
            return sqlite3.SQLITE_OK
        if action == sqlite3.SQLITE_FUNCTION:
            return _allowed((second or "").lower() in self._functions)
        if action == sqlite3.SQLITE_READ:
            return _allowed(self._may_read(str(first), str(second), str(source)))
        return sqlite3.SQLITE_DENY

    def _may_read(self, table: str, column: str, source: str) -> bool:
        if table in self._views or table in _VIRTUAL:
            return True
        if column == "":  # none of its columns, its rows alone: of a view, or of a table that the question made itself
            made = table.lower() not in self._real and not table.lower().startswith(("sqlite_", "pragma_"))
            return made or table in self._beneath
        return (table, column) in self._shown.get(source, ())

    def _learn(self, action: int, first: str | None, second: str | None, _base: str | None, source: str | None) -> int:
        if action == sqlite3.SQLITE_READ and source in self._views:
            self._shown[str(source)].add((str(first), str(second)))
        return sqlite3.SQLITE_OK


def _allowed(so: bool) -> int:
    return sqlite3.SQLITE_OK if so else sqlite3.SQLITE_DENY


def _code(exc: Exception) -> Code:
    code, said = getattr(exc, "sqlite_errorcode", 0) & 0xFF, str(exc)
    if isinstance(exc, MemoryError) or code in _TOO_MUCH:
        return Code.LARGE
    if code == sqlite3.SQLITE_INTERRUPT:
        return Code.SLOW
    if code == sqlite3.SQLITE_AUTH or "prohibited" in said or "not authorized" in said:
        return Code.REFUSED
    return Code.AWAY if code in _AWAY else Code.LARGE if code == sqlite3.SQLITE_IOERR else Code.MALFORMED


def main() -> None:
    """Answer the question on standard input."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE, MAX_FILE))
    value: dict[str, Any]
    try:
        question: Question = json.load(sys.stdin)
        # A statement may take long to compile, where no clock is looked at.
        seconds = int(question["seconds"]) + 2
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # a second more: or no signal says which bound
        found = ask(question)
        value = {"columns": found.columns, "rows": found.rows, "cut": found.cut}
    except (sqlite3.Error, sqlite3.Warning, MemoryError) as exc:
        value = {"code": _code(exc), "said": str(exc)[:500]}
    json.dump(value, sys.stdout)


if __name__ == "__main__":
    main()
