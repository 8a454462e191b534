"""Deletes the bytes of images' configurations, which older versions kept. No rule, no hold and no key is asked."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import AssayError
from controller.inventory import tables
from controller.inventory.blobs.store import Blobs
from controller.inventory.configurations import configurations, demanded, unexplained
from controller.inventory.daily import Daily
from controller.inventory.database import dialect, failures
from controller.inventory.recording.projections import FIRST_POSITION

BATCH = 500  # leaves read at a time
FIRST = 3600.0  # seconds after the start: by then the replicas of an older version have been replaced
LOOK_BACK = 20_000  # records before that one with which the keeper begins that are looked through once more
PATIENCE = 2.0  # seconds that it waits for who is recording: they all wait behind it
# How a leaf says, in canonical form, that it names configurations, or that something was never assessed.
_MARKS = (b'"configs":[', b'"used":{}')

log = logging.getLogger(__name__)


def drop(connection: Connection, blobs: Blobs) -> int:
    """Delete the bytes of all configurations. Returns how many.

    Inside the caller's transaction, in which nobody appends; files are removed in it as well, since one that is gone
    before its row is as little missed as both. Takes as long as reading all leaves.
    """
    return _erase(connection, blobs, _doomed(connection, blobs, after=FIRST_POSITION))


class ConfigurationKeeper(Daily):
    """Deletes, once a day, what replicas of an older version still recorded after the migration."""

    def __init__(self, engine: Engine, blobs: Blobs, *, first: float = FIRST) -> None:
        super().__init__("configurations", first=first)
        self._engine = engine
        self._blobs = blobs
        self._after: int | None = None
        self.start()

    def turn(self) -> bool:
        """Look through what is new, which stops nobody; delete while nobody appends. Whatever goes wrong is said."""
        try:
            with self._engine.begin() as connection:
                dialect.take_time(connection)
                newest = connection.execute(select(func.max(tables.leaf.c.position))).scalar_one() or 0
                after = newest - LOOK_BACK if self._after is None else self._after
                doomed = _doomed(connection, self._blobs, after=after)
            if doomed:
                with self._engine.begin() as connection:
                    dialect.stop_appends(connection, patience=PATIENCE)
                    for leaf in _leaves(connection, after=newest, marks=[digest.encode() for digest in doomed]):
                        doomed.difference_update(demanded(leaf))
                    _erase(connection, self._blobs, doomed)
        except (AssayError, OSError) as exc:
            log.error("configurations of images were not looked for: %s", exc)  # noqa: TRY400 - it says why
            return False
        except SQLAlchemyError as exc:
            log.error("configurations of images were not looked for: %s", failures.cause(exc))  # noqa: TRY400
            return False
        self._after = newest
        return True


def _doomed(connection: Connection, blobs: Blobs, *, after: int) -> set[str]:
    """The kept configurations that leaves behind a position name, and that no leaf at all names as anything else."""
    named: set[str] = set()
    unsure: set[str] = set()
    for leaf in _leaves(connection, after=after, marks=_MARKS):
        named |= configurations(leaf).intersection(leaf["blobs"])
        unsure |= unexplained(leaf)
    present = blobs.present(connection, named | unsure)
    present -= {digest for digest in present - named if not _is_configuration(connection, blobs, digest)}
    if present:
        for leaf in _leaves(connection, after=FIRST_POSITION, marks=[digest.encode() for digest in present]):
            present.difference_update(demanded(leaf))
    return present


def _erase(connection: Connection, blobs: Blobs, doomed: Collection[str]) -> int:
    gone = blobs.erase(connection, sorted(doomed)) if doomed else 0
    if gone:
        log.info("%d configurations of images, which an older version kept, were deleted", gone)
    return gone


def _is_configuration(connection: Connection, blobs: Blobs, digest: str) -> bool:
    """Whether kept bytes have the form of one (https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md)."""
    try:
        found = json.loads(blobs.read(connection, digest) or b"")
    except (AssayError, ValueError, RecursionError):
        return False
    if not isinstance(found, dict):
        return False
    config = found.get("config")
    return isinstance(found.get("rootfs"), dict) or (isinstance(config, dict) and "Env" in config)


def _leaves(connection: Connection, *, after: int, marks: Collection[bytes]) -> Iterator[Mapping[str, Any]]:
    """The leaves behind a position that can be read, and in whose text one of these stands."""
    leaf = tables.leaf
    query = select(*dialect.stored(connection, (leaf.c.position, leaf.c.canonical))).order_by(leaf.c.position)
    while True:
        rows = connection.execute(query.where(leaf.c.position > after).limit(BATCH)).all()
        if not rows:
            return
        after = rows[-1].position
        texts = (row.canonical for row in rows if isinstance(row.canonical, bytes))
        yield from _readable(text for text in texts if any(mark in text for mark in marks))


def _readable(texts: Iterable[bytes]) -> Iterator[Mapping[str, Any]]:
    for text in texts:
        try:
            leaf = json.loads(text)
            demanded(leaf)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # none that any version wrote
        yield leaf
