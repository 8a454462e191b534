"""Gives every recorded leaf its number in the ledger, and signs what that comes to. One sequencer at a time.

Whoever takes over raises the *term*; each write carries the writer's term and the size that it built upon, and the
database refuses any other. Two sequencers that believe in themselves can therefore never fork the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, delete, func, select, update

from controller.errors import AssayError
from controller.inventory import tables
from controller.inventory.database.dialect import stop_appends, upsert
from controller.inventory.ledger import notes, tiles
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.entry import entry_of
from controller.inventory.ledger.merkle import Frontier, leaf_hash, root_of
from controller.inventory.ledger.notes import NoteKey, NoteSigner
from controller.inventory.ledger.reading import tile_reader

MAX_BATCH = 256  # leaves of one transaction: it holds SQLite's only writing lock meanwhile, and decisions wait
PATIENCE = 1.0  # seconds that a look waits for who is recording: they all wait behind it


class LedgerError(AssayError):
    """The ledger cannot be written: another writes it (`LedgerTaken`), or it is not as it was (`LedgerForked`)."""


@dataclass(frozen=True, slots=True)
class Sequenced:
    """How far the ledger has come: its size, how many entries were added now, and whether more wait."""

    size: int
    added: int
    more: bool


class Sequencer:
    """Writes the ledger of one inventory. Blocking; belongs to one thread."""

    def __init__(
        self, writing: Engine, reading: Engine, *, signer: NoteSigner, clock: Callable[[], datetime], term: int = 0
    ) -> None:
        self._writing = writing
        self._reading = reading
        self._signer = signer
        self._clock = clock
        self._term = term
        self._frontier: Frontier | None = None
        self._kept: Checkpoint | None = None
        self.cosigned: Callable[[], int] = lambda: -1  # the size of the newest checkpoint that a witness has cosigned
        self.signed = ""  # the note that this sequencer signed last, which is in the database

    @property
    def key(self) -> NoteKey:
        """The public half of what it signs with."""
        return self._signer.key()

    @property
    def term(self) -> int:
        """The term under which it writes, if it still does."""
        return self._term

    def take_over(self) -> None:
        """Be the one who writes, until somebody else is. Raises `sqlalchemy.exc.SQLAlchemyError`, as all of these."""
        state = tables.ledger_state
        with self._writing.begin() as connection:
            connection.execute(update(state).values(term=state.c.term + 1))
            self._term = connection.execute(select(state.c.term)).scalar_one()
        self._frontier = None

    def check(self, kept: Checkpoint) -> None:
        """Raise `LedgerError` (`LedgerForked`) unless the ledger continues what this checkpoint says of it."""
        with self._reading.begin() as connection:
            _continue(connection, connection.execute(select(tables.ledger_state.c.size)).scalar_one(), kept)
        if self._kept is None or kept.size > self._kept.size:
            self._kept = kept

    def sequence(self) -> Sequenced:
        """Number what was recorded since, at most `MAX_BATCH` leaves, and sign the new size.

        Raises `LedgerError`: `LedgerTaken` when another took over, or the ledger is not as this sequencer left it,
        `LedgerForked` where it does not continue what it was checked against.
        """
        last = self._last_leaf()
        with self._reading.begin() as connection:
            state = connection.execute(select(tables.ledger_state)).one()
            leaves = _next_leaves(connection, after=state.leaf, until=last)
            if not leaves:
                return Sequenced(state.size, 0, more=False)
            frontier = self._frontier
            if frontier is not None and frontier.size != state.size:
                # Another writes, or an older state was put back: whoever goes on looks first what it continues.
                raise LedgerError("LedgerTaken", f"it has {state.size} entries, and had {frontier.size}")
            if frontier is None:
                if self._kept is not None:
                    _continue(connection, state.size, self._kept)
                frontier = Frontier.of(state.size, tiles.nodes_in(tile_reader(connection, state.size)))
            partial = _partial_tiles(connection, state.size)
        entries, hashes = _entries(state.size, leaves)
        grown = _Tiles(partial)
        frontier = frontier.append(hashes, grown.add)
        self.signed = self._write(state, entries, grown, frontier)
        self._frontier = frontier
        return Sequenced(frontier.size, len(entries), more=len(leaves) == MAX_BATCH)

    def _last_leaf(self) -> int:
        """The last position that is certain: nothing that is under way now can still come before it."""
        with self._writing.begin() as connection:
            stop_appends(connection, patience=PATIENCE)
            return connection.execute(select(func.max(tables.leaf.c.position))).scalar() or 0

    def _write(self, state: Row[Any], entries: Sequence[dict[str, object]], grown: _Tiles, frontier: Frontier) -> str:
        now = self._clock().astimezone(UTC)
        text = Checkpoint(self._signer.name, frontier.size, frontier.root()).text()
        note = notes.note(text, [self._signer.sign(text)])
        table, checkpoint = tables.ledger_state, tables.ledger_checkpoint
        with self._writing.begin() as connection:
            mine = update(table).where(table.c.term == self._term, table.c.size == state.size)
            found = connection.execute(mine.values(size=frontier.size, leaf=entries[-1]["leaf"]))
            if found.rowcount != 1:
                raise LedgerError("LedgerTaken", "another sequencer writes the ledger now")
            connection.execute(tables.ledger_entry.insert(), entries)
            statement = upsert(connection, tables.ledger_tile)
            connection.execute(
                statement.on_conflict_do_update(
                    index_elements=["level", "number"], set_={"content": statement.excluded.content}
                ),
                grown.rows(),
            )
            hour = now.replace(minute=0, second=0, microsecond=0)
            dated = checkpoint.c.signed_at >= hour, checkpoint.c.size != self.cosigned()
            connection.execute(delete(checkpoint).where(*dated))
            connection.execute(checkpoint.insert(), {"size": frontier.size, "note": note, "signed_at": now})
        return note


class _Tiles:
    """The tiles that grow, by (level, number)."""

    def __init__(self, partial: dict[tuple[int, int], bytes]) -> None:
        self._content = {key: bytearray(content) for key, content in partial.items()}
        self._changed: set[tuple[int, int]] = set()

    def add(self, level: int, index: int, value: bytes) -> None:
        """A node of the tree is there now."""
        if level % tiles.HEIGHT:
            return
        key = level // tiles.HEIGHT, index // tiles.WIDTH
        self._content.setdefault(key, bytearray()).extend(value)
        self._changed.add(key)

    def rows(self) -> list[dict[str, object]]:
        """What is to be written."""
        return [
            {"level": level, "number": number, "content": bytes(self._content[level, number])}
            for level, number in sorted(self._changed)
        ]


def _continue(connection: Connection, size: int, kept: Checkpoint) -> None:
    """Raise `LedgerError` (`LedgerForked`) unless a ledger of that size continues the checkpoint."""
    if kept.size > size:
        why = f"it has {size} entries, and a checkpoint was signed for {kept.size}"
        raise LedgerError("LedgerForked", f"the ledger is shorter than it was: {why}")
    if kept.size and root_of(kept.size, tiles.nodes_in(tile_reader(connection, size))) != kept.root:
        raise LedgerError("LedgerForked", f"the ledger's first {kept.size} entries are not those it had before")


def _next_leaves(connection: Connection, *, after: int, until: int) -> Sequence[Any]:
    leaf = tables.leaf
    query = select(leaf.c.position, leaf.c.canonical, leaf.c.recorded_at)
    where = leaf.c.position > after, leaf.c.position <= until
    return connection.execute(query.where(*where).order_by(leaf.c.position).limit(MAX_BATCH)).all()


def _entries(first: int, leaves: Sequence[Any]) -> tuple[list[dict[str, object]], list[bytes]]:
    entries: list[dict[str, object]] = []
    hashes: list[bytes] = []
    for number, leaf in enumerate(leaves, first):
        digest = f"sha256:{hashlib.sha256(leaf.canonical).hexdigest()}"
        entries.append({"number": number, "leaf": leaf.position, "digest": digest, "recorded_at": leaf.recorded_at})
        hashes.append(leaf_hash(entry_of(digest, leaf.recorded_at)))
    return entries, hashes


def _partial_tiles(connection: Connection, size: int) -> dict[tuple[int, int], bytes]:
    """The last tile of each level, where that is not full."""
    read = tile_reader(connection, size)
    found = {}
    for level in range(tiles.MAX_LEVEL + 1):
        count = size >> (tiles.HEIGHT * level)
        if count % tiles.WIDTH:
            found[level, count // tiles.WIDTH] = read(level, count // tiles.WIDTH)
    return found
