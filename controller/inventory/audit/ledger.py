"""Holds every leaf against its entry, every entry against the tree, and the tree against what was signed of it.

Where several things contradict each other, the row that was touched is told from those that it contradicts by what a
signature, or the tree above, vouches for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from controller.inventory import tables
from controller.inventory.audit.report import MAX_FINDINGS, Cosigned, Kept, Report
from controller.inventory.audit.retention import Dropped
from controller.inventory.database import dialect
from controller.inventory.ledger import notes, tiles
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.entry import entry_of
from controller.inventory.ledger.merkle import HASH_SIZE, Frontier, leaf_hash, root_of
from controller.inventory.ledger.notes import COSIGNATURE, NoteKey, Signed

BATCH = 500  # leaves held in memory at once
STATE_ROW = 1  # the one row of `ledger_state`


def check_ledger(connection: Connection, *, keys: Sequence[NoteKey], kept: Iterable[Kept], report: Report) -> None:
    """Look at all leaves, entries, tiles and checkpoints, and add to the report what is not as it was recorded."""
    checkpoints = _Checkpoints(connection, keys, kept, report)
    _walk(connection, checkpoints, Dropped(connection, keys, report), report)
    checkpoints.finish()


class _Checkpoints:
    """The signed roots, asked for as the tree grows to their sizes."""

    def __init__(self, connection: Connection, keys: Sequence[NoteKey], kept: Iterable[Kept], report: Report) -> None:
        self._report = report
        self._by_size: dict[int, list[tuple[str, Checkpoint, bool]]] = {}
        self.stored: dict[int, Checkpoint] = {}  # those in the database that are signed, by their size
        self._seen: dict[Checkpoint, list[Signed]] = {}  # by which witnesses
        self.sizes: set[int] = set()  # of all rows in the database, whatever stands in them
        table = tables.ledger_checkpoint
        for row in connection.execute(select(*dialect.stored(connection, table.columns)).order_by(table.c.size)):
            where = f"ledger_checkpoint {row.size}"
            self.sizes.add(row.size)
            note = row.note.encode(errors="surrogateescape") if isinstance(row.note, str) else b""
            found = self._open(where, note, keys)
            if found is not None and found.size != row.size:
                report.add("CheckpointInvalid", where, f"it stands at size {row.size} and was signed for {found.size}")
            elif found is not None:
                self.stored[found.size] = found
                self._by_size.setdefault(found.size, []).append((where, found, False))
        for one in kept:
            found = self._open(one.source, one.note, keys)
            if found is not None:
                self._by_size.setdefault(found.size, []).append((one.source, found, True))

    def _open(self, where: str, note: bytes, keys: Sequence[NoteKey]) -> Checkpoint | None:
        try:
            text, signed = notes.open_note(note, keys)
            if all(each.key.kind == COSIGNATURE for each in signed):
                raise ValueError("is not signed by the ledger's key")
            checkpoint = Checkpoint.parse(text)
            self._seen.setdefault(checkpoint, []).extend(each for each in signed if each.at is not None)
            return checkpoint
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
                continue
            if is_kept:
                self._report.kept = max(self._report.kept, checkpoint.size)
            else:
                self._report.signed = max(self._report.signed, checkpoint.size)
            for seen in self._seen.get(checkpoint, ()):
                if seen.at is not None:
                    self._report.cosigned[seen.key.name] = Cosigned(checkpoint.size, seen.at)

    def finish(self) -> None:
        """What is left was signed for more entries than there are."""
        for size, found in sorted(self._by_size.items()):
            for where, _, _ in found:
                message = f"{size} entries were signed for, and there are {self._report.entries}: the end was cut off"
                self._report.add("LedgerCut", where, message)
        self._report.signed = max(self._report.signed, self._report.kept)


def _walk(connection: Connection, checkpoints: _Checkpoints, dropped: Dropped, report: Report) -> None:
    """All leaves in the order of the ledger: each held against its entry, its tiles and its projections."""
    frontier = Frontier()
    grown: dict[tuple[int, int], bytearray] = {}

    def see(level: int, index: int, value: bytes) -> None:
        if level % tiles.HEIGHT == 0:
            grown.setdefault((level // tiles.HEIGHT, index // tiles.WIDTH), bytearray()).extend(value)

    state, last = _state(connection, report), 0
    # A size that was signed and that the ledger says of itself: what is missing up to there, or stands beyond, is the
    # entries' own row, and not what speaks of them.
    vouched = checkpoints.stored.get(state.size) if state.size is not None else None
    checkpoints.meet(frontier)
    for rows in _entries(connection):
        for row in rows:
            if row.number < 0 or (vouched is not None and row.number >= vouched.size):
                report.add("EntryAdded", f"ledger_entry {row.number}", "the ledger has no entry of such a number")
                continue
            for number in range(report.entries, min(row.number, report.entries + MAX_FINDINGS)):
                report.add("EntryRemoved", f"ledger_entry {number}", "the entry is gone")
            report.omitted += max(0, row.number - report.entries - MAX_FINDINGS)
            report.entries = row.number  # go on behind the gap: what comes after it is told by the roots
            last = max(last, _check_leaf(row, dropped.by(row.number), report))
            frontier = frontier.append([_hash_of(row)], see)
            report.entries += 1
            checkpoints.meet(frontier)
        _check_tiles(connection, grown, report, whole=True)
    if vouched is not None:
        for number in range(report.entries, vouched.size)[:MAX_FINDINGS]:
            report.add("EntryRemoved", f"ledger_entry {number}", "the entry is gone: the ledger's end was cut off")
        report.omitted += max(0, vouched.size - report.entries - MAX_FINDINGS)
    _check_tiles(connection, grown, report, whole=False, vouched=vouched)
    _check_state(connection, state, checkpoints, last, report)


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


def _check_leaf(row: Any, dropped: str | None, report: Report) -> int:
    """The leaf's row is the one that the entry is about, and its columns are what its content says.

    `dropped` is the record that says that it was dropped by rule. Returns the position of the entry's leaf, where that
    is there or was dropped.
    """
    where = f"ledger_entry {row.number}"
    if row.leaf_position is None and dropped is not None:
        report.dropped[dropped] = report.dropped.get(dropped, 0) + 1
        return row.leaf if isinstance(row.leaf, int) else 0
    if row.leaf_position is None:
        report.add("LeafRemoved", where, f"its leaf, at position {row.leaf}, is gone")
        return 0
    if dropped is not None:
        message = f"it was dropped by rule (record {dropped}), and somebody put it back"
        report.add("LeafAdded", f"{where}, leaf {row.leaf_id}", message)
    _check_content(row, report)
    return int(row.leaf_position)


def _check_content(row: Any, report: Report) -> None:
    where = f"ledger_entry {row.number}, leaf {row.leaf_id}"
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
    connection: Connection,
    grown: dict[tuple[int, int], bytearray],
    report: Report,
    *,
    whole: bool,
    vouched: Checkpoint | None = None,
) -> None:
    """The tiles that the entries come to, against those that are stored. `whole`: only those that are full now.

    `vouched` is the signed checkpoint of the tree's whole size, if there is one.
    """
    edge = vouched is not None and _edge_stands(connection, vouched)
    for key in [key for key, content in grown.items() if not whole or len(content) == tiles.WIDTH * HASH_SIZE]:
        made, stored = bytes(grown.pop(key)), _tile(connection, *key)
        where = tiles.path(*key, len(made) // HASH_SIZE)
        if not stored:
            report.add("TileRemoved", where, "the tile is gone")
        elif stored != made and key[0] == 0 and (_stands(connection, key[1], stored) or (edge and not whole)):
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


def _edge_stands(connection: Connection, vouched: Checkpoint) -> bool:
    """Whether the stored tiles come to the root that was signed: then the last one is what it was, full or not."""

    def read(level: int, number: int) -> bytes:
        return _tile(connection, level, number)[: tiles.width_of(level, number, vouched.size) * HASH_SIZE]

    try:
        return root_of(vouched.size, tiles.nodes_in(read)) == vouched.root
    except ValueError:  # a tile is gone, or none
        return False


def _tell_entries(number: int, made: bytes, stored: bytes, report: Report) -> None:
    first = number * tiles.WIDTH
    had = tiles.hashes_of(stored)
    for at, found in enumerate(tiles.hashes_of(made)[: len(had)]):
        if found != had[at]:
            moved = f": it was given number {first + had.index(found)}" if found in had else ""
            report.add("EntryChanged", f"ledger_entry {first + at}", f"it is not what was given this number{moved}")


def _check_state(
    connection: Connection, state: _State, checkpoints: _Checkpoints, dropped: int, report: Report
) -> None:
    """`dropped` is the last leaf that an entry has, or had before it was dropped by rule."""
    leaf, entry = tables.leaf, tables.ledger_entry
    there = connection.execute(select(func.max(leaf.c.position)).join(entry, entry.c.leaf == leaf.c.position)).scalar()
    last = max(there or 0, dropped)
    size = state.size if state.size is not None else report.entries
    numbered = state.leaf if state.leaf is not None else _last_numbered(connection)
    if size == report.entries and size > max(checkpoints.stored, default=0) and size not in checkpoints.sizes:
        message = "the ledger's size was signed, and the note is gone"
        report.add("CheckpointRemoved", f"ledger_checkpoint {size}", message)
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


@dataclass(frozen=True, slots=True)
class _State:
    """What the ledger says of itself: its size, and the last leaf that has a number. None where it does not say."""

    size: int | None = None
    leaf: int | None = None


def _state(connection: Connection, report: Report) -> _State:
    table = tables.ledger_state
    columns = dialect.stored(connection, (table.c.id, table.c.size, table.c.leaf))
    rows = connection.execute(select(*columns).order_by(table.c.id)).all()
    if len(rows) > 1:
        report.add("EntryAdded", "ledger_state", f"{len(rows)} rows say how far the ledger goes, and one has to")
    elif not rows or rows[0].id != STATE_ROW or not all(isinstance(value, int) for value in rows[0]):
        report.add("LedgerCut", "ledger_state", "no row says how far the ledger goes")
    else:
        return _State(rows[0].size, rows[0].leaf)
    return _State()


def _last_numbered(connection: Connection) -> int:
    last = connection.execute(select(func.max(tables.ledger_entry.c.leaf))).scalar()
    return last if isinstance(last, int) else 0
