"""A question of one's own to SQLite: in a process of its own, which can read the views and nothing beneath them.

SQLite has no roles, no bound on memory that is not the whole process's, and compiles a statement for as long as that
takes. So a child asks (`sqlite_child`), with the kernel's bounds on its memory and its files, and is ended when its
time is over.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from controller.errors import InputError, Unavailable
from controller.inventory.querying import views
from controller.inventory.querying.answer import Answer, Bounds
from controller.inventory.querying.sqlite_child import Code, Question
from controller.inventory.querying.statement import FUNCTIONS

GRACE = 5.0  # seconds beside the question's own, to start and to hand over
_MESSAGES = {
    Code.SLOW: "the question took too long: narrow it by time or namespace",
    Code.LARGE: "the question makes a value or a sort that is too large",
}


def ask(file: Path, sql: str, bounds: Bounds) -> Answer:
    """The answer. Raises `InputError` (`QueryRefused`, `QueryMalformed`, `QueryTooCostly`), `Unavailable`."""
    question: Question = {
        "file": str(file),
        "sql": sql,
        "seconds": bounds.seconds,
        "rows": bounds.rows,
        "bytes": bounds.bytes,
        "views": sorted(views.NAMES),
        "functions": sorted(FUNCTIONS),
    }
    kept = {name: os.environ[name] for name in ("TMPDIR", "SQLITE_TMPDIR") if name in os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "controller.inventory.querying.sqlite_child"],
            input=json.dumps(question).encode(),
            capture_output=True,
            timeout=bounds.seconds + GRACE,
            check=False,
            env=kept,
        )
    except subprocess.TimeoutExpired as exc:
        raise InputError("QueryTooCostly", _MESSAGES[Code.SLOW]) from exc
    except OSError as exc:
        raise Unavailable("DatabaseUnavailable", "the question could not be asked: no process for it") from exc
    if done.returncode:
        # It has no other way to end badly than its bounds: CPU time, memory, or the size of a file.
        bound = Code.SLOW if done.returncode == -signal.SIGXCPU else Code.LARGE
        raise InputError("QueryTooCostly", _MESSAGES[bound])
    value = json.loads(done.stdout)
    if "code" not in value:
        return Answer(tuple(value["columns"]), tuple(map(tuple, value["rows"])), value["cut"])
    match Code(value["code"]):
        case Code.REFUSED:
            raise InputError("QueryRefused", f"the question cannot be asked: {value['said']}; it may read the views")
        case Code.MALFORMED:
            raise InputError("QueryMalformed", f"the database does not understand the question: {value['said']}")
        case Code.AWAY:
            raise Unavailable("DatabaseUnavailable", "the database did not answer")
        case bound:
            raise InputError("QueryTooCostly", _MESSAGES[bound])
