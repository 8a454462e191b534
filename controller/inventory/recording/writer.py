"""The acknowledged write: a bounded queue, and one commit for all who wait (group commit).

SQLite takes one writer at a time, so one thread commits. PostgreSQL takes many: two threads, each with a connection of
its own, take turns, so that one makes a group ready while the server is at work on the other's.

A record is acknowledged only after its group's commit has returned, which `engines` makes durable, or, while the
database is away, after the spool was synced. The event loop never waits for either: it hands over what arrived, once it
has run all that was ready, and is called back. One bad record never fails the others of its group.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from controller.errors import ConfigurationError, RecordingFailed
from controller.inventory.blobs.packing import MAX_BLOB_BYTES
from controller.inventory.blobs.store import Blobs
from controller.inventory.database.failures import cause, is_away
from controller.inventory.recording.append import Record, append, blob_key
from controller.inventory.recording.fallback import Fallback
from controller.inventory.recording.projecting import Projector
from controller.inventory.recording.projections import Remembered
from controller.model.deadline import Deadline
from controller.model.reference import Digest

MAX_RECORD_BYTES = MAX_BLOB_BYTES  # leaf and new blobs of one record: evidence of one image is bounded to half of it
MAX_QUEUED_BYTES = 256 * 1024 * 1024  # raw bytes that wait for a commit: bounds memory when the database is slow
MAX_GROUP_BYTES = 32 * 1024 * 1024  # raw bytes after which a group takes no further record
CLOSING = 10.0  # seconds that closing waits for a database that hangs

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Waiting:
    record: Record
    size: int
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[None]
    gone: bool = field(default=False)  # the caller's deadline came; still in the queue, it is not written any more


class Writer:
    """Implements `controller.review.ports.Recorder`. `record` may be called from any event loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        group_size: int,
        queue: int,
        clock: Callable[[], datetime],
        blobs: Blobs,
        fallback: Fallback | None = None,
        threads: int = 1,
        committed: Callable[[int, int], object] | None = None,
    ) -> None:
        """`threads` commit side by side: no more than the engine has connections.

        `committed` is told of each group: its records and their bytes.
        """
        self._engine = engine
        self._blobs = blobs
        self._fallback = fallback
        self._group_size = max(1, group_size)
        self._queue_limit = max(1, queue)
        self._clock = clock
        self._committed = committed
        self._projector = Projector()
        self._remembered = Remembered()
        self._arriving: list[_Waiting] = []
        self._handing: set[asyncio.AbstractEventLoop] = set()  # those that are about to hand over what arrived
        self._queue: deque[_Waiting] = deque()
        self._bytes = 0
        self._closing = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._run, name=f"inventory-writer-{number}", daemon=True)
            for number in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def record(self, leaf: Mapping[str, Any], *, blobs: Mapping[Digest, bytes], deadline: Deadline) -> None:
        """Return only once the leaf and the blobs that it names are durable (see `Recorder`).

        Raises `RecordingFailed`: `LeafMalformed`, `RecordTooLarge`, `BlobMismatch`, `BlobMissing`, `LeafConflict`,
        `QueueFull`, `RecordingTimeout`, `RecorderClosed`, `DatabaseUnavailable` or `DatabaseRefused`.
        """
        now = self._clock().astimezone(UTC)
        new = {str(digest): content for digest, content in blobs.items() if not self._has(str(digest), now)}
        record = Record(self._projector.project(leaf), new)
        size = len(record.projection.canonical) + sum(map(len, record.blobs.values()))
        if size > MAX_RECORD_BYTES:
            raise RecordingFailed("RecordTooLarge", f"a record of {size} bytes is past the bound of {MAX_RECORD_BYTES}")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(record, size, loop, loop.create_future())
        self._put(waiting)
        timer = loop.call_later(deadline.remaining(), _give_up, waiting.answer)
        try:
            await waiting.answer
        finally:
            timer.cancel()
            waiting.gone = True

    def close(self) -> None:
        """Take no further record, write those that wait, and stop.

        Blocks for as long as that takes, at most `CLOSING` seconds: whoever waits for longer has given up before.
        """
        with self._changed:
            self._closing = True
            self._hand_over()
            self._changed.notify_all()
        until = time.monotonic() + CLOSING
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            log.error("the database hangs: what was not acknowledged yet is left unrecorded")
        if self._fallback is not None:
            self._fallback.close()
        self._engine.dispose()

    def _has(self, digest: str, now: datetime) -> bool:
        """Whether these bytes are known to be in the database, so that they need not wait in the queue."""
        return self._remembered.is_fresh(blob_key(digest), now)

    def _put(self, waiting: _Waiting) -> None:
        with self._changed:
            if self._closing:
                raise RecordingFailed("RecorderClosed", "the inventory is being closed")
            queued = len(self._arriving) + len(self._queue)
            if queued >= self._queue_limit or self._bytes + waiting.size > MAX_QUEUED_BYTES:
                raise RecordingFailed("QueueFull", "too many decisions wait to be recorded")
            self._arriving.append(waiting)
            self._bytes += waiting.size
            if len(self._arriving) >= self._group_size or self._bytes >= MAX_GROUP_BYTES:
                self._hand_over()
            elif waiting.loop not in self._handing:
                self._handing.add(waiting.loop)
                waiting.loop.call_soon(self._come_round, waiting.loop)

    def _come_round(self, loop: asyncio.AbstractEventLoop) -> None:
        """The event loop has run all that was ready in it when the first of those that arrived did."""
        with self._changed:
            self._handing.discard(loop)
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the threads what arrived, the lock being held.

        Given one by one, it would begin with the few that are there by then, and go on so: a commit of few costs
        nearly as much as one of many.
        """
        self._queue += self._arriving
        self._arriving.clear()
        self._changed.notify()

    def _take(self) -> list[_Waiting]:
        """The next group; empty when closed and drained."""
        with self._changed:
            while not self._queue and not self._closing:
                self._changed.wait()
            group: list[_Waiting] = []
            size = 0
            while self._queue and len(group) < self._group_size and size < MAX_GROUP_BYTES:
                waiting = self._queue.popleft()
                self._bytes -= waiting.size
                if not waiting.gone:
                    group.append(waiting)
                    size += waiting.size
            if self._queue:
                self._changed.notify()  # another thread, if there is one that waits
            return group

    def _run(self) -> None:
        while True:
            group = self._take()
            if group:
                self._write(group)
            elif self._closing:
                return

    def _write(self, group: Sequence[_Waiting]) -> None:
        """Commit the group, or — when one of its records is what fails it — each record by itself."""
        if self._fallback is not None and self._fallback.is_away:
            _answer(group, self._keep(self._fallback, group))
            return
        try:
            refused = self._commit([waiting.record for waiting in group])
            if self._committed is not None:
                self._committed(len(group), sum(waiting.size for waiting in group))
        except Exception as exc:  # whatever it was, every caller is told, and the thread lives on
            if self._fallback is not None and is_away(exc):
                log.warning("the database is away (%s): decisions are kept in the spool", cause(exc))
                self._fallback.leave()
                _answer(group, self._keep(self._fallback, group))
                return
            if len(group) > 1 and _one_record_may_be_the_cause(exc):
                for waiting in group:
                    self._write([waiting])
                return
            error = _translated(exc)
            log.log(logging.ERROR, "recording failed: %s (%d records)", error, len(group), exc_info=_unexpected(exc))
            refused = dict.fromkeys(range(len(group)), error)
        _answer(group, refused)

    def _keep(self, fallback: Fallback, group: Sequence[_Waiting]) -> Mapping[int, RecordingFailed]:
        now = self._clock().astimezone(UTC)
        return fallback.keep([waiting.record for waiting in group], now=now, has=lambda digest: self._has(digest, now))

    def _commit(self, records: Sequence[Record]) -> Mapping[int, RecordingFailed]:
        now = self._clock().astimezone(UTC)
        with self._engine.begin() as connection:
            group = append(connection, records, now=now, remembered=self._remembered, blobs=self._blobs)
        self._remembered.add(group.remember)
        return group.refused


def _answer(group: Sequence[_Waiting], errors: Mapping[int, RecordingFailed]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[None], RecordingFailed | None]]] = {}
    for index, waiting in enumerate(group):
        by_loop.setdefault(waiting.loop, []).append((waiting.answer, errors.get(index)))
    for loop, answers in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, answers)
        except RuntimeError:  # that loop was closed meanwhile: nobody waits there any more
            log.warning("%d records were written for callers that are gone", len(answers))


def _give_up(answer: asyncio.Future[None]) -> None:
    if not answer.done():
        answer.set_exception(RecordingFailed("RecordingTimeout", "the decision was not durable before the deadline"))


def _settle(answers: Sequence[tuple[asyncio.Future[None], RecordingFailed | None]]) -> None:
    for future, error in answers:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(RecordingFailed(error.code, error.message))


def _one_record_may_be_the_cause(exc: Exception) -> bool:
    """Not when the database itself is away, full or locked: then each record alone would fail the same way, slowly."""
    return not is_away(exc) and not isinstance(exc, ConfigurationError)


def _unexpected(exc: Exception) -> Exception | None:
    return None if isinstance(exc, RecordingFailed | ConfigurationError | SQLAlchemyError | OSError) else exc


def _translated(exc: Exception) -> RecordingFailed:
    if isinstance(exc, RecordingFailed):
        return exc
    if isinstance(exc, ConfigurationError):
        return RecordingFailed(exc.code, exc.message)
    if isinstance(exc, DBAPIError) and not is_away(exc):
        return RecordingFailed("DatabaseRefused", f"the database refused the record ({cause(exc)})")
    return RecordingFailed("DatabaseUnavailable", f"the decision could not be made durable ({cause(exc)})")
