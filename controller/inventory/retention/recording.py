"""Places and lifts holds: each in one transaction, in which nobody else does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from controller.inventory.blobs.store import Blobs
from controller.inventory.database.dialect import stop_appends
from controller.inventory.database.failures import unavailable
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.projecting import project
from controller.inventory.recording.projections import Remembered
from controller.inventory.retention import holds
from controller.inventory.retention.holds import Hold
from controller.inventory.retention.leaves import Row, Selection

PATIENCE = 5.0  # seconds that it waits for who is recording


class HoldRecorder:
    """Writes to one inventory, beside whoever serves it. Blocking.

    Every method raises `InputError` as `holds.place` and `holds.lift` do, and `Unavailable` (`DatabaseUnavailable`).
    """

    def __init__(self, engine: Engine, blobs: Blobs, *, cluster: str, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._blobs = blobs
        self._cluster = cluster
        self._clock = clock

    def place(self, name: str, *, reason: str, person: str, what: Selection) -> str:
        """Keep what is selected until the hold is lifted. Returns the record's id."""

        def leaf(known: list[Hold], at: datetime) -> Row:
            return holds.place(known, name=name, reason=reason, person=person, what=what, cluster=self._cluster, at=at)

        return self._record(leaf)

    def lift(self, name: str, *, reason: str, person: str) -> str:
        """Let go of what the hold keeps. Returns the record's id."""

        def leaf(known: list[Hold], at: datetime) -> Row:
            return holds.lift(known, name=name, reason=reason, person=person, cluster=self._cluster, at=at)

        return self._record(leaf)

    def _record(self, make: Callable[[list[Hold], datetime], Row]) -> str:
        now = self._clock().astimezone(UTC)
        try:
            with self._engine.begin() as connection:
                stop_appends(connection, patience=PATIENCE)
                leaf = make(holds.history(connection), now)
                append(connection, [Record(project(leaf), {})], now=now, remembered=Remembered(), blobs=self._blobs)
        except SQLAlchemyError as exc:
            raise unavailable(exc) from exc
        return str(leaf["id"])
