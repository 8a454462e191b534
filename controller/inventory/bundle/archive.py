"""The bundle's file: a tar archive of plain files, written as a stream and the same each time, read as if hostile.

Written as POSIX ustar. What reads it knows nothing else: no links, devices, folders, long names or extensions, no file
twice, no name that leads anywhere, so nothing in an archive can say where something is put.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from controller.errors import InputError

BLOCK = 512  # bytes: the unit of a tar archive
MAX_FILES = 200_000  # in an archive that is read
MAX_READ = 256 * 1024 * 1024  # bytes of one file that is read whole
CHUNK = 1024 * 1024  # bytes that are hashed at a time
_END = bytes(2 * BLOCK)
_PATH = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_-]*/)?[A-Za-z0-9][A-Za-z0-9._-]*")
_OCTAL = re.compile(rb"[0-7]{1,11}[ \0]?\Z")


@dataclass(frozen=True, slots=True)
class File:
    """One file of a bundle. `path` has at most one folder."""

    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """The hex of its hash."""
        return hashlib.sha256(self.content).hexdigest()


def write(files: Iterable[File]) -> Iterator[bytes]:
    """The archive, piece by piece. Raises `ValueError` for a path that no archive of ours has."""
    for file in files:
        if not is_path(file.path):
            raise ValueError(f"{file.path!r} is no path in a bundle")
        header = tarfile.TarInfo(file.path)
        header.size = len(file.content)
        header.mode = 0o644
        yield header.tobuf(tarfile.USTAR_FORMAT)
        yield file.content
        yield bytes(-len(file.content) % BLOCK)
    yield _END


def is_path(path: str) -> bool:
    """Whether a file of a bundle may have this path."""
    return len(path) <= 100 and _PATH.fullmatch(path) is not None


class Archive:
    """A bundle that somebody handed over. Its files are found at once, and read when they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises `InputError` (`BundleMalformed`) for what is no archive of the kind that `write` makes."""
        self._file = file
        self._places: dict[str, tuple[int, int]] = {}
        end = file.seek(0, 2)
        offset = 0
        while True:
            file.seek(offset)
            header = file.read(BLOCK)
            if len(header) < BLOCK:
                raise _malformed("it ends before its end")
            if header == bytes(BLOCK):
                break
            path, size = _read_header(header)
            if path in self._places:
                raise _malformed(f"{path} is in it twice")
            if len(self._places) >= MAX_FILES:
                raise _malformed(f"it has more than {MAX_FILES} files (bound: MAX_FILES)")
            if offset + BLOCK + size > end:
                raise _malformed(f"{path} is cut off")
            self._places[path] = (offset + BLOCK, size)
            offset += BLOCK + size + -size % BLOCK
        if end - offset != len(_END) or any(file.read(CHUNK)):
            raise _malformed("something follows its end")

    def __contains__(self, path: str) -> bool:
        return path in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def read(self, path: str) -> bytes:
        """A file whole. Raises `InputError` (`BundleIncomplete`, `BundleMalformed`) for one that is not there, or too
        large."""
        offset, size = self._place(path)
        if size > MAX_READ:
            raise _malformed(f"{path} has more than {MAX_READ} bytes (bound: MAX_READ)")
        self._file.seek(offset)
        return self._file.read(size)

    def sha256(self, path: str) -> str:
        """The hex of a file's hash, whatever its size. Raises `InputError` (`BundleIncomplete`)."""
        offset, left = self._place(path)
        self._file.seek(offset)
        found = hashlib.sha256()
        while left:
            piece = self._file.read(min(CHUNK, left))
            if not piece:
                raise _malformed(f"{path} is cut off")
            found.update(piece)
            left -= len(piece)
        return found.hexdigest()

    def _place(self, path: str) -> tuple[int, int]:
        if path not in self._places:
            raise InputError("BundleIncomplete", f"the bundle has no file {path}")
        return self._places[path]


def _read_header(header: bytes) -> tuple[str, int]:
    """Path and size of a plain file, from a ustar header (POSIX.1-1988)."""
    name, prefix = header[:100].rstrip(b"\0"), header[345:500]
    size, checksum, kind, magic = header[124:136], header[148:156], header[156:157], header[257:265]
    if magic != b"ustar\x0000" or kind != b"0" or any(prefix) or any(header[157:257]):
        raise _malformed("it has something else than plain files of the form that Assay writes")
    if not _OCTAL.match(size) or not _OCTAL.match(checksum.rstrip(b" \0")):
        raise _malformed("a header is malformed")
    summed = sum(header[:148]) + sum(header[156:]) + 8 * ord(" ")
    if int(checksum.rstrip(b" \0"), 8) != summed:
        raise _malformed("a header's checksum does not hold")
    try:
        path = name.decode("ascii")
    except UnicodeDecodeError as exc:
        raise _malformed("it has a file with an impossible name") from exc
    if not is_path(path):
        raise _malformed("it has a file with an impossible name")
    return path, int(size.rstrip(b" \0"), 8)


def _malformed(why: str) -> InputError:
    return InputError("BundleMalformed", f"this is no evidence bundle: {why}")
