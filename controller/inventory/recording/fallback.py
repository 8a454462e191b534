"""What becomes of decisions while the database is away: they are kept in the spool, and brought to it afterwards.

Bringing them is idempotent: a leaf has one id and one key, whichever way it came and however often. So a process may
die between the commit and the removal of the file, and the next one brings the same records again.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from sqlalchemy import Engine, text

from controller import telemetry
from controller.errors import RecordingFailed
from controller.inventory.blobs.store import Blobs
from controller.inventory.database.failures import cause, is_away
from controller.inventory.recording import spool as files
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.projecting import project
from controller.inventory.recording.projections import Remembered
from controller.inventory.recording.spool import Spool, Spooled
from controller.model.reference import Digest

RETRY = 1.0  # seconds between two looks whether the database is back
BATCH = 256  # records brought in one transaction
CLOSING = 2.0  # seconds that closing waits for a database that hangs
SHOUT = 10.0  # seconds between two lines of the log that say that decisions are not recorded

log = logging.getLogger(__name__)


class Fallback:
    """Keeps records while the database is away. `keep` is the writer's; a thread of its own brings them back."""

    def __init__(self, spool: Spool, engine: Engine, *, blobs: Blobs, lose: bool) -> None:
        """`lose`: when the spool is full, decisions are acknowledged without being recorded anywhere."""
        self._spool = spool
        self._engine = engine
        self._blobs = blobs
        self._lose = lose
        self._away = threading.Event()
        self._closing = threading.Event()
        self._shouted = float("-inf")
        self._thread = threading.Thread(target=self._run, name="inventory-spool", daemon=True)
        self._thread.start()

    @property
    def is_away(self) -> bool:
        """Whether the database did not answer when it was last asked."""
        return self._away.is_set()

    def leave(self) -> None:
        """The database did not answer."""
        self._away.set()

    def keep(
        self, records: Sequence[Record], *, now: datetime, has: Callable[[str], bool]
    ) -> Mapping[int, RecordingFailed]:
        """Make the records durable in the spool. Returns those that are not recorded, by their index, with the error.

        `has` tells whether bytes of a digest are in the database for certain: all others have to be here.
        """
        refused: dict[int, RecordingFailed] = {}
        kept: list[Spooled] = []
        for index, record in enumerate(records):
            wrong = [name for name, content in record.blobs.items() if str(Digest.of(content)) != name]
            missing = [name for name in record.projection.blobs if name not in record.blobs and not has(name)]
            if wrong:
                refused[index] = RecordingFailed("BlobMismatch", f"bytes handed over as {wrong[0]} are not that")
            elif missing:
                message = f"the decision names {missing[0]}, whose bytes were neither handed over nor recorded"
                refused[index] = RecordingFailed("BlobMissing", message)
            else:
                kept.append(Spooled(now, record.projection.canonical, tuple(record.blobs.values())))
        try:
            self._spool.append(kept)
        except RecordingFailed as exc:
            if not self._lose or exc.code != "SpoolFull":
                return {**dict.fromkeys(range(len(records)), exc), **refused}
            self._shout(len(kept))
        else:
            telemetry.RECORDS_SPOOLED.inc(len(kept))
        telemetry.SPOOL_BYTES.set(self._spool.size)
        return refused

    def close(self) -> None:
        """Stop; what waits is brought by the next process. Blocks for one transaction, or `CLOSING`."""
        self._closing.set()
        self._thread.join(CLOSING)
        self._spool.close()
        self._engine.dispose()

    def _shout(self, count: int) -> None:
        telemetry.RECORDS_LOST.inc(count)
        if time.monotonic() - self._shouted > SHOUT:
            self._shouted = time.monotonic()
            log.critical(
                "the database is away and the spool is full: decisions are answered and recorded NOWHERE "
                "(spool_full is Admit); %d now, see assay_records_lost_total",
                count,
            )

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._away.is_set() or not self._spool.is_empty:
                self._turn()
            self._closing.wait(RETRY)

    def _turn(self) -> None:
        try:
            self._spool.seal()
            for segment in self._spool.segments():
                try:
                    self._bring(segment)
                except OSError as exc:
                    log.error("%s in the spool: %s", segment.name, exc.strerror)  # noqa: TRY400 - the cause is in it
                if self._closing.is_set():
                    return
            # Asked whatever came of the files: one that cannot be brought keeps nobody from a database that is back.
            with self._engine.begin() as connection:
                connection.execute(text("SELECT 1"))
            if self._away.is_set():
                self._away.clear()
                log.info("the database is back")
        except Exception as exc:
            if not is_away(exc):
                log.exception("what waits in the spool was not brought to the database")
        finally:
            telemetry.SPOOL_BYTES.set(self._spool.size)

    def _bring(self, segment: Path) -> None:
        """All records of one file, then the file's removal. Raises `OSError`, and is to be tried again then."""
        whole = True
        group: list[Spooled] = []
        try:
            for record in files.read(segment):
                if group and (record.at != group[0].at or len(group) >= BATCH):
                    whole &= self._write(group)
                    group = []
                group.append(record)
        except ValueError as exc:
            log.error("%s: %s", segment.name, exc)  # noqa: TRY400 - the cause is in it
            whole = False
        if group:
            whole &= self._write(group)
        if whole:
            self._spool.remove(segment)
        else:
            log.error("%s could not be brought whole; it is kept beside the spool, as .damaged", segment.name)
            self._spool.set_aside(segment)

    def _write(self, group: Sequence[Spooled]) -> bool:
        """Whether each of the records, which were acknowledged together, is in the database now.

        Raises when that is away.
        """
        try:
            records = [_record(one) for one in group]
            with self._engine.begin() as connection:
                done = append(connection, records, now=group[0].at, remembered=Remembered(), blobs=self._blobs)
        except Exception as exc:
            if is_away(exc):
                raise
            if len(group) > 1:
                each = [self._write([one]) for one in group]
                return all(each)
            why = exc if isinstance(exc, RecordingFailed) else cause(exc)
            log.error("a record in the spool was refused: %s", why)  # noqa: TRY400 - the cause is in it
            return False
        self._away.clear()
        return not done.refused


def _record(spooled: Spooled) -> Record:
    blobs = {str(Digest.of(content)): content for content in spooled.blobs}
    return Record(project(json.loads(spooled.leaf)), blobs)
