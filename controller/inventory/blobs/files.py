"""Large blobs as files, by their digest: `sha256/ab/cdef…`. An object store can take the folder's place (`BlobFiles`).

A file is written under another name, synced, given its name, and the name is synced: whoever finds it finds it whole.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from controller.errors import InputError
from controller.model.reference import Digest

_FRESH = ".new-"  # begins the names of files that are being written


class BlobFiles(Protocol):
    """Where bytes are kept that are too large for a row of the database."""

    def write(self, digest: Digest, kept: bytes) -> None:
        """Keep these bytes: they are durable when this returns. Raises `OSError`."""

    def read(self, digest: Digest, *, limit: int) -> bytes | None:
        """What was kept, at most `limit` bytes and one; None where there is nothing. Raises `OSError`."""

    def remove(self, digest: Digest) -> None:
        """Forget what was kept, if it is there. Raises `OSError`."""

    def digests(self) -> Iterator[Digest]:
        """All that is kept, in no order. Raises `OSError`."""


class BlobFolder:
    """Implements `BlobFiles` in a folder, for its owner alone. Several processes may share it."""

    def __init__(self, folder: Path) -> None:
        """Nothing is made of the folder before something is kept in it."""
        self._folder = folder
        self._durable: set[Path] = set()  # folders whose names this process knows to be synced

    def write(self, digest: Digest, kept: bytes) -> None:
        """See `BlobFiles`. Bytes that are there already are written anew: what a crash left of them counts nothing."""
        path = self._path(digest)
        self._make(path.parent)
        fresh = path.with_name(f"{_FRESH}{secrets.token_hex(8)}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(kept)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
        _sync(path.parent)

    def read(self, digest: Digest, *, limit: int) -> bytes | None:
        """See `BlobFiles`. Follows no link: what is there was written here, or by somebody else."""
        try:
            descriptor = os.open(self._path(digest), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as exc:
            if exc.errno in {errno.ENOENT, errno.ENOTDIR}:
                return None
            raise
        with os.fdopen(descriptor, "rb") as file:
            return file.read(limit + 1)

    def remove(self, digest: Digest) -> None:
        """See `BlobFiles`."""
        self._path(digest).unlink(missing_ok=True)

    def digests(self) -> Iterator[Digest]:
        """See `BlobFiles`. Files of other names are passed over."""
        for path in self._folder.glob("sha256/??/*"):
            try:
                yield Digest.parse(f"sha256:{path.parent.name}{path.name}")
            except InputError:
                continue

    def _path(self, digest: Digest) -> Path:
        return self._folder / "sha256" / digest.hex[:2] / digest.hex[2:]

    def _make(self, folder: Path) -> None:
        """Make the folder and those above it, and their names durable, once in the life of a process."""
        if folder in self._durable:
            return
        missing = [folder, *folder.parents][: len(folder.parts) - len(self._folder.parent.parts)]
        self._folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for one in reversed(missing):
            one.mkdir(mode=0o700, exist_ok=True)
            _sync(one.parent)
        self._durable.add(folder)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
