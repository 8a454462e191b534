"""Finds the records that belong to an export, and hands them over one after the other: a `Source` of a bundle.

Which records they are is settled at once, from what had been recorded by `known_at`; what they hold is read while the
bundle is written. The newest checkpoint is settled with them, so that all proofs lead to one root.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, func, or_, select

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking.asker import Asker, check_period
from controller.inventory.asking.queries import Queries
from controller.inventory.asking.runs.ranges import RunFilter, page
from controller.inventory.bundle.parts import Role, parts
from controller.inventory.bundle.source import Kept, Selection
from controller.inventory.bundle.tlog_proof import TlogProof
from controller.inventory.ledger.reading import LedgerReader, Signed
from controller.inventory.tables import of_one_leaf
from controller.model.reference import Digest

MAX_RECORDS = 10_000  # in one bundle
BATCH = 200  # records read at a time

_decision, _image = tables.decision, tables.decision_image
_run, _gap = tables.run, tables.watch_gap


@dataclass(frozen=True)
class Gathered:
    """The records of an export (their positions), and where to read them.

    `confined` to a namespace, evidence is handed over as far as that may see it: its own decisions name the evidence of
    images that it never ran, whose bytes are not its matter. What they were made by (policies, keys, trust roots) is.
    """

    gatherer: Gatherer
    positions: tuple[int, ...]
    known_at: datetime
    signed: Signed | None = field(repr=False)
    confined: str | None = None

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint to which every proof leads."""
        return self.signed.note if self.signed is not None else None

    def records(self) -> Iterator[Kept]:
        """The records, in the order in which they were appended."""
        return self.gatherer.records(self)

    def leaves(self) -> Iterator[Any]:
        """Their JSON values."""
        return self.gatherer.leaves(self)

    def blob(self, digest: str) -> bytes | None:
        """Kept bytes."""
        namespace = self.confined if digest not in self._grounds else None
        return self.gatherer.blob(digest, known_at=self.known_at, namespace=namespace)

    def weigh(self, digests: Iterable[str]) -> int:
        """How many bytes are kept under these digests."""
        return self.gatherer.weigh(digests)

    @cached_property
    def _grounds(self) -> frozenset[str]:
        """What the decisions were made by, which who may see them may see."""
        if self.confined is None:
            return frozenset()
        found = (part for leaf in self.leaves() for part in parts(leaf).values())
        return frozenset(part.digest for part in found if part.role not in {Role.EVIDENCE, Role.OTHER})


class Gatherer(Asker):
    """Finds what belongs to an export."""

    def gather(
        self, chosen: Selection, *, known_at: datetime, newest: int | None = None, confined: bool = False
    ) -> Gathered | None:
        """The records that are asked for; None if there are none.

        With `newest` only so many runs and so many decisions, the newest, with what belongs to them. `confined`: for
        somebody who may see the selection's namespace alone; else that only says which records are meant.
        Raises `InputError` (`ExportTooLarge`, `SelectionMissing`, `SelectionAmbiguous`, `PeriodEmpty`,
        `DigestMalformed`).
        """
        _check(chosen)
        with self._reading() as connection:
            found = _Finding(connection, chosen, known_at, newest)
            positions = found.positions()
            signed = LedgerReader.newest(connection)
        return (
            Gathered(self, tuple(sorted(positions)), known_at, signed, chosen.namespace if confined else None)
            if positions
            else None
        )

    def records(self, gathered: Gathered) -> Iterator[Kept]:
        """The records with their proofs."""
        ledger = LedgerReader(self._engine)
        for rows in self._batches(gathered):
            proofs = ledger.prove_all([row.id for row in rows], gathered.signed) if gathered.signed else {}
            for row in rows:
                proof = proofs.get(row.id)
                if proof is None:
                    yield Kept(row.id, row.canonical, None, None)
                else:
                    path = TlogProof(proof.index, proof.hashes, proof.checkpoint)
                    yield Kept(row.id, row.canonical, proof.entry, path)

    def leaves(self, gathered: Gathered) -> Iterator[Any]:
        """The records' JSON values."""
        for rows in self._batches(gathered):
            yield from (json.loads(row.canonical) for row in rows)

    def blob(self, digest: str, *, known_at: datetime, namespace: str | None) -> bytes | None:
        """Kept bytes, as far as a namespace may see them. Raises as `Queries.blob` does."""
        return Queries(self._engine, self._blobs).blob(digest, known_at=known_at, namespace=namespace)

    def weigh(self, digests: Iterable[str]) -> int:
        """How many bytes are kept under these digests."""
        blob, total = tables.blob, 0
        with self._reading() as connection:
            for some in _batched(sorted(digests)):
                query = select(func.coalesce(func.sum(blob.c.size), 0)).where(blob.c.digest.in_(some))
                total += int(connection.execute(query).scalar_one())
        return total

    def _batches(self, gathered: Gathered) -> Iterator[Sequence[Row[Any, Any]]]:
        leaf = tables.leaf
        for some in _batched(gathered.positions):
            query = select(leaf.c.id, leaf.c.canonical).where(leaf.c.position.in_(some)).order_by(leaf.c.position)
            with self._reading() as connection:
                rows = connection.execute(query).all()
            yield rows


