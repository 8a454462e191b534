"""One group of records in one transaction: blobs, leaves, projections. Pure SQL, no threads.

Returning from `append` promises nothing yet; the caller's commit does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter, itemgetter

from sqlalchemy import Connection, select

from controller.errors import RecordingFailed
from controller.inventory import tables
from controller.inventory.blobs.store import Blobs
from controller.inventory.database.dialect import take_part
from controller.inventory.database.inserts import Appending
from controller.inventory.recording import projections
from controller.inventory.recording.projections import Appended, Remembered, Written
from controller.inventory.recording.rows import Projection
from controller.model.reference import Digest

LOOKUP = 500  # names in one IN list
_LEAVES = Appending(tables.leaf, "id")


@dataclass(frozen=True, slots=True)
class Record:
    """What one caller wants durable: a leaf, read, and the raw bytes that it handed over.

    `at` is when it was recorded, if that was not now.
    """

    projection: Projection
    blobs: Mapping[str, bytes]
    at: datetime | None = None


@dataclass(slots=True)
class Group:
    """What a transaction did: true only once it is committed.

    `refused` are records, by their index, that were left out of it, each with its error; all others are in it, or were
    recorded before.
    """

    refused: dict[int, RecordingFailed]
    remember: Written


def blob_key(digest: str) -> tuple[str, ...]:
    """The name under which a blob that is in the database is remembered."""
    return ("blob", digest)


def append(
    connection: Connection, records: Sequence[Record], *, now: datetime, remembered: Remembered, blobs: Blobs
) -> Group:
    """Write the records that are not there yet, in the caller's transaction; `blobs` in files before it is committed.

    Raises `RecordingFailed` (`LeafConflict`), `sqlalchemy.exc.SQLAlchemyError`, and `OSError` where a file cannot be
    written.
    """
    take_part(connection)
    group = Group(refused={}, remember={})
    absent = _write_blobs(connection, records, group, now=now, remembered=remembered, blobs=blobs)
    for index, record in enumerate(records):
        missing = absent.intersection(record.projection.blobs)
        if missing and index not in group.refused:
            group.refused[index] = RecordingFailed(
                "BlobMissing", f"the decision names {min(missing)}, whose bytes were neither handed over nor recorded"
            )
    appended = _write_leaves(connection, [r for index, r in enumerate(records) if index not in group.refused], now)
    group.remember |= projections.write(connection, appended, remembered)
    # A leaf names them now: whatever drops evidence leaves it for days, and this is believed for an hour.
    group.remember |= {blob_key(digest): (now, now) for item in appended for digest in item.projection.blobs}
    return group


def _write_blobs(
    connection: Connection,
    records: Sequence[Record],
    group: Group,
    *,
    now: datetime,
    remembered: Remembered,
    blobs: Blobs,
) -> set[str]:
    """Store what is new. Returns the digests that records name and the database does not have."""
    named = {digest for record in records for digest in record.projection.blobs}
    unknown = {digest for digest in named if not remembered.is_fresh(blob_key(digest), now)}
    if not unknown:
        return set()
    present = blobs.present(connection, unknown)
    new: dict[str, bytes] = {}
    by_time: dict[datetime, dict[str, bytes]] = {}
    for index, record in enumerate(records):
        for digest, content in record.blobs.items():
            # What a leaf does not name is not written: an older version's, out of a spool, has configurations with it.
            if digest in present or digest in new or digest not in record.projection.blobs:
                continue
            if str(Digest.of(content)) == digest:
                new[digest] = by_time.setdefault(record.at or now, {})[digest] = content
            else:
                group.refused[index] = RecordingFailed("BlobMismatch", f"bytes handed over as {digest} are not that")
    for at, some in by_time.items():
        blobs.write(connection, some, now=at)
    return unknown - present - new.keys()


def _write_leaves(connection: Connection, wanted: Sequence[Record], now: datetime) -> list[Appended]:
    """Append the leaves that are new; the order of those of one time is by id, so that two replicas never wait for
    each other in a circle.

    Raises `RecordingFailed` (`LeafConflict`) when a leaf's id stands for another decision already.
    """
    by_id = {r.projection.id: (r.at or now, r.projection) for r in reversed(wanted)}
    if not by_id:
        return []
    if any(_told(r.projection) != _told(by_id[r.projection.id][1]) for r in wanted):
        raise RecordingFailed("LeafConflict", "one id stands for two decisions")  # each by itself, the first stays
    placed = _LEAVES.run(
        connection,
        [
            {
                "id": item.id,
                "decision_key": item.key,
                "verdict": item.verdict,
                "canonical": item.canonical,
                "recorded_at": at,
            }
            for at, _, item in sorted(((at, name, item) for name, (at, item) in by_id.items()), key=itemgetter(0, 1))
        ],
    )
    before = [item for _, item in by_id.values() if item.id not in placed]
    if before:
        _assert_recorded(connection, before)
    new = (Appended(placed[item.id], at, item) for at, item in by_id.values() if item.id in placed)
    return sorted(new, key=attrgetter("position"))


def _told(item: Projection) -> tuple[str, str, str]:
    """By what two leaves are the same: a decision that is made again has another time and salt."""
    return item.id, item.key, item.verdict


def _assert_recorded(connection: Connection, items: Sequence[Projection]) -> None:
    leaf = tables.leaf
    found: set[tuple[str, str, str]] = set()
    for start in range(0, len(items), LOOKUP):
        names = [item.id for item in items[start : start + LOOKUP]]
        query = select(leaf.c.id, leaf.c.decision_key, leaf.c.verdict).where(leaf.c.id.in_(names))
        found.update((row.id, row.decision_key, row.verdict) for row in connection.execute(query))
    if not found.issuperset(map(_told, items)):
        raise RecordingFailed("LeafConflict", "a leaf's id stands for another decision already")
