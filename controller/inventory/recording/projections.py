"""From leaves to the rows that queries read. What is here can be thrown away: `rebuild` makes it again from the leaves.

Writing rows is idempotent and does not depend on the order of the leaves: what several leaves say together
(`verification`, `policy_version`) is kept with the earliest of their times. `projecting` says which rows a leaf makes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Table, delete, select

from controller.errors import RecordingFailed
from controller.inventory import tables
from controller.inventory.database import dialect
from controller.inventory.database.inserts import Inserting, keeping_earliest
from controller.inventory.recording import runs
from controller.inventory.recording.fields import moment
from controller.inventory.recording.judgements import lets_in
from controller.inventory.recording.projecting import project
from controller.inventory.recording.rows import SHARED, Projection, Row, key_of
from controller.inventory.recording.runs import Admitted, Told

FIRST_POSITION = -(2**63)  # before any that a row can have, whoever wrote it
REBUILD_BATCH = 500  # leaves held in memory while rebuilding
FRESH = timedelta(hours=1)
# What `Remembered` holds before it forgets half of it (300 to 400 bytes each): bounds memory, never correctness.
MAX_REMEMBERED = 25_000  # judgements and blobs: of an image known some three, and all that a warm decision asks about
MAX_ROWS = 5_000  # the rows of judgements: asked about by one that is new, of an image or in a namespace
_ONE = {
    "decision": tables.decision,
    "gap": tables.watch_gap,
    "hold": tables.legal_hold,
    "read": tables.read,
    "resource": tables.resource_fact,
}
_SEVERAL = {
    "images": tables.decision_image,
    "evaluations": tables.evaluation,
    "uses": tables.exception_use,
    "flags": tables.decision_flag,
    "apart": tables.manifest_signers,
    "refusals": tables.refusal,
}
"""The tables of what follows from one leaf alone, by the field of `Projection` that has the row, or rows."""
_OWN = {table.name: Inserting(table) for table in (*_ONE.values(), *_SEVERAL.values())}
_WHOLE = frozenset({"blob", "judgement"})  # names of what is remembered that are no table's rows (`append.blob_key`)
_KEEPING = {table.name: keeping_earliest(table) for table in SHARED}

Key = tuple[str | bytes, ...]
Times = tuple[datetime, datetime]
Written = dict[Key, Times]  # a row's name and its two times


@dataclass(frozen=True, slots=True)
class Appended:
    """A leaf that lies in the database, ready to be projected."""

    position: int
    recorded_at: datetime
    projection: Projection


class Remembered:
    """Rows known to be committed with no later time than these, so that a warm admission need not write them again.

    Only what was committed goes in. Nothing in the program removes such rows, but for evidence: `is_fresh`. May be used
    by several threads.
    """

    def __init__(self) -> None:
        self._adding = threading.Lock()
        self._whole: Written = {}  # judgements, and blobs
        self._rows: Written = {}

    def covers(self, key: Key, times: Times) -> bool:
        """Whether the database's row for this key is at least as early in both times."""
        known = self._known(key)
        return known is not None and known[0] <= times[0] and known[1] <= times[1]

    def is_fresh(self, key: Key, now: datetime) -> bool:
        """Whether a row was there within the last hour: of those that are dropped once nothing needs them."""
        known = self._known(key)
        return known is not None and abs(now - known[1]) < FRESH

    def add(self, written: Written) -> None:
        """Remember rows, now that they are committed."""
        one: dict[Times, Times] = {}  # most have the same times
        whole: Written = {}
        rows: Written = {}
        for key, times in written.items():
            (whole if key[0] in _WHOLE else rows)[key] = one.setdefault(times, times)
        with self._adding:
            self._whole = _bounded(self._whole, whole, MAX_REMEMBERED)
            self._rows = _bounded(self._rows, rows, MAX_ROWS)

    def _known(self, key: Key) -> Times | None:
        return (self._whole if key[0] in _WHOLE else self._rows).get(key)


