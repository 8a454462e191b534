"""Checkpoints as files in a directory that others keep: a mounted object-lock bucket, or a folder that is synced.

A file is written whole, under a name that nothing has, and never again. Against them a ledger shows that it was cut, or
has become another.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from controller.errors import Unacceptable
from controller.inventory.ledger import notes
from controller.inventory.ledger.checkpoint import Checkpoint

SUFFIX = ".checkpoint"
DIGITS = 19  # of a size: 2**63 has as many, so that names sort by it


class CheckpointFiles:
    """The directory. Blocking; every method raises `OSError` where it cannot be read or written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, note: str) -> bool:
        """Keep this signed note. Returns whether it is new.

        Raises `Unacceptable` (`LedgerForked`) if another root of the same size is there.
        """
        checkpoint = _read(note.encode())
        path = self._folder / f"{checkpoint.size:0{DIGITS}}{SUFFIX}"
        if _created(path, note.encode()):
            return True
        try:
            there = _read(path.read_bytes())
        except ValueError as exc:
            raise Unacceptable("LedgerForked", f"{path.name} is there, and {exc}") from exc
        if there != checkpoint:
            raise Unacceptable("LedgerForked", f"{path.name} is there, and says something else of {there.size} entries")
        return False

    def newest(self) -> Checkpoint | None:
        """The one of most entries; None if there is none. Raises `Unacceptable` (`LedgerForked`) if it is none."""
        names = sorted(path.name for path in self._folder.iterdir() if path.name.endswith(SUFFIX))
        if not names:
            return None
        try:
            return _read((self._folder / names[-1]).read_bytes())
        except ValueError as exc:
            raise Unacceptable("LedgerForked", f"{names[-1]} {exc}") from exc


def _read(note: bytes) -> Checkpoint:
    text, _ = notes.split(note)
    return Checkpoint.parse(text)


def _created(path: Path, content: bytes) -> bool:
    """Whether the file was made; False if one of that name is there. Its name appears when its content is durable."""
    if path.exists():
        return False
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")  # the process of every pod has number 1
    _write(fresh, content)
    try:
        path.hardlink_to(fresh)
    except FileExistsError:
        return False
    except OSError:  # a bucket has no links; there, what is closed appears at once and whole
        try:
            _write(path, content, exclusive=True)
        except FileExistsError:
            return False
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink()
    return True


def _write(path: Path, content: bytes, *, exclusive: bool = False) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if exclusive else os.O_TRUNC)
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
