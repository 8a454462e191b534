"""One serving process for one SQLite file: a lock file beside it, held for as long as the process lives.

The kernel releases it when the process dies, however it dies, so nothing is ever left to be cleaned up by hand.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from controller.errors import ConfigurationError


class FileLock:
    """Holds `FILE.lock` from construction to `release`. Raises `ConfigurationError` (`DatabaseInUse`,
    `DatabaseUnusable`)."""

    def __init__(self, file: Path) -> None:
        path = file.with_name(file.name + ".lock")
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise ConfigurationError("DatabaseUnusable", f"{path} cannot be opened: {exc.strerror}") from exc
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise ConfigurationError(
                "DatabaseInUse",
                f"{file} belongs to another serving process ({holder or 'unknown'}): stop that one, or use PostgreSQL "
                "when several processes have to record",
            ) from exc
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"pid {os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in. May be called twice."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def claimed(file: Path) -> FileLock:
    """The lock of a file, which is made if it is not there. Raises as `FileLock` does."""
    lock = FileLock(file)
    try:
        _create_private(file)
    except BaseException:
        lock.release()
        raise
    return lock


def _create_private(file: Path) -> None:
    """Make an empty file that only its owner reads, its name durable; nothing if it is there already.

    Raises `ConfigurationError` (`DatabaseUnusable`).
    """
    try:
        os.close(os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError:
        return
    except OSError as exc:
        raise ConfigurationError("DatabaseUnusable", f"{file} cannot be created: {exc.strerror}") from exc
