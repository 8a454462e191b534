"""What ran, when, and whether Assay admitted it: questions to the table of runs.

*At T* means: begun by then, and not ended by then, as far as the watch has told (`gaps` say when nobody watched).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from controller.inventory import tables
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.names import check_signer
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.runs.ranges import RunFilter, page
from controller.inventory.database.dialect import take_time
from controller.inventory.recording import proven
from controller.inventory.recording.proven import NOBODY_SIGNED
from controller.inventory.records import Admission, Gap, RunPage, RunRecord, SignerRecord
from controller.model.reference import Digest

MAX_GAPS = 50  # told with one answer

_run = tables.run


class RunQueries(Asker):
    """Reads what ran."""

    def runs(
        self,
        *,
        as_of: datetime | None = None,
        now: bool = False,
        namespace: str | None = None,
        cluster: str | None = None,
        digest: str | None = None,
        admission: Admission | None = None,
        signed: bool | None = None,
        signer: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> RunPage:
        """What ran at a time, the latest started first; how each was admitted, who signed.

        Without `as_of` whatever ran at all, or with `now` what runs. `signer` is a key's fingerprint or an identity's
        subject, whole.
        Raises `InputError`: `LimitOutOfRange`, `DigestMalformed`, and as `Paging.of` does.
        """
        check_limit(limit)
        digests = (str(Digest.parse(digest)),) if digest is not None else None
        paging = Paging.of(
            *("runs", cursor, datetime, int), as_of=as_of, known_at=known_at, now=now, ever=as_of is None and not now
        )
        as_of, known_at = paging.as_of, paging.known_at
        with self._reading() as connection:
            sets = _sets(connection, check_signer(signer)) if signer is not None else None
            where = RunFilter(namespace, cluster, digests, admission, signed, sets)
            rows = page(connection, where, as_of=as_of, known_at=known_at, before=paging.place, limit=limit + 1)
            shown = rows[:limit]
            unwatched = gaps(connection, where, as_of=as_of, known_at=known_at)
            return RunPage(
                items=records(connection, shown, known_at=known_at),
                gaps=unwatched[:MAX_GAPS],
                more_gaps=len(unwatched) > MAX_GAPS,
                cursor=paging.after(connection, (shown[-1].started_at, shown[-1].leaf) if len(rows) > limit else None),
            )

    def open_runs(self, cluster: str) -> tuple[RunRecord, ...]:
        """Every run of this cluster that is not known to have ended, for who goes on watching it."""
        query = select(_run).where(_run.c.cluster == cluster, _run.c.ended_at.is_(None))
        with self._reading() as connection:
            take_time(connection)  # without an answer nothing would be watched again
            return tuple(_record(row, Admission.UNKNOWN, "", ()) for row in connection.execute(query))

    def last_watched(self, cluster: str) -> datetime | None:
        """When something was last seen of this cluster; None if never."""
        with self._reading() as connection:
            take_time(connection)
            return last_watched(connection, cluster)


def records(connection: Connection, rows: Sequence[Row[Any]], *, known_at: datetime | None) -> tuple[RunRecord, ...]:
    """Rows of `run` with the decisions that they rest on and who signed."""
    told = [_told(row, known_at) for row in rows]
    record, signer_set = tables.leaf, tables.signer_set
    leaves = sorted({leaf for _, leaf, _ in told if leaf is not None})
    names = sorted({signers for _, _, signers in told} - {NOBODY_SIGNED})
    ids = {
        row.position: row.id
        for row in connection.execute(select(record.c.position, record.c.id).where(record.c.position.in_(leaves)))
    }
    query = select(signer_set.c.id, signer_set.c.signers).where(signer_set.c.id.in_(names))
    sets = {
        row.id: tuple(SignerRecord(*each) for each in proven.read(row.signers)) for row in connection.execute(query)
    }
    return tuple(
        _record(row, admission, ids.get(leaf, "") if leaf is not None else "", sets.get(signers, ()), known_at)
        for row, (admission, leaf, signers) in zip(rows, told, strict=True)
    )


def gaps(
    connection: Connection, where: RunFilter, *, as_of: datetime | None, known_at: datetime | None
) -> tuple[Gap, ...]:
    """The times in which nobody watched, those that hold `as_of` alone if it is given; the latest first. One more than
    `MAX_GAPS` at the most.

    With a namespace those of clusters in which it was met: elsewhere nothing of it is missing, and that they are there
    is nothing to it.
    """
    gap, presence = tables.watch_gap, tables.presence
    query = select(gap.c.cluster, gap.c.since, gap.c.until)
    if where.cluster is not None:
        query = query.where(gap.c.cluster == where.cluster)
    if where.namespace is not None:
        met = select(presence.c.cluster).where(presence.c.namespace == where.namespace)
        met = met if known_at is None else met.where(presence.c.recorded_at <= known_at)
        query = query.where(gap.c.cluster.in_(met))
    if as_of is not None:
        query = query.where(gap.c.since <= as_of, gap.c.until > as_of)
    if known_at is not None:
        query = query.where(gap.c.recorded_at <= known_at)
    rows = connection.execute(query.order_by(gap.c.until.desc()).limit(MAX_GAPS + 1)).all()
    return tuple(Gap(row.cluster, row.since, row.until) for row in rows)


def last_watched(connection: Connection, cluster: str) -> datetime | None:
    """When something of this cluster was last seen; None if never."""
    found: list[datetime] = []
    for column in (_run.c.recorded_at, _run.c.end_recorded_at, tables.watch_gap.c.recorded_at):
        query = select(func.max(column, type_=tables.Instant)).where(column.table.c.cluster == cluster)
        found += filter(None, [connection.execute(query).scalar()])
    return max(found, default=None)


def _sets(connection: Connection, signer: str) -> tuple[str, ...]:
    """The sets of signers that somebody is in."""
    member = tables.signer_member
    return tuple(connection.execute(select(member.c.id).where(member.c.name == signer)).scalars())


def _told(row: Row[Any], known_at: datetime | None) -> tuple[Admission, int | None, str]:
    """How a run came to be as it was known, by which decision's leaf, and its set of signers."""

    def known(name: str) -> int | None:
        leaf, recorded_at = getattr(row, name), getattr(row, f"{name}_at")
        return leaf if recorded_at is not None and (known_at is None or recorded_at <= known_at) else None

    admitted, asked, unresolved = known("admitted"), known("asked"), known("unresolved")
    if admitted is not None:
        return Admission.ADMITTED, admitted, row.signers
    if asked is None:
        return Admission.UNADMITTED, None, NOBODY_SIGNED
    if row.digest is None:
        return Admission.UNKNOWN, asked, NOBODY_SIGNED
    if unresolved is not None:
        return Admission.UNKNOWN, unresolved, NOBODY_SIGNED
    return Admission.DRIFTED, asked, NOBODY_SIGNED


def _record(
    row: Row[Any],
    admission: Admission,
    record: str,
    signers: tuple[SignerRecord, ...],
    known_at: datetime | None = None,
) -> RunRecord:
    over = row.ended_at is not None and (known_at is None or row.end_recorded_at <= known_at)
    return RunRecord(
        cluster=row.cluster,
        namespace=row.namespace,
        pod=row.pod,
        pod_uid=row.pod_uid,
        node=row.node,
        owner=row.owner,
        service_account=row.service_account,
        kind=row.kind,
        container=row.container,
        run=row.run,
        reference=row.reference,
        image_id=row.image_id,
        digest=row.digest,
        started_at=row.started_at,
        ended_at=row.ended_at if over else None,
        reason=row.reason if over else "",
        admission=admission,
        record=record,
        signers=signers,
    )
