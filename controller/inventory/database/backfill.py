"""SQLite's write-ahead log is copied into the database file beside who writes, and not by him.

What is committed lies in the log alone; at some length of it SQLite has the one who commits copy its pages to their
places in the file, and sync that. In a large inventory most pages are scattered, so this took a third of the time that
a group of decisions takes. A thread of its own does it while the next groups are written (a *passive* checkpoint, which
waits for nobody and keeps nobody waiting). Durability does not hang on it: what is synced is the log.

Only when nobody writes any more can such a copy be whole, and the log begin anew: so whoever commits still copies the
rest himself once the log is several times as long (`engines.CHECKPOINT_PAGES`).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from controller.inventory.database.failures import cause

EVERY = 8 * 1024 * 1024  # bytes in the log after which they are copied
CLOSING = 10.0  # seconds that closing waits for a disk that hangs
SCATTERED = 24 * 1024  # bytes in the log that a record is, beside its own: pages of indexes, of which it changes a bit

log = logging.getLogger(__name__)


class Backfill:
    """The thread that copies. `written` is told of each commit, and never waits."""

    def __init__(self, file: Path) -> None:
        # Of the file that the writer has: another may come to lie there, and this log is not of that.
        self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        self._waiting = 0
        self._closing = False
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, name="inventory-backfill", daemon=True)
        self._thread.start()

    def written(self, records: int, size: int) -> None:
        """So many records, of so many bytes together, were committed. Called by one thread."""
        self._waiting += size + records * SCATTERED
        if self._waiting >= EVERY:
            self._waiting = 0
            self._due.set()

    def close(self) -> None:
        """Stop. Blocks until what is being copied is there, at most `CLOSING` seconds: nothing hangs on it."""
        self._closing = True
        self._due.set()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        with closing(self._connection) as connection:
            while self._due.wait() and not self._closing:
                self._due.clear()
                try:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                except sqlite3.Error as exc:  # the disk's: who commits meets it as well, and is heard
                    log.warning("what SQLite logged was not copied into its file (%s)", cause(exc))
