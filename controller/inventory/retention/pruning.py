"""Drops what is older than its rule allows: leaves with all that follows from them, then evidence that no leaf names.

Each transaction drops a batch and appends the leaf that says so, signed: both or neither. Nobody appends meanwhile, so
it is short. The ledger's entries and tiles stay: what was dropped is still proven to have been there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, LargeBinary, delete, func, select, tuple_, update

from controller.errors import ConfigurationError
from controller.inventory import tables
from controller.inventory.blobs.store import Blobs
from controller.inventory.database.dialect import stop_appends, take_time
from controller.inventory.database.engines import let_go
from controller.inventory.index.writing import OWN_ROWS, forget
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.recording import projections
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.projecting import project
from controller.inventory.recording.projections import Appended, Remembered
from controller.inventory.retention import choosing
from controller.inventory.retention.choosing import Chosen, Look
from controller.inventory.retention.holds import in_force
from controller.inventory.retention.leaves import Row, retention_leaf
from controller.inventory.retention.rules import DataClass, Follows, Rule, follows

BATCH = 200  # things looked at in one transaction: nobody records meanwhile
PATIENCE = 2.0  # seconds that a transaction waits for who is recording: they all wait behind it
LOOKUP = 500  # names in one IN list
MAX_DOCUMENTS = 10_000  # of which the index is cleared in one round

log = logging.getLogger(__name__)

_LOOKS: Mapping[DataClass, Sequence[Callable[..., Look]]] = {
    DataClass.SIGHTINGS: (choosing.runs, choosing.gaps),
    DataClass.DECISIONS: (choosing.decisions,),
}


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was dropped of one class, or would be: how many leaves or blobs, and how many things a hold has kept."""

    rule: Rule
    dropped: int
    held: int


