"""One record by a process that is not the one that serves: a command that writes down what it is about to show."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from controller.errors import RecordingFailed
from controller.inventory.blobs.store import Blobs
from controller.inventory.database import engines, failures
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.projecting import project
from controller.inventory.recording.projections import Remembered
from controller.settings import InventorySettings


def append_one(settings: InventorySettings, leaf: Mapping[str, Any], *, now: datetime) -> None:
    """Return once the leaf is durable. Safe beside whoever serves: the database itself lets one write at a time.

    Raises `RecordingFailed` (`DatabaseUnavailable`, `LeafMalformed`), `ConfigurationError`.
    """
    engine = engines.writing_engine(engines.parse(settings.url()))
    try:
        with engine.begin() as connection:
            append(connection, [Record(project(leaf), {})], now=now, remembered=Remembered(), blobs=Blobs())
    except SQLAlchemyError as exc:
        message = f"what is read could not be recorded ({failures.cause(exc)}), so nothing is shown"
        raise RecordingFailed("DatabaseUnavailable", message) from exc
    finally:
        engine.dispose()