def _bounded(known: Written, new: Written, most: int) -> Written:
    """What is known, and the new. What was first met goes first: it is old by now, or met again soon."""
    known.update(new)
    return known if len(known) <= most else dict(islice(known.items(), len(known) // 2, None))


def write(
    connection: Connection, appended: Sequence[Appended], remembered: Remembered, *, alone: bool = False
) -> Written:
    """Write the rows of these leaves inside the caller's transaction. `alone`: nobody can append until that ends.

    Returns what `remembered` may add once that transaction is committed.
    """
    own: dict[str, list[Row]] = {name: [] for name in _OWN}
    for leaf in appended:
        stamp = {"leaf": leaf.position, "decided_at": leaf.projection.decided_at, "recorded_at": leaf.recorded_at}
        for name, rows in _own_rows(leaf.projection):
            own[name].extend([row | stamp for row in rows])
    for name, wanted in own.items():
        if wanted:
            _OWN[name].run(connection, wanted)
    written = _write_shared(connection, appended, remembered)
    told = [Told(leaf.position, leaf.recorded_at, leaf.projection.heard) for leaf in appended if leaf.projection.heard]
    runs.follow(connection, told, _admitted(appended), alone=alone)
    return written


def _write_shared(connection: Connection, appended: Sequence[Appended], remembered: Remembered) -> Written:
    firsts: dict[Key, tuple[Table, Row]] = {}
    judged: Written = {}
    for leaf in appended:
        projection, times = leaf.projection, (leaf.projection.decided_at, leaf.recorded_at)
        if not _is_judged(projection, times, judged, remembered):
            for table, key, row in projection.shared:
                if not remembered.covers(key, times):
                    _keep_earliest(firsts, key, table, row | {"decided_at": times[0], "recorded_at": times[1]})
        for table, carried in projection.carried:
            _keep_earliest(firsts, key_of(table, carried), table, dict(carried))
    for table in SHARED:
        # In one order everywhere: two replicas that meet the same new facts wait for each other, never in a circle.
        rows = [row for _, row in sorted((key, row) for key, (owner, row) in firsts.items() if owner is table)]
        if rows:
            _KEEPING[table.name].run(connection, rows)
    return judged | {key: (row["decided_at"], row["recorded_at"]) for key, (_, row) in firsts.items()}


def _is_judged(projection: Projection, times: Times, judged: Written, remembered: Remembered) -> bool:
    """Whether all shared rows of its judgement are there, or about to be, with no later times. Notes that they are."""
    if not projection.judgement:
        return False
    key = ("judgement", projection.judgement)
    if remembered.covers(key, times):
        return True
    before = judged.get(key)
    if before is None:
        judged[key] = times
        return False
    judged[key] = min(before[0], times[0]), min(before[1], times[1])
    return judged[key] == before


def _admitted(appended: Sequence[Appended]) -> list[Admitted]:
    """The images of the pods that these leaves let in."""
    return [
        Admitted(leaf.position, leaf.recorded_at, projection.decision["object_uid"], image)
        for leaf in appended
        if (projection := leaf.projection).decision is not None and lets_in(projection.decision)
        for image in projection.images
    ]


def _own_rows(projection: Projection) -> Iterator[tuple[str, Sequence[Row]]]:
    """The rows that follow from this leaf alone, by table."""
    for field, table in _ONE.items():
        if row := getattr(projection, field):
            yield table.name, (row,)
    for field, table in _SEVERAL.items():
        if rows := getattr(projection, field):
            yield table.name, rows


def rebuild(connection: Connection, *, unreadable: Callable[[str], None] | None = None) -> int:
    """Throw all projections away and make them again from the leaves alone, inside the caller's transaction.

    Nobody may append meanwhile. Returns the number of leaves. One that cannot be read raises `RecordingFailed`
    (`LeafMalformed`), or is left out if `unreadable` is to be told of it.
    """
    for table in tables.PROJECTIONS:
        connection.execute(delete(table))
    count = 0
    nothing = Remembered()
    for batch in stored(connection, unreadable=unreadable):
        write(connection, batch, nothing, alone=True)
        count += len(batch)
    return count


def stored(connection: Connection, *, unreadable: Callable[[str], None] | None = None) -> Iterator[list[Appended]]:
    """All leaves, in batches, in the order of their positions.

    `unreadable` is told the id of each that cannot be read, which is then left out; without it that raises
    `RecordingFailed` (`LeafMalformed`).
    """
    last = FIRST_POSITION
    leaf = tables.leaf
    while True:
        columns = dialect.stored(connection, (leaf.c.position, leaf.c.id, leaf.c.recorded_at, leaf.c.canonical))
        rows = connection.execute(
            select(*columns).where(leaf.c.position > last).order_by(leaf.c.position).limit(REBUILD_BATCH)
        ).all()
        if not rows:
            return
        last = rows[-1].position
        batch = []
        for row in rows:
            try:
                batch.append(Appended(row.position, _moment(row.recorded_at), project(_read(row.canonical))))
            except RecordingFailed:
                if unreadable is None:
                    raise
                unreadable(str(row.id))
        yield batch


def _read(canonical: Any) -> Mapping[str, Any]:
    try:
        leaf: Mapping[str, Any] = json.loads(canonical)
    except (ValueError, TypeError, RecursionError) as exc:
        raise RecordingFailed("LeafMalformed", "a decision's leaf is no JSON") from exc
    return leaf


def _moment(stored: Any) -> datetime:
    try:
        return stored if isinstance(stored, datetime) else moment(stored)
    except (ValueError, TypeError, OverflowError) as exc:
        raise RecordingFailed("LeafMalformed", "a leaf has no time at which it was recorded") from exc


def _keep_earliest(firsts: dict[Key, tuple[Table, Row]], key: Key, table: Table, row: Row) -> None:
    known = firsts.get(key)
    if known is not None:
        row["decided_at"] = min(row["decided_at"], known[1]["decided_at"])
        row["recorded_at"] = min(row["recorded_at"], known[1]["recorded_at"])
    firsts[key] = (table, row)
