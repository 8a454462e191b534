"""Which entries were dropped by rule: what a signed retention record says, held against the ledger's own hashes.

A leaf that is gone without such a record was removed by somebody, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from controller.inventory import tables
from controller.inventory.audit.report import Report
from controller.inventory.database import dialect
from controller.inventory.ledger.notes import NoteKey
from controller.inventory.retention.leaves import DROPPED, Retention, entries_hash, read_retention

BATCH = 500  # digests held in memory at once


class Dropped:
    """The entries that may be gone, by the record that says so. Numbers are held as ranges: they may be many."""

    def __init__(self, connection: Connection, keys: Sequence[NoteKey], report: Report) -> None:
        self._report = report
        self._ranges: list[tuple[int, int, str]] = []
        leaf = tables.leaf
        query = select(*dialect.stored(connection, (leaf.c.position, leaf.c.id, leaf.c.canonical)))
        for row in connection.execute(query.where(leaf.c.verdict == DROPPED).order_by(leaf.c.position)).all():
            content = row.canonical if isinstance(row.canonical, bytes) else b""
            try:
                found = read_retention(content, keys)
                if found.count and entries_hash(_digests(connection, found)) != found.hash:
                    raise ValueError("names other entries than this ledger has")
            except ValueError as exc:
                report.add("RetentionInvalid", f"leaf {row.id}", f"the record of what was dropped {exc}")
                continue
            self._ranges += [(first, last, found.id) for first, last in found.ranges]
        self._ranges.sort()
        self._at = 0

    def by(self, number: int) -> str | None:
        """The record by which this entry was dropped; None if none says so. Asked for in the order of numbers."""
        while self._at < len(self._ranges) and self._ranges[self._at][1] < number:
            self._at += 1
        if self._at < len(self._ranges) and self._ranges[self._at][0] <= number:
            return self._ranges[self._at][2]
        return None


def _digests(connection: Connection, found: Retention) -> Iterator[str]:
    entry = tables.ledger_entry
    (digest,) = dialect.stored(connection, (entry.c.digest,))
    for first, last in found.ranges:
        for start in range(first, last + 1, BATCH):
            query = select(digest).where(entry.c.number >= start, entry.c.number < min(start + BATCH, last + 1))
            yield from map(str, connection.execute(query.order_by(entry.c.number)).scalars())
