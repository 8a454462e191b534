"""Looks for words that must not be kept, in everything that a serving process has written, however it is packed."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1


def found(folder: Path, words: Iterable[str]) -> set[tuple[str, str]]:
    """Which of the words are where: in the bytes of a file, or in a cell of a table of an SQLite database.

    Files are read as they lie there (pages that a database has freed and its write-ahead log are among them), and what
    is compressed is unpacked as well.
    """
    wanted = [word.encode() for word in words]
    return {
        (word.decode(), where)
        for where, content in everything(folder)
        for each in (content, unpacked(content))
        for word in wanted
        if word in each
    }


def everything(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file, and every cell of every table of every database."""
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        yield str(path.relative_to(folder)), path.read_bytes()
        if path.suffix == ".db":
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            try:
                for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                    for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608 - the database's own name
                        for cell in row:
                            yield f"{path.name}: {table}", cell if isinstance(cell, bytes) else str(cell).encode()
            finally:
                connection.close()


def unpacked(content: bytes) -> bytes:
    """What is compressed in these bytes; nothing where they are not."""
    return zstd.decompress(content) if content.startswith(ZSTD_MAGIC) else b""