class _Finding:
    """One selection in one state of the database."""

    def __init__(
        self, connection: Connection, chosen: Selection, known_at: datetime, newest: int | None = None
    ) -> None:
        self._connection = connection
        self._chosen = chosen
        self._known_at = known_at
        self._newest = newest
        self._found: set[int] = set()

    def positions(self) -> set[int]:
        """The leaves of everything that belongs to it."""
        chosen = self._chosen
        if chosen.record is not None:
            self._of_record(chosen.record)
        elif chosen.run is not None:
            self._with_decisions(self._runs(_run.c.run == chosen.run))
        elif chosen.digest is not None:
            digest = str(Digest.parse(chosen.digest))
            self._decisions(*(one for table in (_decision, _image) for one in self._in_time(table)), digest=digest)
            self._with_decisions(self._ran(tuple(self._related(digest))))
        else:
            self._decisions(*self._in_time(_decision))
            self._with_decisions(self._ran(None))
        return self._found

    def _related(self, digest: str) -> list[str]:
        """The digest, and the manifests of an index: a kubelet may name either."""
        held = tables.image_manifest
        query = select(held.c.manifest).where(held.c.digest == digest, held.c.recorded_at <= self._known_at)
        return sorted({digest, *self._connection.execute(query.limit(MAX_RECORDS)).scalars()})

    def _of_record(self, identity: str) -> None:
        """A decision with the runs of its pod, or a sighting with its whole run and the decisions about its pod."""
        leaf = tables.leaf
        query = select(leaf.c.position, leaf.c.canonical).where(leaf.c.id == identity)
        row = self._connection.execute(query).one_or_none()
        if row is None:
            return
        position, decided_at = row.position, datetime.fromisoformat(json.loads(row.canonical)["decidedAt"])
        decided = self._decisions(_decision.c.leaf == position, _decision.c.decided_at == decided_at)
        if decided:
            uids = {row.object_uid for row in decided if row.kind == "Pod" and row.object_uid}
            if uids:
                self._with_ends(self._runs(_run.c.pod_uid.in_(sorted(uids))))
            return
        self._with_decisions(self._runs(or_(_run.c.leaf == position, _run.c.end_leaf == position)))

    def _decisions(self, *wanted: ColumnElement[bool], digest: str | None = None) -> Sequence[Row[Any]]:
        query = select(_decision.c.leaf, _decision.c.kind, _decision.c.object_uid).where(
            *wanted, _decision.c.recorded_at <= self._known_at
        )
        order = _decision.c.decided_at
        if digest is not None:
            # In the order of the index on images: of one that was decided upon a million times the newest come first.
            query = query.join(_image, of_one_leaf(_image, _decision)).where(_image.c.digest == digest)
            order = _image.c.decided_at
        if self._chosen.namespace is not None:
            query = query.where(_decision.c.namespace == self._chosen.namespace)
        return self._take(query.order_by(order.desc()))

    def _runs(self, *wanted: ColumnElement[bool]) -> Sequence[Row[Any]]:
        """A few runs, found by what names them."""
        query = select(_run).where(*wanted, _run.c.recorded_at <= self._known_at)
        if self._chosen.namespace is not None:
            query = query.where(_run.c.namespace == self._chosen.namespace)
        return self._take(query)

    def _ran(self, digests: tuple[str, ...] | None) -> Sequence[Row[Any]]:
        """What ran in the time that is asked about, the latest started first."""
        since, until = self._chosen.since, self._chosen.until
        rows = page(
            self._connection,
            RunFilter(namespace=self._chosen.namespace, digests=digests, not_over_by=since),
            as_of=None,
            known_at=self._known_at,
            before=(until, 0) if until is not None else None,
            limit=self._newest or MAX_RECORDS + 1,
        )
        for row in rows:
            self._add(row.leaf)
        return rows

    def _with_decisions(self, runs: Sequence[Row[Any]]) -> None:
        """Of these runs the ends too, and what was decided about their pods."""
        self._with_ends(runs)
        for some in _batched(sorted({run.pod_uid for run in runs})):
            # By the pods alone: beside a namespace a planner may prefer to go through all decisions of that.
            query = select(_decision.c.leaf, _decision.c.kind, _decision.c.namespace).where(
                _decision.c.object_uid.in_(some), _decision.c.recorded_at <= self._known_at
            )
            for row in self._connection.execute(query.limit(MAX_RECORDS + 1)):
                if row.kind == "Pod" and self._chosen.namespace in {None, row.namespace}:
                    self._add(row.leaf)

    def _with_ends(self, runs: Sequence[Row[Any]]) -> None:
        ended = [run for run in runs if run.end_leaf is not None and run.end_recorded_at <= self._known_at]
        for run in ended:
            self._add(run.end_leaf)
        ends = {run.leaf: run.ended_at for run in ended}
        for cluster in sorted({run.cluster for run in runs}):
            ours = [run for run in runs if run.cluster == cluster]
            last = max(ends.get(run.leaf, self._known_at) for run in ours)
            self._gaps(cluster, min(run.started_at for run in ours), last)

    def _gaps(self, cluster: str, since: datetime, until: datetime) -> None:
        """When nobody watched: a bundle must not look as if nothing else had run then."""
        since, until = max(since, self._chosen.since or since), min(until, self._chosen.until or until)
        query = select(_gap.c.leaf).where(
            _gap.c.cluster == cluster, _gap.c.since <= until, _gap.c.until > since, _gap.c.recorded_at <= self._known_at
        )
        self._take(query.order_by(_gap.c.leaf), most=MAX_RECORDS + 1)

    def _in_time(self, table: Table) -> list[ColumnElement[bool]]:
        since, until = self._chosen.since, self._chosen.until
        return [
            *([table.c.decided_at >= since] if since is not None else []),
            *([table.c.decided_at < until] if until is not None else []),
        ]

    def _take(self, query: Select[Any], most: int | None = None) -> Sequence[Row[Any]]:
        rows = self._connection.execute(query.limit(most or self._newest or MAX_RECORDS + 1)).all()
        for row in rows:
            self._add(row.leaf)
        return rows

    def _add(self, position: int) -> None:
        self._found.add(position)
        if len(self._found) > MAX_RECORDS:
            raise InputError(
                "ExportTooLarge",
                f"more than {MAX_RECORDS} records belong to it (bound: MAX_RECORDS): ask for a shorter time",
            )


def _check(chosen: Selection) -> None:
    given = [name for name in ("digest", "run", "record") if getattr(chosen, name) is not None]
    if len(given) > 1:
        raise InputError("SelectionAmbiguous", f"{' and '.join(given)} exclude each other: ask for one")
    if not given and chosen.namespace is None:
        raise InputError("SelectionMissing", "say what to export: a digest, a run, a record or a namespace")
    check_period(chosen.since, chosen.until)


def _batched(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]
