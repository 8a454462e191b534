"""Whether the inventory is what was recorded: every row held against the ledger, every projection against its leaf.

What this finds needs no key: a row that was changed, removed, added or moved contradicts a hash somewhere. Who can
write the database can make all hashes anew, though, and take out the end or put another in its place; what he cannot
make is a signature. So the roots are held against every checkpoint that was signed: those in the database, and those
that were kept elsewhere, which alone show a cut end or a second history.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select, type_coerce
from sqlalchemy.types import NULLTYPE

from controller.inventory import dialect, projections, tables
from controller.inventory.blobs.store import COLUMNS, Blobs, FileGone
from controller.inventory.ledger import notes, tiles
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.entry import entry_of
from controller.inventory.ledger.merkle import HASH_SIZE, Frontier, leaf_hash
from controller.inventory.ledger.notes import NoteKey
from controller.inventory.projections import Remembered

BATCH = 500  # leaves held in memory at once
BLOBS = 20  # blobs held in memory at once
MAX_FINDINGS = 100  # told; more are counted
_EXACT_FIRST = (
    *("LeafRemoved", "LeafChanged", "LeafAdded", "LeafUnreadable", "EntryRemoved", "EntryChanged", "EntryAdded"),
    *("LedgerCut", "LedgerForked", "TileRemoved", "TileChanged", "CheckpointInvalid", "RootMismatch"),
    *("BlobRemoved", "BlobChanged", "ProjectionChanged"),
)
"""All codes, the rows that were touched before what follows from that."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was recorded. `where`: the row, as people can find it."""

    code: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that was kept elsewhere: where it came from, and the signed note."""

    source: str
    note: bytes


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found; nothing found means that all of it is as it was recorded.

    `signed` is the size up to which a signature vouches for the entries, `kept` up to which a checkpoint does that was
    kept elsewhere; `waiting` are leaves without a number yet.
    """

    entries: int = 0
    blobs: int = 0
    waiting: int = 0
    signed: int = 0
    kept: int = 0
    findings: list[Finding] = field(default_factory=list)
    omitted: int = 0

    def add(self, code: str, where: str, message: str) -> None:
        """Note a finding; past `MAX_FINDINGS` they are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, _printable(where), _printable(message)))
        else:
            self.omitted += 1


def _printable(text: str) -> str:
    """With what is no text written out: it may be what somebody put in the place of a name."""
    return text.encode(errors="backslashreplace").decode()


def verify(
    connection: Connection, *, keys: Sequence[NoteKey], kept: Iterable[Kept] = (), blobs: Blobs | None = None
) -> Report:
    """Look at everything, in one state of the database. Takes as long as reading all of it does."""
    report = Report()
    checkpoints = _Checkpoints(connection, keys, kept, report)
    _walk(connection, checkpoints, report)
    checkpoints.finish()
    _check_projections(connection, report)
    _check_blobs(connection, report, blobs or Blobs())
    report.findings.sort(key=lambda finding: _EXACT_FIRST.index(finding.code))
    return report


class _Checkpoints:
    """The signed roots, asked for as the tree grows to their sizes."""

    def __init__(self, connection: Connection, keys: Sequence[NoteKey], kept: Iterable[Kept], report: Report) -> None:
        self._report = report
        self._by_size: dict[int, list[tuple[str, Checkpoint, bool]]] = {}
        self._sizes: list[int] = []
        table = tables.ledger_checkpoint
        for row in connection.execute(select(*dialect.stored(connection, table.columns)).order_by(table.c.size)):
            where = f"ledger_checkpoint {row.size}"
            note = row.note.encode(errors="surrogateescape") if isinstance(row.note, str) else b""
            found = self._open(where, note, keys)
            if found is not None and found.size != row.size:
                report.add("CheckpointInvalid", where, f"it stands at size {row.size} and was signed for {found.size}")
            elif found is not None:
                self._by_size.setdefault(found.size, []).append((where, found, False))
        for one in kept:
            found = self._open(one.source, one.note, keys)
            if found is not None:
                self._by_size.setdefault(found.size, []).append((one.source, found, True))

    def _open(self, where: str, note: bytes, keys: Sequence[NoteKey]) -> Checkpoint | None:
        try:
            text, _ = notes.open_note(note, keys)
            return Checkpoint.parse(text)
        except ValueError as exc:
            self._report.add("CheckpointInvalid", where, f"the checkpoint {exc}")
            return None

    def meet(self, frontier: Frontier) -> None:
        """The tree has grown to this size."""
        for where, checkpoint, is_kept in self._by_size.pop(frontier.size, ()):
            if checkpoint.root != frontier.root():
                what = "another history was signed" if is_kept else "an entry before it was changed after it was signed"
                message = f"the first {checkpoint.size} entries are not those that were signed: {what}"
                self._report.add("LedgerForked" if is_kept else "RootMismatch", where, message)
            elif is_kept:
                self._report.kept = max(self._report.kept, checkpoint.size)
            else:
                self._report.signed = max(self._report.signed, checkpoint.size)

    def finish(self) -> None:
        """What is left was signed for more entries than there are."""
        for size, found in sorted(self._by_size.items()):
            for where, _, _ in found:
                message = f"{size} entries were signed for, and there are {self._report.entries}: the end was cut off"
                self._report.add("LedgerCut", where, message)
        self._report.signed = max(self._report.signed, self._report.kept)


def _walk(connection: Connection, checkpoints: _Checkpoints, report: Report) -> None:
    """All leaves in the order of the ledger: each held against its entry, its tiles and its projections."""
    frontier = Frontier()
    grown: dict[tuple[int, int], bytearray] = {}

    def see(level: int, index: int, value: bytes) -> None:
        if level % tiles.HEIGHT == 0:
            grown.setdefault((level // tiles.HEIGHT, index // tiles.WIDTH), bytearray()).extend(value)

    checkpoints.meet(frontier)
    for rows in _entries(connection):
        for row in rows:
            if row.number < 0:
                report.add("EntryAdded", f"ledger_entry {row.number}", "no entry has such a number")
                continue
            for number in range(report.entries, min(row.number, report.entries + MAX_FINDINGS)):
                report.add("EntryRemoved", f"ledger_entry {number}", "the entry is gone")
            report.omitted += max(0, row.number - report.entries - MAX_FINDINGS)
            report.entries = row.number  # go on behind the gap: what comes after it is told by the roots
            _check_leaf(row, report)
            frontier = frontier.append([_hash_of(row)], see)
            report.entries += 1
            checkpoints.meet(frontier)
        _check_tiles(connection, grown, report, whole=True)
    _check_tiles(connection, grown, report, whole=False)
    _check_state(connection, report)


def _hash_of(row: Any) -> bytes:
    """The hash of an entry, whatever stands in its row: what it should not hold changes the hash."""
    try:
        return leaf_hash(entry_of(row.digest, row.recorded_at))
    except (ValueError, TypeError, AttributeError):
        return leaf_hash(b"")


def _entries(connection: Connection) -> Iterator[Sequence[Any]]:
    entry, leaf = tables.ledger_entry, tables.leaf
    columns = dialect.stored(connection, (entry.c.number, entry.c.digest, entry.c.recorded_at, entry.c.leaf))
    found = zip(leaf.columns, dialect.stored(connection, leaf.columns), strict=True)
    columns += [stored.label(f"leaf_{column.name}") for column, stored in found]
    query = select(*columns).outerjoin_from(entry, leaf, leaf.c.position == entry.c.leaf)
    query = query.order_by(entry.c.number).limit(BATCH)
    rows = connection.execute(query).all()
    while rows:
        yield rows
        rows = connection.execute(query.where(entry.c.number > rows[-1].number)).all()


def _check_leaf(row: Any, report: Report) -> None:
    """The leaf's row is the one that the entry is about, and its columns are what its content says."""
    where = f"ledger_entry {row.number}"
    if row.leaf_position is None:
        report.add("LeafRemoved", where, f"its leaf, at position {row.leaf}, is gone")
        return
    where = f"{where}, leaf {row.leaf_id}"
    content = row.leaf_canonical
    if not isinstance(content, bytes) or f"sha256:{hashlib.sha256(content).hexdigest()}" != row.digest:
        report.add("LeafChanged", where, "the leaf's content is not the one that was given this number")
        return
    if row.leaf_recorded_at != row.recorded_at:
        report.add("LeafChanged", where, "the time at which it was recorded is not the one that it had")
    try:
        said = json.loads(content)
        says = said["id"], said["decisionKey"], said["verdict"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return  # it was numbered like this; that nobody can read it is told with the projections
    if (row.leaf_id, row.leaf_decision_key, row.leaf_verdict) != says:
        report.add("LeafChanged", where, "the leaf's columns are not what its content says")


def _check_tiles(
    connection: Connection, grown: dict[tuple[int, int], bytearray], report: Report, *, whole: bool
) -> None:
    """The tiles that the entries come to, against those that are stored. `whole`: only those that are full now."""
    for key in [key for key, content in grown.items() if not whole or len(content) == tiles.WIDTH * HASH_SIZE]:
        made, stored = bytes(grown.pop(key)), _tile(connection, *key)
        where = tiles.path(*key, len(made) // HASH_SIZE)
        if not stored:
            report.add("TileRemoved", where, "the tile is gone")
        elif stored != made and key[0] == 0 and _stands(connection, key[1], stored):
            _tell_entries(key[1], made, stored, report)
        elif stored != made:
            report.add("TileChanged", where, "its hashes are not what the entries below it come to")


def _tile(connection: Connection, level: int, number: int) -> bytes:
    table = tables.ledger_tile
    query = select(*dialect.stored(connection, (table.c.content,)))
    content = connection.execute(query.where(table.c.level == level, table.c.number == number)).scalar()
    if content is None or isinstance(content, bytes):
        return content or b""
    return str(content).encode(errors="replace")  # no tile, and not gone


def _stands(connection: Connection, number: int, tile: bytes) -> bool:
    """Whether the tile above vouches for this one: then it is the entries that were changed, and not the tile."""
    if len(tile) != tiles.WIDTH * HASH_SIZE:
        return False
    above = _tile(connection, 1, number // tiles.WIDTH)
    at = number % tiles.WIDTH * HASH_SIZE
    return above[at : at + HASH_SIZE] == Frontier().append(tiles.hashes_of(tile)).root()


def _tell_entries(number: int, made: bytes, stored: bytes, report: Report) -> None:
    first = number * tiles.WIDTH
    had = tiles.hashes_of(stored)
    for at, found in enumerate(tiles.hashes_of(made)):
        if found != had[at]:
            moved = f": it was given number {first + had.index(found)}" if found in had else ""
            report.add("EntryChanged", f"ledger_entry {first + at}", f"it is not what was given this number{moved}")


def _check_state(connection: Connection, report: Report) -> None:
    leaf, entry = tables.leaf, tables.ledger_entry
    last = connection.execute(select(func.max(leaf.c.position)).join(entry, entry.c.leaf == leaf.c.position)).scalar()
    last = last or 0
    size, numbered = _state(connection, report)
    if size != report.entries:
        message = f"the ledger says that it has {size} entries, and there are {report.entries}"
        report.add("LedgerCut" if size > report.entries else "EntryAdded", "ledger_state", message)
    elif numbered != last:
        message = f"the ledger says that it has leaves up to position {numbered}, and the last that it has is {last}"
        report.add("LedgerCut" if numbered > last else "EntryAdded", "ledger_state", message)
    tile = tables.ledger_tile
    for level, number in connection.execute(select(tile.c.level, tile.c.number).order_by(tile.c.level, tile.c.number)):
        if not (0 <= level <= tiles.MAX_LEVEL and number >= 0 and tiles.width_of(level, number, report.entries)):
            report.add("TileChanged", f"ledger_tile {level} {number}", "the ledger does not go that far")
    absent = select(leaf.c.position, *dialect.stored(connection, (leaf.c.id,)))
    absent = absent.outerjoin(entry, entry.c.leaf == leaf.c.position).where(entry.c.number.is_(None))
    for row in connection.execute(absent.order_by(leaf.c.position)):
        if row.position <= last:
            report.add("LeafAdded", f"leaf {row.id}", "it stands among leaves that have a number, and has none")
        else:
            report.waiting += row.position > numbered  # those before were cut off with the ledger's end


def _state(connection: Connection, report: Report) -> tuple[int, int]:
    """What the ledger says of itself: its size, and the last leaf that has a number."""
    table = tables.ledger_state
    columns = dialect.stored(connection, (table.c.size, table.c.leaf))
    rows = connection.execute(select(*columns).order_by(table.c.id)).all()
    if len(rows) > 1:
        report.add("EntryAdded", "ledger_state", f"{len(rows)} rows say how far the ledger goes, and one has to")
    elif not rows or not all(isinstance(value, int) for value in rows[0]):
        report.add("LedgerCut", "ledger_state", "no row says how far the ledger goes")
    else:
        return rows[0].size, rows[0].leaf
    last = connection.execute(select(func.max(tables.ledger_entry.c.leaf))).scalar()
    return report.entries, last if isinstance(last, int) else 0


def _check_projections(connection: Connection, report: Report) -> None:
    """Make all projections anew from the leaves, beside the database, and hold the rows that are there against them."""
    with tempfile.TemporaryDirectory() as folder:
        engine = dialect.scratch_engine(Path(folder) / "projections.db")
        try:
            with engine.begin() as scratch:
                tables.metadata.create_all(scratch, tables.PROJECTIONS)
                for batch in projections.stored(connection, unreadable=lambda leaf: _tell_unreadable(leaf, report)):
                    projections.write(scratch, batch, Remembered())
                for table in tables.PROJECTIONS:
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


def _check_blobs(connection: Connection, report: Report, blobs: Blobs) -> None:
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
    leaf = tables.leaf
    missing: dict[str, str] = {}
    for record, canonical in connection.execute(
        select(*dialect.stored(connection, (leaf.c.id, leaf.c.canonical)))
        .order_by(leaf.c.position)
        .execution_options(yield_per=BATCH)
    ):
        try:
            named = [str(digest) for digest in json.loads(canonical).get("blobs") or ()]
        except (ValueError, TypeError, AttributeError, RecursionError):
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
