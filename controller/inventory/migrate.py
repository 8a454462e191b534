"""Bringing a database to this version's tables: once, under a lock, and never by a webhook replica.

Kept apart from `store` so that reading an inventory loads no migration code.
"""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, text

from controller.errors import ConfigurationError
from controller.inventory.blobs.store import Blobs
from controller.inventory.database import partitions
from controller.inventory.database.dialect import revision, stop_appends, take_time
from controller.inventory.querying import views
from controller.inventory.recording import projections
from controller.inventory.retention import configurations

log = logging.getLogger(__name__)

MIGRATIONS = Path(__file__).parent / "migrations"
PROJECTED = "0021"  # the newest migration after which what is made of leaves is made anew (0022 fills its own table)
UNCONFIGURED = "0019"  # the migration with which the configurations of images go that older versions kept
TAKING_PART = "0024"  # the migration from which on who appends takes part; before, they wait for the tables
ADVISORY_LOCK = 0x61737361795F6462  # "assay_db": the name of the lock that migrating replicas wait for in PostgreSQL


def upgrade(connection: Connection, *, to: str = "head", blobs: Blobs | None = None) -> None:
    """Run the missing migrations inside the caller's transaction, after waiting for whoever else is doing so.

    What follows from the leaves is then made anew, if its tables have changed: that takes as long as reading them. (In
    SQLite the transaction itself is the lock.) `blobs` say where large evidence lies. Raises `ConfigurationError`
    (`DatabaseNewer`).
    """
    take_time(connection)
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:name)"), {"name": ADVISORY_LOCK})
    before = revision(connection)
    if before is not None and TAKING_PART <= before != head():
        stop_appends(connection)  # before any table is locked: who appends has that lock first as well
    config = _config()
    config.attributes["connection"] = connection
    granted = views.readers(connection)
    since = partitions.earliest(connection)
    views.drop(connection)
    try:
        command.upgrade(config, to)
    except CommandError as exc:
        raise ConfigurationError(
            "DatabaseNewer", "the database was written by a newer Assay: run that version, or restore an older copy"
        ) from exc
    if to != "head":
        return
    partitions.lay(connection, since=since)
    if before is not None and before < PROJECTED:
        projections.rebuild(connection, unreadable=lambda leaf: log.error("leaf %s cannot be read: left out", leaf))
    if before is not None and before < UNCONFIGURED:
        configurations.drop(connection, blobs or Blobs())
    views.make(connection, granted)


def head() -> str | None:
    """The newest migration's revision."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config
