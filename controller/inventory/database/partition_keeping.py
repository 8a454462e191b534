"""Makes the months that come (`partitions`), once a day, in a thread of the process that keeps the ledger."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from controller.inventory.daily import Daily
from controller.inventory.database import partitions

FIRST = 30.0  # seconds after the start: what is warmed up comes first

log = logging.getLogger(__name__)


class PartitionKeeper(Daily):
    """Looks after the partitions until it is closed. Several processes may; whoever comes first does it."""

    def __init__(self, engine: Engine, *, clock: Callable[[], datetime], first: float = FIRST) -> None:
        super().__init__("partitions", first=first)
        self._engine = engine
        self._clock = clock
        self.start()

    def turn(self) -> bool:
        """One look."""
        try:
            return partitions.keep(self._engine, self._clock())
        except Exception:  # a bug: every record has its place all the same, and it must come back
            log.exception("the partitions were not looked after")
            return False
