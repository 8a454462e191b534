"""What ran, when, and whether Assay admitted it: questions to the table of runs.

*At T* means: begun by then, and not ended by then, as far as the watch has told (`gaps` say when nobody watched).
Whoever joins on runs finds the words here: `went_on` says exactly what ran at a time, `began` bounds where to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    case,
    func,
    literal,
    or_,
    select,
    true,
    tuple_,
    union_all,
)

from controller.inventory import proven, tables
from controller.inventory.asking import DEFAULT_LIMIT, Asker, Place, check_limit, read_cursor, write_cursor
from controller.inventory.dialect import take_time
from controller.inventory.intervals import Window, windows
from controller.inventory.proven import NOBODY_SIGNED
from controller.inventory.records import Admission, Gap, RunPage, RunRecord, SignerRecord
from controller.model.reference import Digest

MAX_GAPS = 50  # told with one answer
MAX_SETS = 4  # sets of signers that are looked up each by itself; of somebody in more, runs are looked through

_run = tables.run
Condition = ColumnElement[bool]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs. Empty fields ask for nothing; all others must hold together.

    `signer` is a key's fingerprint or an identity's subject, whole; `digests` holds the one that the kubelet reported.
    """

    namespace: str | None = None
    cluster: str | None = None
    digests: tuple[str, ...] | None = None
    admission: Admission | None = None
    signed: bool | None = None
    signer: str | None = None


