"""Where records wait, durable, while the database is away: a folder of files that only grow, and are removed whole.

A frame is one record: its length and hash, the time at which it was acknowledged, the leaf, and the raw bytes that came
with it. What was acknowledged was synced before; a frame that is cut is the end of a file whose writer died, and nobody
was told that it was recorded.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from controller.errors import ConfigurationError, RecordingFailed

SEGMENT_BYTES = 8 * 1024 * 1024  # size past which a new file is begun: what was replayed is removed by files
_HEAD = struct.Struct(">4sQ32s")  # mark, length of the body, SHA-256 of the body; then the CRC-32 of these
_CHECKED = _HEAD.size + 4
_MARK = b"ASP1"
_LENGTH = struct.Struct(">Q")
_MAX_FRAME = 256 * 1024 * 1024  # bytes of a body: twice what the writer takes as one record
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
_WHOLE = 0x2144DF1C  # the CRC-32 of anything with its own CRC-32 behind it
_SUFFIX, _BAD = ".spool", ".damaged"


@dataclass(frozen=True, slots=True)
class Spooled:
    """A record in the spool: when it was acknowledged, the leaf's canonical bytes, and raw bytes to go with it."""

    at: datetime
    leaf: bytes
    blobs: tuple[bytes, ...]


class Spool:
    """One folder of records, which belongs to one process as soon as something is in it.

    `append` is one thread's, reading and removing another's.
    """

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        """Look at the folder; nothing is made of it before it is needed. Raises `ConfigurationError`
        (`SpoolUnusable`)."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._held: int | None = None
        self._file: int | None = None
        self._current = folder
        self._written = 0
        self._next = 1
        self._segments: dict[Path, int] = {}
        try:
            # Not `glob`: to that a folder that cannot be read is an empty one.
            if any(path.suffix == _SUFFIX for path in folder.iterdir()):
                self._hold()
        except FileNotFoundError:
            return
        except BlockingIOError:
            return  # another process's, which brings what is in it to the database
        except OSError as exc:
            raise ConfigurationError("SpoolUnusable", f"the spool {folder}: {exc.strerror}") from exc

    def _hold(self) -> None:
        """Make the folder this process's own. Raises `OSError` where it is another's."""
        if self._held is not None:
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = sorted(path for path in self._folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal())
            self._segments = {path: path.lstat().st_size for path in found}
        except OSError:
            os.close(descriptor)
            raise
        self._next = 1 + max((int(path.stem) for path in found), default=0)
        self._held = descriptor

    @property
    def size(self) -> int:
        """Bytes that wait."""
        with self._lock:
            return sum(self._segments.values())

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        with self._lock:
            return not self._segments

    def append(self, records: Iterable[Spooled]) -> None:
        """Make the records durable: all of them are synced when this returns.

        Raises `RecordingFailed` (`SpoolFull`, `SpoolUnusable`); then none of them counts as recorded.
        """
        content = b"".join(map(_frame, records))
        with self._lock:
            if sum(self._segments.values()) + len(content) > self._max_bytes:
                raise RecordingFailed("SpoolFull", "the database is away, and the spool is full (spool_max_bytes)")
            try:
                self._hold()
                self._write(content)
            except OSError as exc:
                if exc.errno in _NO_ROOM:
                    raise RecordingFailed("SpoolFull", "the database is away, and the spool's disk is full") from exc
                raise RecordingFailed("SpoolUnusable", f"the spool cannot be written ({exc.strerror})") from exc

    def segments(self) -> tuple[Path, ...]:
        """The files that wait, oldest first. What is read from one is whole once another was begun after it."""
        with self._lock:
            return tuple(self._segments)

    def seal(self) -> None:
        """Begin a new file with the next record, so that all that are there can be removed once they were read."""
        with self._lock:
            self._close()

    def remove(self, segment: Path) -> None:
        """Forget a file whose records are all in the database. Not one that is still written to: `seal` before."""
        with self._lock:
            segment.unlink(missing_ok=True)
            _sync(self._folder)
            self._segments.pop(segment, None)

    def set_aside(self, segment: Path) -> None:
        """Keep a file that cannot be read to its end, under another name, for a person to look at."""
        with self._lock:
            segment.replace(segment.with_suffix(_BAD))
            _sync(self._folder)
            self._segments.pop(segment, None)

    def close(self) -> None:
        """Let go of the folder."""
        with self._lock:
            self._close()
            if self._held is not None:
                os.close(self._held)
                self._held = None

    def _write(self, content: bytes) -> None:
        if self._file is None or self._written > SEGMENT_BYTES:
            self._close()
            path = self._folder / f"{self._next:012}{_SUFFIX}"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            _sync(self._folder)
            self._next, self._written, self._current = self._next + 1, 0, path
            self._segments[path] = 0
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(self._file, view) :]
            os.fsync(self._file)
        except OSError:
            # What was written of it may be cut: nothing is written behind it, and reading ends there.
            self._segments[self._current] += len(content)
            self._close()
            raise
        self._written += len(content)
        self._segments[self._current] += len(content)

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def read(segment: Path) -> Iterator[Spooled]:
    """The records of a file, in their order, up to its end or to where its writer died.

    Raises `ValueError` at one that was damaged: what is behind it cannot be told from it. Raises `OSError` where the
    file cannot be read.
    """
    with segment.open("rb") as file:
        while head := file.read(_CHECKED):
            if len(head) < _CHECKED:
                return
            mark, length, digest = _HEAD.unpack_from(head)
            if mark != _MARK or zlib.crc32(head) != _WHOLE or length > _MAX_FRAME:
                raise ValueError("no frame begins here")
            body = file.read(length)
            if len(body) < length:
                return
            if hashlib.sha256(body).digest() != digest:
                raise ValueError("a frame is not what was written")
            try:
                record = _parsed(body)
            except (struct.error, OverflowError, OSError) as exc:
                raise ValueError("a frame holds no record") from exc
            yield record


def _frame(record: Spooled) -> bytes:
    at = int(record.at.timestamp() * 1_000_000)
    parts = [record.leaf, *record.blobs]
    body = _LENGTH.pack(at) + b"".join(_LENGTH.pack(len(part)) + part for part in parts)
    head = _HEAD.pack(_MARK, len(body), hashlib.sha256(body).digest())
    return head + zlib.crc32(head).to_bytes(4, "little") + body


def _parsed(body: bytes) -> Spooled:
    (at,) = _LENGTH.unpack_from(body)
    parts, place = [], _LENGTH.size
    while place < len(body):
        (length,) = _LENGTH.unpack_from(body, place)
        place += _LENGTH.size
        parts.append(body[place : place + length])
        place += length
    leaf, *blobs = parts
    return Spooled(datetime.fromtimestamp(at / 1_000_000, tz=UTC), leaf, tuple(blobs))


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
