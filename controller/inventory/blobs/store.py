"""Blobs in the database, and in files beside it: written before the commit that names them, read back to the byte.

The row says how the bytes are kept (`encoding`) and where (`location`). Others never look at `blob.content` themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, delete, select

from controller.errors import InputError, Unacceptable, Unavailable
from controller.inventory import tables
from controller.inventory.blobs.files import BlobFiles
from controller.inventory.blobs.packing import MAX_BLOB_BYTES, pack, unpack
from controller.inventory.database import dialect
from controller.inventory.database.dialect import stop_appends
from controller.inventory.database.inserts import Inserting
from controller.model.reference import Digest

LOOKUP = 500  # names in one IN list
STATEMENT_BYTES = 8 * 1024 * 1024  # after which an INSERT takes no further blob: each has a time limit of its own
COLUMNS = tuple(tables.blob.c[name] for name in ("digest", "size", "encoding", "location", "content"))
"""What `Blobs.content` needs of a row."""

_BLOBS = Inserting(tables.blob, lambda statement: statement.on_conflict_do_nothing(index_elements=["digest"]))


class Location(StrEnum):
    """Where the kept bytes are."""

    ROW = "row"
    FILE = "file"


class Blobs:
    """Writes and reads one inventory's blobs. Blocking; may be used by several threads."""

    def __init__(self, files: BlobFiles | None = None, *, file_bytes: int = 0) -> None:
        """What is kept in `file_bytes` or more goes to `files`; with 0, or without `files`, all stays in rows."""
        self._files = files
        self._file_bytes = file_bytes if files is not None else 0

    def write(self, connection: Connection, new: Mapping[str, bytes], *, now: datetime) -> None:
        """Keep these bytes, by their digests, in the caller's transaction; what is there already stays as it is.

        A file is durable when this returns, so before that transaction is committed. The row comes first: it waits for
        whoever is dropping the same bytes. Raises `OSError` where a file cannot be written.
        """
        rows: list[dict[str, Any]] = []
        large: dict[str, bytes] = {}
        for digest, content in sorted(new.items()):
            encoding, kept = pack(content)
            row = {"digest": digest, "size": len(content), "encoding": encoding.value, "recorded_at": now}
            if self._file_bytes and len(kept) >= self._file_bytes:
                large[digest] = kept
                rows.append(row | {"location": Location.FILE.value, "content": b""})
            else:
                rows.append(row | {"location": Location.ROW.value, "content": kept})
        for some in _in_statements(rows):
            _BLOBS.run(connection, some)
        if self._files is not None:
            for digest, kept in large.items():
                self._files.write(Digest.parse(digest), kept)

    def present(self, connection: Connection, digests: Iterable[str]) -> set[str]:
        """Those of these that are recorded; nobody drops them until the caller's transaction ends."""
        column = tables.blob.c.digest
        names = sorted(digests)
        return {
            digest
            for start in range(0, len(names), LOOKUP)
            for digest in connection.execute(
                select(column)
                .where(column.in_(names[start : start + LOOKUP]))
                .order_by(column)
                .with_for_update(read=True, key_share=True)
            ).scalars()
        }

    def drop(self, connection: Connection, digests: Sequence[str]) -> list[str]:
        """Forget these, but for those that somebody is just about to name. Returns what was dropped.

        Their files stay until `sweep`: they go once the transaction that dropped the rows is committed.
        """
        column = tables.blob.c.digest
        free = select(column).where(column.in_(digests)).with_for_update(skip_locked=True)
        gone = sorted(connection.execute(free).scalars())
        if gone:
            connection.execute(delete(tables.blob).where(column.in_(gone)))
        return gone

    def erase(self, connection: Connection, digests: Sequence[str]) -> int:
        """Delete bytes that should never have been kept, and leave nothing of them in the database's file.

        Unlike `drop`, their files go at once: nobody records meanwhile. Returns how many rows there were.
        """
        dialect.overwrite_deleted(connection)
        column = tables.blob.c.digest
        count = 0
        for start in range(0, len(digests), LOOKUP):
            some = digests[start : start + LOOKUP]
            count += connection.execute(delete(tables.blob).where(column.in_(some))).rowcount
        if self._files is not None:
            for digest in digests:
                self._files.remove(Digest.parse(digest))
        return count

    def kept_in_files(self) -> Iterator[Digest]:
        """All that lies in the file store, whether a row names it or not. Raises `OSError`."""
        return self._files.digests() if self._files is not None else iter(())

    def sweep(self, connection: Connection, candidates: Sequence[Digest], *, patience: float) -> int:
        """Remove the files of these that no row names, while nobody can record evidence. Returns how many."""
        if self._files is None:
            return 0
        stop_appends(connection, patience=patience)
        column = tables.blob.c.digest
        names = [str(digest) for digest in candidates]
        in_files = tables.blob.c.location == Location.FILE
        kept = set(connection.execute(select(column).where(column.in_(names), in_files)).scalars())
        gone = [digest for digest in candidates if str(digest) not in kept]
        for digest in gone:
            self._files.remove(digest)
        return len(gone)

    def read(self, connection: Connection, digest: str) -> bytes | None:
        """The bytes of this digest; None if they were never recorded. Raises as `content` does."""
        row = connection.execute(select(*COLUMNS).where(tables.blob.c.digest == digest)).one_or_none()
        return None if row is None else self.content(row)

    def content(self, row: Row[Any]) -> bytes:
        """The original bytes of a row (`COLUMNS`), which are those of its digest.

        Raises `Unacceptable` (`BlobDamaged`) where they are not, or a file is gone, and `Unavailable`
        (`BlobUnreachable`) where the file store does not answer.
        """
        try:
            return self.judge(row)
        except ValueError as exc:
            raise Unacceptable("BlobDamaged", f"the recorded bytes of {row.digest} are damaged: {exc}") from exc
        except OSError as exc:
            raise Unavailable("BlobUnreachable", f"the file of {row.digest} cannot be read: {exc.strerror}") from exc

    def judge(self, row: Row[Any]) -> bytes:
        """As `content`, for who tells what is wrong. Raises `ValueError` saying what is, and `OSError`."""
        if not isinstance(row.size, int) or not isinstance(row.content, bytes):
            raise ValueError("its row is not what was written")  # noqa: TRY004 - SQLite keeps anything in any column
        try:
            digest = Digest.parse(str(row.digest))
        except InputError as exc:
            raise ValueError("its name is no digest") from exc
        content = unpack(row.encoding, self._kept(row, digest), size=row.size)
        if Digest.of(content) != digest:
            raise ValueError("they are not those of its digest")
        return content

    def _kept(self, row: Row[Any], digest: Digest) -> bytes:
        if row.location == Location.ROW:
            return bytes(row.content)
        if row.location != Location.FILE or row.content:
            raise ValueError("its row is not what was written")
        if self._files is None:
            raise ValueError("it is in a file, and no blob_directory is set")
        kept = self._files.read(digest, limit=MAX_BLOB_BYTES)
        if kept is None:
            raise FileGone("its file is gone")
        return kept


def _in_statements(rows: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    some: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        some.append(row)
        size += len(row["content"])
        if size >= STATEMENT_BYTES:
            yield some
            some, size = [], 0
    if some:
        yield some


class FileGone(ValueError):
    """A row says that the bytes are in a file, and there is none."""