class Pruner:
    """Drops by the rules. Blocking; belongs to one thread, and needs the ledger's key."""

    def __init__(
        self,
        writing: Engine,
        reading: Engine,
        *,
        rules: Sequence[Rule],
        blobs: Blobs,
        cluster: str,
        signer: NoteSigner | None,
        clock: Callable[[], datetime],
        pause: Callable[[], bool] = lambda: False,
    ) -> None:
        """`pause` is called between two transactions, to let others write; it says whether to stop."""
        self._writing = writing
        self._reading = reading
        self._rules = rules
        self._blobs = blobs
        self._cluster = cluster
        self._signer = signer
        self._clock = clock
        self._pause = pause

    def foresee(self) -> list[Pruned]:
        """What `prune` would drop now, of each class by itself. Changes nothing."""
        now = self._clock().astimezone(UTC)
        found = []
        with self._reading.begin() as connection:
            take_time(connection)
            holds = in_force(connection)
            for rule in self._rules:
                dropped = held = 0
                for look in _LOOKS.get(rule.what, ()):
                    for seen in _looks(connection, look, before=rule.before(now), holds=holds):
                        dropped += sum(len(one.leaves) for one in seen.chosen)
                        held += seen.held
                if rule.what is DataClass.EVIDENCE:
                    named = _named(connection, after=projections.FIRST_POSITION)[0]
                    dropped = sum(len(batch) for batch in _unnamed(connection, named, rule.before(now)))
                found.append(Pruned(rule, dropped, held))
        return found

    def prune(self) -> list[Pruned]:
        """Drop what the rules allow.

        Raises `ConfigurationError` (`LedgerKeyMissing`), `sqlalchemy.exc.SQLAlchemyError`, `OSError`.
        """
        if self._signer is None:
            raise ConfigurationError("LedgerKeyMissing", "what is dropped is signed for with the ledger's key")
        now = self._clock().astimezone(UTC)
        found = []
        for rule in self._rules:
            if rule.what is DataClass.EVIDENCE:
                found.append(Pruned(rule, self._drop_evidence(rule, now, self._signer), 0))
            else:
                counts = [self._drop_leaves(rule, look, now, self._signer) for look in _LOOKS[rule.what]]
                found.append(Pruned(rule, sum(count for count, _ in counts), sum(held for _, held in counts)))
        self._clear_documents()
        self._drop_files()
        let_go(self._writing)
        return found

    def _drop_leaves(self, rule: Rule, look: Callable[..., Look], now: datetime, signer: NoteSigner) -> tuple[int, int]:
        dropped = held = 0
        after: choosing.Place | None = None
        while True:
            with self._writing.begin() as connection:
                stop_appends(connection, patience=PATIENCE)
                seen = look(connection, before=rule.before(now), after=after, limit=BATCH, holds=in_force(connection))
                if seen.chosen:
                    self._drop(connection, rule, seen.chosen, now, signer)
            dropped += sum(len(one.leaves) for one in seen.chosen)
            held += seen.held
            after = seen.after
            if after is None or self._pause():
                return dropped, held

    def _drop(
        self, connection: Connection, rule: Rule, chosen: Sequence[Chosen], now: datetime, signer: NoteSigner
    ) -> None:
        positions = sorted(position for one in chosen for position in one.leaves)
        leaves = list(_stored(connection, positions))
        decided = sorted(leaf.projection.decided_at for leaf in leaves)
        entries = choosing.numbers(connection, positions)
        leaf = retention_leaf(
            rule,
            entries=sorted(entries.values()),
            evidence=(),
            carried=_carried(connection, leaves),
            cluster=self._cluster,
            at=now,
            signer=signer,
        )
        for table in tables.PROJECTIONS:
            match follows(table):
                case Follows.LEAF:
                    mine = table.c.leaf.in_(positions), table.c.decided_at.between(decided[0], decided[-1])
                    connection.execute(delete(table).where(*mine))
                case Follows.RUN:
                    keys = [one.run for one in chosen if one.run is not None]
                    if keys:
                        columns = tuple_(*(table.c[name] for name in choosing.RUN_KEY))
                        connection.execute(delete(table).where(columns.in_(keys)))
        connection.execute(delete(tables.leaf).where(tables.leaf.c.position.in_(positions)))
        self._append(connection, leaf, now)

    def _append(self, connection: Connection, leaf: Row, now: datetime) -> None:
        append(connection, [Record(project(leaf), {})], now=now, remembered=Remembered(), blobs=self._blobs)

    def _drop_evidence(self, rule: Rule, now: datetime, signer: NoteSigner) -> int:
        """Blobs that no kept leaf names. What was recorded meanwhile is read as well, while nobody writes."""
        with self._reading.begin() as connection:
            take_time(connection)
            named, last = _named(connection, after=projections.FIRST_POSITION)
            candidates = list(_unnamed(connection, named, rule.before(now)))
        dropped = 0
        for batch in candidates:
            with self._writing.begin() as connection:
                stop_appends(connection, patience=PATIENCE)
                more, last = _named(connection, after=last)
                named |= more
                gone = self._blobs.drop(connection, [digest for digest in batch if _key(digest) not in named])
                if gone:
                    mine = tables.document.c.artifact.in_(gone)
                    connection.execute(update(tables.document).where(mine).values(indexed_at=None))
                    self._append(
                        connection,
                        retention_leaf(
                            rule,
                            entries=(),
                            evidence=gone,
                            carried={},
                            cluster=self._cluster,
                            at=now,
                            signer=signer,
                        ),
                        now,
                    )
            dropped += len(gone)
            if self._pause():
                break
        return dropped

    def _clear_documents(self) -> None:
        """What the index holds of documents whose bytes are gone, some rows at a time: links are many. Since these
        documents count as not indexed, no answer rests on them. Their words (components, packages) stay."""
        document, blob = tables.document, tables.blob
        gone = select(document.c.id).outerjoin(blob, blob.c.digest == document.c.artifact)
        with self._reading.begin() as connection:
            numbers = connection.execute(gone.where(blob.c.digest.is_(None)).limit(MAX_DOCUMENTS)).scalars().all()
        for number in numbers:
            for table in OWN_ROWS:
                more = True
                while more:
                    with self._writing.begin() as connection:
                        more = bool(forget(connection, table, number, limit=LOOKUP))
            with self._writing.begin() as connection:
                connection.execute(select(document.c.id).where(document.c.id == number).with_for_update())
                for table in OWN_ROWS:  # what an indexer that was at it wrote meanwhile
                    while forget(connection, table, number, limit=LOOKUP):
                        pass
                connection.execute(delete(document).where(document.c.id == number))
            if self._pause():
                return

    def _drop_files(self) -> None:
        """Files that no row names: what was dropped, and what a crash left before its commit."""
        for batch in _in_batches(self._blobs.kept_in_files()):
            with self._writing.begin() as connection:
                self._blobs.sweep(connection, batch, patience=PATIENCE)
            if self._pause():
                return


