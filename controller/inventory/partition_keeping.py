"""Makes the months that come (`partitions`), once a day, in a thread of the process that keeps the ledger."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from controller.inventory import partitions

FIRST = 30.0  # seconds after the start: what is warmed up comes first
INTERVAL = 24 * 3600.0  # seconds between two looks: there are months of time
RETRY = 600.0  # seconds before a look that came to nothing is tried again
CLOSING = 5.0  # seconds that closing waits for a database that hangs

log = logging.getLogger(__name__)


class PartitionKeeper:
    """Looks after the partitions until it is closed. Several processes may; whoever comes first does it."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime], first: float = FIRST) -> None:
        self._engine = engine
        self._clock = clock
        self._first = first
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="partitions", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the table that is under way."""
        self._stopping.set()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        pause = self._first
        while not self._stopping.wait(pause):
            pause = INTERVAL if self._turn() else RETRY

    def _turn(self) -> bool:
        try:
            return partitions.keep(self._engine, self._clock())
        except Exception:  # a bug: every record has its place all the same, and it must come back
            log.exception("the partitions were not looked after")
            return False
