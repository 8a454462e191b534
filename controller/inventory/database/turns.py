"""Who writes to an SQLite file next: whoever of this process has waited longest.

SQLite's own lock is had by whoever happens to look when it is free, and who found it taken sleeps before he looks
again: beside a recorder that begins the next transaction as soon as the last one ended, nobody else would ever write,
and the ledger would stand still for as long as there is load. So the transactions of one process queue here before
they begin. Other processes' are waited for by SQLite's means, as ever.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path


class Turns:
    """A lock that is handed on in the order in which it was asked for; any thread may give it back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken = False
        self._waiting: deque[threading.Event] = deque()

    def enter(self, timeout: float) -> bool:
        """Wait for one's turn, at most so many seconds. Whether it came: then `leave` must be called."""
        with self._lock:
            if not self._taken:
                self._taken = True
                return True
            mine = threading.Event()
            self._waiting.append(mine)
        if mine.wait(timeout):
            return True
        with self._lock:
            if mine.is_set():  # it came between the two
                return True
            self._waiting.remove(mine)
            return False

    def leave(self) -> None:
        """Let the next one have it."""
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False


@cache
def turns_of(file: Path) -> Turns:  # noqa: ARG001 - what there is one for
    """The queue before this file, of which there is one in a process."""
    return Turns()


class WritingConnection(sqlite3.Connection):
    """A connection that has its turn until the end of the transaction that is begun in it, however that comes about."""

    turns: Turns
    patience: float
    _mine = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """For the length of the block that begins a transaction. If the turn does not come in time, SQLite is asked
        without it, and says that the database is locked, or that it was only slow."""
        self._mine = self.turns.enter(self.patience)
        try:
            yield
        except BaseException:
            self._leave()
            raise

    def commit(self) -> None:
        """As SQLite's; the turn ends unless the transaction goes on, to be rolled back."""
        try:
            super().commit()
        finally:
            if not self.in_transaction:
                self._leave()

    def rollback(self) -> None:
        """As SQLite's."""
        try:
            super().rollback()
        finally:
            self._leave()

    def close(self) -> None:
        """As SQLite's: what was not committed is rolled back."""
        try:
            super().close()
        finally:
            self._leave()

    def _leave(self) -> None:
        if self._mine:
            self._mine = False
            self.turns.leave()