def _looks(connection: Connection, look: Callable[..., Look], **what: Any) -> Iterator[Look]:
    after: choosing.Place | None = None
    while True:
        seen = look(connection, after=after, limit=BATCH, **what)
        yield seen
        after = seen.after
        if after is None:
            return


def _stored(connection: Connection, positions: Sequence[int]) -> Iterator[Appended]:
    leaf = tables.leaf
    query = select(leaf.c.position, leaf.c.recorded_at, leaf.c.canonical).where(leaf.c.position.in_(positions))
    for row in connection.execute(query.order_by(leaf.c.position)):
        yield Appended(row.position, row.recorded_at, project(json.loads(row.canonical)))


def _carried(connection: Connection, leaves: Iterable[Appended]) -> dict[str, list[Row]]:
    """The rows that several leaves say, as far as one of these was the first: the retention's leaf goes on saying it.

    Each row is carried once in its life: after that no leaf is earlier than the one that carries it.
    """
    said: dict[str, dict[tuple[Any, ...], tuple[datetime, datetime]]] = {}
    for leaf in leaves:
        for table, _, row in leaf.projection.shared:
            key = tuple(row[column.name] for column in table.primary_key)
            known = said.setdefault(table.name, {}).get(key, (datetime.max.replace(tzinfo=UTC),) * 2)
            times = leaf.projection.decided_at, leaf.recorded_at
            said[table.name][key] = min(known[0], times[0]), min(known[1], times[1])
    carried: dict[str, list[Row]] = {}
    for name, keys in said.items():
        table = tables.metadata.tables[name]
        for batch in _in_batches(sorted(keys)):
            query = select(table).where(tuple_(*table.primary_key.columns).in_(batch))
            for found in connection.execute(query).mappings():
                row = dict(found)
                decided_at, recorded_at = keys[tuple(row[column.name] for column in table.primary_key)]
                if decided_at <= row["decided_at"] or recorded_at <= row["recorded_at"]:
                    carried.setdefault(name, []).append(row)
    return carried


HEAD = 8192  # bytes of a leaf that are read for the evidence it names: in canonical form these come first


def _named(connection: Connection, *, after: int) -> tuple[set[bytes], int]:
    """The evidence that leaves behind a position name, and the last position."""
    leaf = tables.leaf
    named: set[bytes] = set()
    last = after
    head = func.substr(leaf.c.canonical, 1, HEAD, type_=LargeBinary)
    while True:
        query = select(leaf.c.position, head.label("head")).where(leaf.c.position > last).order_by(leaf.c.position)
        rows = connection.execute(query.limit(LOOKUP)).all()
        if not rows:
            return named, last
        last = rows[-1].position
        for row in rows:
            named.update(map(_key, _blobs_of(connection, row)))


def _blobs_of(connection: Connection, row: Any) -> Iterable[str]:
    """What a leaf names. `blobs` is the first name of every leaf in canonical form, so that its head is enough."""
    head: bytes = row.head
    end = head.find(b"]")
    if head.startswith(b'{"blobs":[') and end > 0:
        found: list[str] = json.loads(head[len(b'{"blobs":') : end + 1])
        return found
    leaf = tables.leaf
    whole = connection.execute(select(leaf.c.canonical).where(leaf.c.position == row.position)).scalar_one()
    names: list[str] = json.loads(whole)["blobs"]
    return names


def _key(digest: str) -> bytes:
    """A digest in a third of the memory."""
    return bytes.fromhex(digest.removeprefix("sha256:"))


def _unnamed(connection: Connection, named: set[bytes], before: datetime) -> Iterator[list[str]]:
    """The blobs, in batches, that were recorded before a time and are named by none of these."""
    blob = tables.blob
    last = ""
    while True:
        query = select(blob.c.digest, blob.c.recorded_at).where(blob.c.digest > last).order_by(blob.c.digest)
        rows = connection.execute(query.limit(LOOKUP)).all()
        if not rows:
            return
        last = rows[-1].digest
        batch = [row.digest for row in rows if row.recorded_at < before and _key(row.digest) not in named]
        if batch:
            yield batch


def _in_batches(items: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == LOOKUP:
            yield batch
            batch = []
    if batch:
        yield batch
