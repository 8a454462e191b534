"""What is old enough to be dropped, and that nothing keeps. Reads; each question is bounded and finds by an index.

Kept whatever its age: what has no number in the ledger yet; what a hold covers; a run that goes on; a decision about a
pod of which a run is kept, since that rests on it; leaves about holds, retention and everything that has no class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, and_, literal, or_, select, tuple_

from controller.inventory import tables
from controller.inventory.asking import kinship
from controller.inventory.intervals import OPEN
from controller.inventory.retention.holds import Hold
from controller.inventory.tables import of_rows

LOOKUP = 500  # names in one IN list

RUN_KEY = tuple(column.name for column in tables.run.primary_key.columns)

Place = tuple[Any, ...]
"""Where a look ended: the values by which it is ordered."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One thing to be dropped: the positions of its leaves, and the run's key where it is a run."""

    leaves: tuple[int, ...]
    run: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look at what is old: what may be dropped of it, where to go on (None: that was all), how many are held."""

    chosen: tuple[Chosen, ...]
    after: Place | None
    held: int


def decisions(
    connection: Connection, *, before: datetime, after: Place | None, limit: int, holds: Sequence[Hold]
) -> Look:
    """Decisions, the oldest first."""
    table = tables.decision
    query = select(table.c.leaf, table.c.decided_at, table.c.recorded_at, table.c.namespace, table.c.object_uid).where(
        table.c.decided_at < before
    )
    if after is not None:
        query = query.where(_behind(table.c.decided_at, table.c.leaf, after))
    rows = connection.execute(query.order_by(table.c.decided_at, table.c.leaf).limit(limit)).all()
    leaves = [row.leaf for row in rows]
    digests = _digests(connection, rows)
    numbered = _numbered(connection, leaves)
    running = _running(connection, [row.object_uid for row in rows if row.object_uid])
    chosen, held = [], 0
    for row in rows:
        if row.leaf not in numbered or row.recorded_at >= before or row.object_uid in running:
            continue
        what = {"namespace": row.namespace, "digests": digests[row.leaf]}
        if any(hold.keeps(**what, begins=row.decided_at, ends=row.decided_at) for hold in holds):
            held += 1
            continue
        chosen.append(Chosen((row.leaf,)))
    return Look(tuple(chosen), _next(rows, (table.c.decided_at, table.c.leaf), limit), held)


def runs(connection: Connection, *, before: datetime, after: Place | None, limit: int, holds: Sequence[Hold]) -> Look:
    """Runs that have ended, by the class of their length and when they began: so they lie in an index."""
    table = tables.run
    order = (table.c.span, table.c.started_at, table.c.leaf)
    query = select(table).where(table.c.span < OPEN, table.c.started_at < before)
    if after is not None:
        query = query.where(tuple_(*order) > tuple_(*(literal(v, c.type) for v, c in zip(after, order, strict=True))))
    rows = connection.execute(query.order_by(*order).limit(limit)).all()
    leaves = [leaf for row in rows for leaf in (row.leaf, row.end_leaf) if leaf is not None]
    numbered = _numbered(connection, leaves)
    related = kinship.related(connection, {row.digest for row in rows if row.digest}, None) if holds else {}
    chosen, held = [], 0
    for row in rows:
        own = tuple(sorted({leaf for leaf in (row.leaf, row.end_leaf) if leaf is not None}))
        if row.ended_at is None or max(row.ended_at, row.end_recorded_at, row.recorded_at) >= before:
            continue
        if not numbered.issuperset(own):
            continue
        what = {"namespace": row.namespace, "digests": related.get(row.digest, {row.digest})}
        if any(hold.keeps(**what, begins=row.started_at, ends=row.ended_at) for hold in holds):
            held += 1
            continue
        chosen.append(Chosen(own, tuple(getattr(row, name) for name in RUN_KEY)))
    return Look(tuple(chosen), _next(rows, order, limit), held)


def gaps(connection: Connection, *, before: datetime, after: Place | None, limit: int, holds: Sequence[Hold]) -> Look:
    """Times in which nobody watched, by when they ended. A hold of a time alone keeps them too."""
    table = tables.watch_gap
    query = select(table).where(table.c.until < before)
    if after is not None:
        query = query.where(_behind(table.c.until, table.c.leaf, after))
    rows = connection.execute(query.order_by(table.c.until, table.c.leaf).limit(limit)).all()
    numbered = _numbered(connection, [row.leaf for row in rows])
    chosen, held = [], 0
    for row in rows:
        if row.leaf not in numbered or row.recorded_at >= before:
            continue
        if any(_spans(hold, row.since, row.until) for hold in holds):
            held += 1
            continue
        chosen.append(Chosen((row.leaf,)))
    return Look(tuple(chosen), _next(rows, (table.c.until, table.c.leaf), limit), held)


def numbers(connection: Connection, leaves: Sequence[int]) -> dict[int, tuple[int, str]]:
    """The entry of each leaf that has one: its number, and its digest."""
    entry = tables.ledger_entry
    found: dict[int, tuple[int, str]] = {}
    for names in _batches(leaves):
        query = select(entry.c.leaf, entry.c.number, entry.c.digest).where(entry.c.leaf.in_(names))
        found.update({row.leaf: (row.number, row.digest) for row in connection.execute(query)})
    return found


def _numbered(connection: Connection, leaves: Sequence[int]) -> set[int]:
    return set(numbers(connection, leaves))


def _running(connection: Connection, uids: Sequence[str]) -> set[str]:
    """The pods of which a run is kept."""
    column = tables.run.c.pod_uid
    return {
        uid
        for names in _batches(sorted(set(uids)))
        for uid in connection.execute(select(column).where(column.in_(names)).distinct()).scalars()
    }


def _digests(connection: Connection, rows: Sequence[Any]) -> dict[int, set[str]]:
    """The digests that each decision is about, with what their indexes hold and are held by."""
    image = tables.decision_image
    own: dict[int, set[str]] = defaultdict(set)
    for some in _batches(rows):
        for row in connection.execute(select(image.c.leaf, image.c.digest).where(of_rows(image, some))):
            if row.digest is not None:
                own[row.leaf].add(row.digest)
    related = kinship.related(connection, {digest for digests in own.values() for digest in digests}, None)
    return {row.leaf: {one for digest in own[row.leaf] for one in related[digest]} for row in rows}


def _spans(hold: Hold, begins: datetime, ends: datetime) -> bool:
    """Whether the hold is of a time that this one meets: when nobody watched belongs to every namespace and digest."""
    what = hold.what
    return (what.begins is None or ends >= what.begins) and (what.ends is None or begins < what.ends)


def _behind(moment: Any, leaf: Any, place: Place) -> Any:
    return and_(moment >= place[0], or_(moment > place[0], leaf > place[1]))


def _next(rows: Sequence[Any], order: Sequence[Column[Any]], limit: int) -> Place | None:
    return tuple(getattr(rows[-1], column.name) for column in order) if len(rows) == limit else None


def _batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), LOOKUP):
        yield items[start : start + LOOKUP]
