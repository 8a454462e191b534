"""Keeps the index of documents while this process serves: a thread that follows what was recorded.

Whatever goes wrong here is said and counted, and tried again; recording and the ledger go on all the while.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from controller import telemetry
from controller.errors import AssayError
from controller.inventory.database.failures import cause
from controller.inventory.index.contents import Contents
from controller.inventory.index.writing import Indexer, Progress

RETRY = 5.0  # seconds before what failed is tried again
CLOSING = 5.0  # seconds that closing waits for a database that hangs
MAX_PAUSE = 0.05  # seconds left to others after one transaction, however long that took

log = logging.getLogger(__name__)


class Reader(Protocol):
    """Reads documents somewhere else, since that costs CPU and strangers wrote them."""

    def read(self, content: bytes) -> Contents:
        """What an artefact's bytes say. Raises `Unavailable`, and `Unacceptable` for what can never be read."""
        ...

    def rest(self) -> None:
        """There is nothing to read for a while: let go of what reading needs."""
        ...

    def close(self) -> None:
        """Stop."""
        ...


def pace(seconds: float) -> None:
    """Leave others as much time to write as the last transaction took: SQLite lets one write at a time, in no order."""
    time.sleep(min(seconds, MAX_PAUSE))


class IndexKeeper:
    """Runs an indexer in a thread of its own until it is closed; then closes its reader."""

    def __init__(self, indexer: Indexer, reader: Reader, *, interval: float, clock: Callable[[], datetime]) -> None:
        self._indexer = indexer
        self._reader = reader
        self._interval = interval
        self._clock = clock
        self._resting = True  # nothing was needed yet
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="index", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the document that is under way, after `CLOSING` seconds at the latest: what is half-way then is
        done again by whoever indexes next."""
        self._stopping.set()
        self._thread.join(CLOSING)
        self._reader.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._stopping.wait(self._turn())

    def _turn(self) -> float:
        """One pass. Returns how many seconds to wait before the next."""
        try:
            progress = self._indexer.step(self._stopping.is_set)
            if progress.indexed or progress.more:
                self._resting = False
            else:
                self._rest()
        except AssayError as exc:
            return self._failed(exc)
        except SQLAlchemyError as exc:
            return self._failed(cause(exc))
        except Exception:  # a bug: without the index nothing is lost, and it must come back
            if not self._stopping.is_set():
                log.exception("documents were not indexed")
                telemetry.INDEX_FAILURES.inc()
            return RETRY
        self._measure(progress)
        return 0.0 if progress.more else self._interval

    def _rest(self) -> None:
        """Let go of what only work needs: once, until there is some again."""
        if not self._resting:
            self._resting = True
            self._reader.rest()
            self._indexer.rest()

    def _failed(self, why: object) -> float:
        self._resting = False
        if not self._stopping.is_set():
            telemetry.INDEX_FAILURES.inc()
            log.error("documents were not indexed: %s", why)
        return RETRY

    def _measure(self, progress: Progress) -> None:
        telemetry.INDEX_DOCUMENTS.labels("read").inc(progress.indexed - progress.unreadable)
        telemetry.INDEX_DOCUMENTS.labels("unreadable").inc(progress.unreadable)
        waits = (self._clock().astimezone(UTC) - progress.waiting).total_seconds() if progress.waiting else 0.0
        telemetry.INDEX_LAG.set(max(0.0, waits))
