"""Reads the ledger: its tiles, its checkpoints, and the proofs that follow from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, select
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import InputError, Unacceptable
from controller.inventory import tables
from controller.inventory.database.failures import unavailable
from controller.inventory.ledger import merkle, tiles
from controller.inventory.ledger.entry import entry_of
from controller.inventory.ledger.merkle import HASH_SIZE


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That a record is entry `index` of the ledger that `checkpoint` (a signed note) is about, of `size` entries.

    `entry` is what the tree holds; `hashes` lead from its leaf hash to the checkpoint's root (RFC 6962, 2.1.1).
    """

    record: str
    entry: bytes
    index: int
    size: int
    hashes: tuple[bytes, ...]
    checkpoint: str


@dataclass(frozen=True, slots=True)
class Signed:
    """A signed checkpoint (`note`) and the size of which it speaks."""

    size: int
    note: str


@dataclass(frozen=True, slots=True)
class Extent:
    """How far the ledger goes: its entries, the records that have none yet, and since when the first of them waits."""

    size: int
    waiting: int
    since: datetime | None


class LedgerReader:
    """Reads one inventory's ledger. Blocking.

    Every method raises `Unavailable` (`DatabaseBusy`, `DatabaseUnavailable`) when the database is away, and
    `Unacceptable` (`LedgerDamaged`) where a part of the ledger is missing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def checkpoint(self) -> str | None:
        """The newest signed checkpoint; None before the first."""
        with self._reading() as connection:
            newest = _newest(connection)
        return newest.note if newest is not None else None

    def extent(self) -> Extent:
        """How far the ledger goes."""
        leaf = tables.leaf
        with self._reading() as connection:
            state = connection.execute(select(tables.ledger_state)).one()
            waiting = select(func.count(), func.min(leaf.c.recorded_at)).where(leaf.c.position > state.leaf)
            count, since = connection.execute(waiting).one()
        return Extent(state.size, count, since)

    def tile(self, path: str) -> bytes | None:
        """A tile or a bundle of entries by its path (https://c2sp.org/tlog-tiles); None for one that is not there.

        A partial one is served of any width that the ledger has reached. Raises `InputError` (`TileUnknown`).
        """
        try:
            level, number, width = tiles.parse_path(path)
        except ValueError as exc:
            raise InputError("TileUnknown", f"{path[:100]!r} is {exc}") from exc
        with self._reading() as connection:
            size = connection.execute(select(tables.ledger_state.c.size)).scalar_one()
            if tiles.width_of(level, number, size) < width:
                return None
            if level is None:
                return _bundle(connection, number * tiles.WIDTH, width)
            return tile_reader(connection, size)(level, number)[: width * HASH_SIZE]

    def prove(self, record: str) -> InclusionProof | None:
        """That the record of this id is in the ledger; None if there is none, or none that has a number yet."""
        with self._reading() as connection:
            signed = self.newest(connection)
            return _proofs(connection, [record], signed).get(record) if signed is not None else None

    def prove_entry(self, number: int) -> InclusionProof | None:
        """That the entry of this number is in the ledger, whether its record was dropped since or not; None if not.

        `record` is empty in it: what is known of a dropped record is its hash.
        """
        entry = tables.ledger_entry
        with self._reading() as connection:
            signed = self.newest(connection)
            if signed is None or not 0 <= number < signed.size:
                return None
            row = connection.execute(select(entry).where(entry.c.number == number)).one_or_none()
            if row is None:
                raise Unacceptable("LedgerDamaged", f"the ledger lacks entry {number}")
            nodes = tiles.nodes_in(tile_reader(connection, signed.size))
            hashes = tuple(merkle.inclusion_proof(number, signed.size, nodes))
        return InclusionProof("", entry_of(row.digest, row.recorded_at), number, signed.size, hashes, signed.note)

    def prove_all(self, records: Sequence[str], signed: Signed) -> Mapping[str, InclusionProof]:
        """The proofs of these records that lead to one checkpoint; what had no number by then has none."""
        with self._reading() as connection:
            return _proofs(connection, records, signed)

    @staticmethod
    def newest(connection: Connection) -> Signed | None:
        """The newest checkpoint in this state of the database; None before the first."""
        found = _newest(connection)
        return Signed(found.size, found.note) if found is not None else None

    def continues(self, old: int, new: int) -> list[bytes]:
        """The proof that the first `old` entries are the beginning of the first `new`.

        Raises `InputError` (`SizesOutOfRange`) for sizes that the ledger does not have.
        """
        with self._reading() as connection:
            size = connection.execute(select(tables.ledger_state.c.size)).scalar_one()
            if not 0 < old <= new <= size:
                raise InputError("SizesOutOfRange", f"the sizes must be from 1 to {size}, the smaller one first")
            return merkle.consistency_proof(old, new, tiles.nodes_in(tile_reader(connection, size)))

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as exc:
            raise unavailable(exc) from exc


def tile_reader(connection: Connection, size: int) -> Callable[[int, int], bytes]:
    """A function (level, number) to the tile's bytes as wide as a ledger of that size has it; each is read once.

    It raises `Unacceptable` (`LedgerDamaged`) for a tile that should be there and is not, or is too short.
    """
    known: dict[tuple[int, int], bytes] = {}
    table = tables.ledger_tile

    def read(level: int, number: int) -> bytes:
        width = tiles.width_of(level, number, size) * HASH_SIZE
        if (level, number) not in known:
            query = select(table.c.content).where(table.c.level == level, table.c.number == number)
            known[level, number] = connection.execute(query).scalar() or b""
        content = known[level, number]
        if not width or len(content) < width:
            raise Unacceptable("LedgerDamaged", f"the ledger's {tiles.path(level, number)} is not there whole")
        return content[:width]

    return read


def _proofs(connection: Connection, records: Sequence[str], signed: Signed) -> dict[str, InclusionProof]:
    leaf, entry = tables.leaf, tables.ledger_entry
    query = select(leaf.c.id, entry.c.number, entry.c.digest, entry.c.recorded_at).join(
        leaf, leaf.c.position == entry.c.leaf
    )
    rows = connection.execute(query.where(leaf.c.id.in_(records), entry.c.number < signed.size)).all()
    nodes = tiles.nodes_in(tile_reader(connection, signed.size))
    found = {}
    for row in rows:
        hashes = tuple(merkle.inclusion_proof(row.number, signed.size, nodes))
        content = entry_of(row.digest, row.recorded_at)
        found[row.id] = InclusionProof(row.id, content, row.number, signed.size, hashes, signed.note)
    return found


def _newest(connection: Connection) -> Row[Any] | None:
    table = tables.ledger_checkpoint
    return connection.execute(select(table).order_by(table.c.size.desc()).limit(1)).one_or_none()


def _bundle(connection: Connection, first: int, width: int) -> bytes:
    entry = tables.ledger_entry
    query = select(entry.c.digest, entry.c.recorded_at).where(entry.c.number >= first, entry.c.number < first + width)
    rows = connection.execute(query.order_by(entry.c.number)).all()
    if len(rows) < width:
        raise Unacceptable("LedgerDamaged", f"the ledger lacks entries from {first} on")
    return tiles.bundle([entry_of(row.digest, row.recorded_at) for row in rows])
