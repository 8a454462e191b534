"""Migrations that die: one process imports everything, then forks one for each death, which ends itself (or the server)
by SIGKILL at a given statement."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from sqlalchemy import event

from controller.inventory import store
from controller.inventory.database import engines
from tests.support.inventory import before_forks


def statements(url: str, *, victim: int = 0, at: int = -1) -> int:
    """Migrate, and kill process `victim` (0: this one) once `at` statements were sent; -1 never.

    A statement of even number dies before it is sent, one of odd number after it was done; the commit counts as one.
    Returns the number of statements.
    """
    count = 0
    original = engines.writing_engine

    def step(*_: Any) -> None:
        nonlocal count
        if count == at:
            os.kill(victim or os.getpid(), signal.SIGKILL)
        count += 1

    def engine(url: Any) -> Any:
        made = original(url)
        event.listen(made, "before_cursor_execute", step)
        event.listen(made, "after_cursor_execute", step)
        event.listen(made, "commit", step)
        return made

    engines.writing_engine = engine
    try:
        store.migrate(url)
    finally:
        engines.writing_engine = original
    return count


def main() -> None:
    """A line `URL VICTIM AT` in, a line with how it ended out."""
    before_forks()
    for line in sys.stdin:
        url, victim, at = line.split()
        child = os.fork()
        if child == 0:
            try:
                statements(url, victim=int(victim), at=int(at))
            except BaseException:  # noqa: BLE001 - the server is gone, which is what was wanted
                os._exit(3)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
