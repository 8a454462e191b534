"""Whether the inventory is what was recorded: every row held against the ledger, every projection against its leaf.

What this finds needs no key: a row that was changed, removed, added or moved contradicts a hash somewhere. Who can
write the database can make all hashes anew, though, and take out the end or put another in its place; what he cannot
make is a signature. So the roots are held against every checkpoint that was signed: those in the database, and those
that were kept elsewhere, which alone show a cut end or a second history.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, select, type_coerce
from sqlalchemy.types import NULLTYPE

from controller.inventory import tables
from controller.inventory.audit.index import check_index
from controller.inventory.audit.ledger import BATCH, check_ledger
from controller.inventory.audit.report import Finding, Kept, Report
from controller.inventory.blobs.store import COLUMNS, Blobs, FileGone
from controller.inventory.configurations import demanded
from controller.inventory.database import dialect, engines
from controller.inventory.index import reading as documents
from controller.inventory.index.contents import Contents
from controller.inventory.ledger.notes import NoteKey
from controller.inventory.recording import projections
from controller.inventory.recording.projections import Remembered
from controller.settings import DocumentSettings

BLOBS = 20  # blobs held in memory at once

Say = Callable[[str], None]
"""Told what is being held against what, often."""

__all__ = ["Finding", "Kept", "Report", "verify"]


def verify(
    connection: Connection,
    *,
    keys: Sequence[NoteKey],
    kept: Iterable[Kept] = (),
    blobs: Blobs | None = None,
    limits: DocumentSettings = DocumentSettings(),  # noqa: B008 - frozen
    say: Say = lambda _: None,
) -> Report:
    """Look at everything, in one state of the database. Takes as long as reading all of it: `say` is told how far."""
    report = Report()
    say("the ledger's entries and signatures")
    check_ledger(connection, keys=keys, kept=kept, report=report)
    _check_projections(connection, report, say)
    _check_blobs(connection, report, blobs or Blobs(), say)
    numbers = itertools.count(1)

    def read(content: bytes) -> Contents:
        say(f"{next(numbers)} documents read again, each held against its index")
        return documents.read(content, limits)

    check_index(connection, report, blobs=blobs or Blobs(), read=read)
    report.sort()
    return report


def _check_projections(connection: Connection, report: Report, say: Say) -> None:
    """Make all projections anew from the leaves, beside the database, and hold the rows that are there against them."""
    with tempfile.TemporaryDirectory() as folder:
        engine = engines.scratch_engine(Path(folder) / "projections.db")
        try:
            with engine.begin() as scratch:
                tables.metadata.create_all(scratch, tables.PROJECTIONS)
                count = 0
                for batch in projections.stored(connection, unreadable=lambda leaf: _tell_unreadable(leaf, report)):
                    count += len(batch)
                    say(f"{count} records, what is made of them made anew")
                    projections.write(scratch, batch, Remembered(), alone=True)
                for table in tables.PROJECTIONS:
                    say(f"the rows of {table.name}")
                    as_stored = connection.dialect.name == scratch.dialect.name
                    made = _in_order(scratch, table, as_stored=as_stored)
                    _compare(table, made, _in_order(connection, table, as_stored=as_stored), report)
        finally:
            engine.dispose()


def _tell_unreadable(leaf: str, report: Report) -> None:
    report.add("LeafUnreadable", f"leaf {leaf}", "the leaf is none that this version reads")


def _in_order(connection: Connection, table: Table, *, as_stored: bool) -> Iterator[dict[str, Any]]:
    columns = dialect.stored(connection, table.columns) if as_stored else list(table.columns)
    order = [dialect.bytewise(connection, column) for column in table.primary_key.columns]
    query = select(*columns).order_by(*order).execution_options(yield_per=BATCH)
    for row in connection.execute(query).mappings():
        yield dict(row)


def _rank(value: Any) -> tuple[int, Any]:
    """A value's place as both databases order them: numbers, text by its bytes, bytes."""
    if isinstance(value, str):
        return 1, value.encode(errors="surrogateescape")
    return (2, value) if isinstance(value, bytes) else (0, value)


def _compare(table: Table, made: Iterator[dict[str, Any]], found: Iterator[dict[str, Any]], report: Report) -> None:
    names = [column.name for column in table.primary_key.columns]
    one, other = next(made, None), next(found, None)
    while one is not None or other is not None:
        first = tuple(one[name] for name in names) if one is not None else None
        second = tuple(other[name] for name in names) if other is not None else None
        key = min((key for key in (first, second) if key is not None), key=lambda key: [_rank(value) for value in key])
        where = f"table {table.name}, {' '.join(map(str, key))}"
        if first != key:
            report.add("ProjectionChanged", where, "no leaf makes this row")
        elif second != key:
            report.add("ProjectionChanged", where, "the row is gone")
        elif one is not None and other is not None and one != other:
            wrong = sorted(name for name in one if one[name] != other[name])
            report.add("ProjectionChanged", where, f"not what the leaf says: {', '.join(wrong)}")
        one = next(made, None) if first == key else one
        other = next(found, None) if second == key else other


def _check_blobs(connection: Connection, report: Report, blobs: Blobs, say: Say) -> None:
    blob = tables.blob
    last: Any = ""
    present: set[str] = set()
    while True:
        query = select(*dialect.stored(connection, COLUMNS))
        query = query.where(type_coerce(blob.c.digest, NULLTYPE) > last)
        rows = connection.execute(query.order_by(blob.c.digest).limit(BLOBS)).all()
        if not rows:
            break
        for row in rows:
            present.add(row.digest)
            report.blobs += 1
            _check_blob(row, report, blobs)
        last = rows[-1].digest
        say(f"{report.blobs} blobs")
    leaf = tables.leaf
    missing: dict[str, str] = {}
    for record, canonical in connection.execute(
        select(*dialect.stored(connection, (leaf.c.id, leaf.c.canonical)))
        .order_by(leaf.c.position)
        .execution_options(yield_per=BATCH)
    ):
        try:
            named = [str(digest) for digest in demanded(json.loads(canonical))]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            continue  # told already
        for digest in named:
            if digest not in present:
                missing.setdefault(digest, record)
    for digest, record in sorted(missing.items()):
        report.add("BlobRemoved", f"blob {digest}", f"its bytes are gone, and record {record} names them")


def _check_blob(row: Any, report: Report, blobs: Blobs) -> None:
    try:
        blobs.judge(row)
    except FileGone:
        report.add("BlobRemoved", f"blob {row.digest}", "the file that its bytes were in is gone")
    except OSError as exc:
        message = f"the file that its bytes were in cannot be read ({exc.strerror})"
        report.add("BlobRemoved", f"blob {row.digest}", message)
    except ValueError as exc:
        report.add("BlobChanged", f"blob {row.digest}", f"its bytes are damaged: {exc}")