class RunQueries(Asker):
    """Reads what ran."""

    def runs(
        self,
        *,
        as_of: datetime | None = None,
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
        """What ran at a time (None: whatever ran at all), the latest started first; how each was admitted, who signed.

        `signer` is a key's fingerprint or an identity's subject, whole.
        Raises `InputError`: `LimitOutOfRange`, `CursorMalformed`, `DigestMalformed`.
        """
        check_limit(limit)
        digests = (str(Digest.parse(digest)),) if digest is not None else None
        where = RunFilter(namespace, cluster, digests, admission, signed, signer)
        place = read_cursor(cursor) if cursor is not None else None
        with self._reading() as connection:
            rows = page(connection, where, as_of=as_of, known_at=known_at, before=place, limit=limit + 1)
            shown = rows[:limit]
            return RunPage(
                items=records(connection, shown, known_at=known_at),
                gaps=gaps(connection, as_of=as_of, known_at=known_at),
                cursor=write_cursor(shown[-1].started_at, shown[-1].leaf) if len(rows) > limit else None,
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


def went_on(run: FromClause, *, as_of: datetime | None, known_at: datetime | None) -> Condition:
    """Whether this run (the table, or an alias of it) went on at `as_of`, as it was known at `known_at`. Exact."""
    conditions: list[Condition] = []
    if known_at is not None:
        conditions.append(run.c.recorded_at <= known_at)
    if as_of is not None:
        ends_later = or_(run.c.ended_at.is_(None), run.c.ended_at > as_of)
        if known_at is not None:
            ends_later = or_(ends_later, run.c.end_recorded_at > known_at)
        conditions += [run.c.started_at <= as_of, ends_later]
    return and_(true(), *conditions)


def began(run: FromClause, *, as_of: datetime | None, known_at: datetime | None) -> Condition:
    """Where in an index by `span` and `started_at` that is; to be joined by `went_on`, which it does not replace."""
    return or_(*(_inside(run, window) for window in windows(as_of=as_of, known_at=known_at)))


def ended_at(run: FromClause, known_at: datetime | None) -> ColumnElement[Any]:
    """When a run ended as far as that was known; NULL if it was not known to have."""
    if known_at is None:
        return run.c.ended_at
    return case((run.c.end_recorded_at <= known_at, run.c.ended_at), else_=None)


def admission_of(run: FromClause, known_at: datetime | None) -> ColumnElement[str]:
    """How a run came to be, as it was known."""
    if known_at is None:
        return run.c.admission
    return case(
        (run.c.admitted_at <= known_at, str(Admission.ADMITTED)),
        (or_(run.c.asked_at.is_(None), run.c.asked_at > known_at), str(Admission.UNADMITTED)),
        (or_(run.c.digest.is_(None), run.c.unresolved_at <= known_at), str(Admission.UNKNOWN)),
        else_=str(Admission.DRIFTED),
    )


def signers_of(run: FromClause, known_at: datetime | None) -> ColumnElement[str]:
    """The set of those who signed what runs (`signer_set`), as it was known; empty if nobody had."""
    if known_at is None:
        return run.c.signers
    return case((run.c.admitted_at <= known_at, run.c.signers), else_=NOBODY_SIGNED)


def page(
    connection: Connection,
    where: RunFilter,
    *,
    as_of: datetime | None,
    known_at: datetime | None,
    before: Place | None,
    limit: int,
    also: Condition | None = None,
) -> Sequence[Row[Any]]:
    """The next rows of `run`, the latest started first, as many as `limit`, that come after the place `before`.

    `also` is what must hold of them besides.
    """
    sets = _sets(connection, where.signer) if where.signer is not None else None
    if sets is not None and not sets:  # nobody knows this signer
        return []
    exact = [went_on(_run, as_of=as_of, known_at=known_at), *_conditions(where, sets, known_at)]
    if also is not None:
        exact.append(also)
    parts = [
        _part([*prefix, _inside(_run, window, before)], exact, limit, index)
        for index, prefix in _prefixes(where, sets)
        for window in windows(as_of=as_of, known_at=known_at)
    ]
    if where.digests is not None and len(where.digests) > MAX_SETS:
        parts = [_part([_run.c.digest.in_(where.digests), _before(_run, before)], exact, limit)]
    elif known_at is not None and (where.admission is not None or where.signed is False):
        # What became so only later is not to be found by what it is now.
        otherwise = _run.c.admission != str(where.admission) if where.admission else _run.c.signers != NOBODY_SIGNED
        parts.append(_part([_run.c.late, _before(_run, before), otherwise], exact, limit))
    found = union_all(*parts).subquery()
    places = select(found.c.leaf).order_by(found.c.started_at.desc(), found.c.leaf.desc()).limit(limit)
    leaves = list(connection.execute(places).scalars())
    rows = {row.leaf: row for row in connection.execute(select(_run).where(_run.c.leaf.in_(leaves)))}
    return [rows[leaf] for leaf in leaves]


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


def gaps(connection: Connection, *, as_of: datetime | None, known_at: datetime | None) -> tuple[Gap, ...]:
    """The times in which nobody watched, those that hold `as_of` alone if it is given; the latest first."""
    gap = tables.watch_gap
    query = select(gap.c.cluster, gap.c.since, gap.c.until)
    if as_of is not None:
        query = query.where(gap.c.since <= as_of, gap.c.until > as_of)
    if known_at is not None:
        query = query.where(gap.c.recorded_at <= known_at)
    rows = connection.execute(query.order_by(gap.c.until.desc()).limit(MAX_GAPS)).all()
    return tuple(Gap(row.cluster, row.since, row.until) for row in rows)


def last_watched(connection: Connection, cluster: str) -> datetime | None:
    """When something of this cluster was last seen; None if never."""
    found: list[datetime] = []
    for column in (_run.c.recorded_at, _run.c.end_recorded_at, tables.watch_gap.c.recorded_at):
        query = select(func.max(column, type_=tables.Instant)).where(column.table.c.cluster == cluster)
        found += filter(None, [connection.execute(query).scalar()])
    return max(found, default=None)


def _part(where: Sequence[Condition], exact: Sequence[Condition], limit: int, index: str | None = None) -> Select[Any]:
    """One range of an index, in its order, as far as the page can reach."""
    inner = select(_run.c.started_at, _run.c.leaf).where(*where, *exact)
    if index is not None:  # SQLite knows nothing of how much each leaves
        inner = inner.with_hint(_run, f"INDEXED BY ix_run_{index}span_started_at_leaf", "sqlite")
    found = inner.order_by(_run.c.started_at.desc(), _run.c.leaf.desc()).limit(limit).subquery()
    return select(found.c.started_at, found.c.leaf)


def _inside(run: FromClause, window: Window, before: Place | None = None) -> Condition:
    """Whether a run began in this window, and comes after the place `before`."""
    conditions = [run.c.span == window.span]
    if window.after is not None:
        conditions.append(run.c.started_at > window.after)
    if before is not None and (window.until is None or before[0] <= window.until):
        conditions.append(
            _before(run, before)
        )  # alone: of two upper bounds an index would use one, and maybe the other
    elif window.until is not None:
        conditions.append(run.c.started_at <= window.until)
    return and_(*conditions)


def _before(run: FromClause, place: Place | None) -> Condition:
    if place is None:
        return true()
    started_at, leaf = literal(place[0], tables.Instant), literal(place[1], BigInteger)
    return tuple_(run.c.started_at, run.c.leaf) < tuple_(started_at, leaf)


def _prefixes(where: RunFilter, sets: Sequence[str] | None) -> Sequence[tuple[str, Sequence[Condition]]]:
    """By which index runs are found, and by which values of its first column: the one that is likely to leave least."""
    first: tuple[str, Sequence[str]] | None = None
    if where.digests is not None:
        first = "digest", where.digests[:MAX_SETS]
    elif sets is not None and len(sets) <= MAX_SETS:
        first = "signers", sets
    elif where.admission in {Admission.DRIFTED, Admission.UNADMITTED, Admission.UNKNOWN}:
        first = "admission", [str(where.admission)]
    elif where.signed is False:
        first = "signers", [NOBODY_SIGNED]
    else:
        named = [(name, [value]) for name in ("namespace", "cluster") if (value := getattr(where, name)) is not None]
        first = named[0] if named else None
    if first is None:
        return [("", [])]
    name, values = first
    return [(f"{name}_", [_run.c[name] == value]) for value in values]


def _conditions(where: RunFilter, sets: Sequence[str] | None, known_at: datetime | None) -> list[Condition]:
    """What a run must be, whatever index it was found by."""
    conditions = [
        _run.c[name] == value for name in ("namespace", "cluster") if (value := getattr(where, name)) is not None
    ]
    if where.digests is not None:
        conditions.append(_run.c.digest.in_(where.digests))
    if where.admission is not None:
        conditions.append(admission_of(_run, known_at) == str(where.admission))
    if where.signed is not None:
        is_signed = signers_of(_run, known_at) != NOBODY_SIGNED
        conditions.append(is_signed if where.signed else ~is_signed)
    if sets is not None:  # not by the plain column: where an index is entered by that, it is not to be chosen by this
        conditions.append(func.coalesce(signers_of(_run, known_at), NOBODY_SIGNED).in_(sets))
    return conditions


def _sets(connection: Connection, signer: str) -> Sequence[str]:
    """The sets of signers that somebody is in."""
    member = tables.signer_member
    return connection.execute(select(member.c.id).where(member.c.name == signer)).scalars().all()


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
