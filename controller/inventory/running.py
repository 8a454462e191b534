"""What ran, when, and whether Assay admitted it: sightings held against decisions.

*At T* means: begun by then, and not ended by then, as far as the watch has told (`gaps` say when nobody watched).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, or_, select

from controller.inventory import tables
from controller.inventory.records import Admission, Gap, RunRecord, SignerRecord

MAX_GAPS = 50  # told with one answer

_started, _ended = tables.sighting, tables.sighting_end
_Who = tuple[str, str, str]  # a signer's key, issuer and subject
_RUN = ("cluster", "pod_uid", "kind", "container", "run")


def running(
    *, as_of: datetime | None, namespace: str | None, digest: str | None, known_at: datetime | None
) -> Select[Any]:
    """The runs at a time (None: all that there ever were), with their ends, in no order."""
    end = _ended.alias()
    same = and_(*(end.c[name] == _started.c[name] for name in _RUN))
    if known_at is not None:
        same = and_(same, end.c.recorded_at <= known_at)
    query = select(_started, end.c.ended_at, end.c.reason).outerjoin(end, same)
    if as_of is not None:
        query = query.where(_started.c.started_at <= as_of, or_(end.c.ended_at.is_(None), end.c.ended_at > as_of))
    if namespace is not None:
        query = query.where(_started.c.namespace == namespace)
    if digest is not None:
        query = query.where(_started.c.digest == digest)
    return query if known_at is None else query.where(_started.c.recorded_at <= known_at)


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


Place = tuple[datetime, int]
"""Where a page ended: when its last run started, and that row's leaf."""


def page(
    connection: Connection, query: Select[Any], *, before: Place | None, limit: int, known_at: datetime | None
) -> tuple[list[tuple[RunRecord, Place]], bool]:
    """The next runs of `running`, the latest started first, with how each was admitted, and whether there are more.

    Each comes with its place.
    """
    if before is not None:
        started_at, leaf = before
        earlier = and_(_started.c.started_at == started_at, _started.c.leaf < leaf)
        query = query.where(or_(_started.c.started_at < started_at, earlier))
    query = query.order_by(_started.c.started_at.desc(), _started.c.leaf.desc()).limit(limit + 1)
    rows = connection.execute(query).all()
    shown = rows[:limit]
    decisions = _decisions(connection, {row.pod_uid for row in shown}, known_at)
    found = [(_record(row, decisions.get(row.pod_uid, ())), (row.started_at, row.leaf)) for row in shown]
    return found, len(rows) > limit


def wanted(*, admission: Admission | None, signed: bool | None, signer: str | None) -> Callable[[RunRecord], bool]:
    """Whether a run is one of those that are asked for by how it was admitted and who signed."""

    def is_wanted(run: RunRecord) -> bool:
        return (
            (admission is None or run.admission is admission)
            and (signed is None or bool(run.signers) is signed)
            and (signer is None or any(signer in {who.key, who.subject} - {""} for who in run.signers))
        )

    return is_wanted


def last_watched(connection: Connection, cluster: str) -> datetime | None:
    """When something of this cluster was last seen; None if never."""
    found: list[datetime] = []
    for table in (_started, _ended, tables.watch_gap):
        query = select(func.max(table.c.recorded_at, type_=tables.Instant)).where(table.c.cluster == cluster)
        found += filter(None, [connection.execute(query).scalar()])
    return max(found, default=None)


def _decisions(
    connection: Connection, uids: Iterable[str], known_at: datetime | None
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """The leaves of the decisions about these pods, the newest first."""
    decision, leaf = tables.decision, tables.leaf
    query = (
        select(decision.c.object_uid, leaf.c.canonical)
        .join(leaf, leaf.c.position == decision.c.leaf)
        .where(decision.c.object_uid.in_(sorted(uids)), decision.c.kind == "Pod", decision.c.verdict == "Allow")
        .order_by(decision.c.decided_at.desc(), decision.c.leaf.desc())
    )
    if known_at is not None:
        query = query.where(decision.c.recorded_at <= known_at)
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in connection.execute(query):
        found.setdefault(row.object_uid, []).append(json.loads(row.canonical))
    return found


def bare(row: Row[Any]) -> RunRecord:
    """The row of a run alone, without a look at decisions."""
    return _as_record(row, Admission.UNKNOWN, "", ())


def _record(row: Row[Any], decisions: Sequence[Mapping[str, Any]]) -> RunRecord:
    return _as_record(row, *_admission(row, decisions))


def _as_record(row: Row[Any], admission: Admission, record: str, signers: tuple[SignerRecord, ...]) -> RunRecord:
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
        ended_at=row.ended_at,
        reason=row.reason or "",
        admission=admission,
        record=record,
        signers=signers,
    )


def _admission(
    row: Row[Any], decisions: Sequence[Mapping[str, Any]]
) -> tuple[Admission, str, tuple[SignerRecord, ...]]:
    """How the run was admitted, by which decision (one of this image if there is any), and who signed what runs."""
    about = [
        (leaf, number, image)
        for leaf in decisions
        for number, image in enumerate(leaf["images"])
        if (image["kind"], image["container"]) == (row.kind, row.container)
    ]
    if not about:
        return Admission.UNADMITTED, "", ()
    latest = str(about[0][0]["id"])
    if not row.digest:
        return Admission.UNKNOWN, latest, ()
    for leaf, number, image in about:
        if row.digest == image["digest"] or row.digest in image.get("manifests", ()):
            return Admission.ADMITTED, str(leaf["id"]), _signers(leaf, number, row.digest)
    # One that was admitted without being resolved may have been any image.
    unresolved = next((str(leaf["id"]) for leaf, _, image in about if not image["digest"]), None)
    return (Admission.UNKNOWN, unresolved, ()) if unresolved is not None else (Admission.DRIFTED, latest, ())


def _signers(leaf: Mapping[str, Any], number: int, digest: str) -> tuple[SignerRecord, ...]:
    """Of whom something was verified about this image of the decision.

    Where a policy looked at each manifest of an index, what is said of one manifest holds for that one alone; of a run
    that the kubelet names by the index, what was said of each of them holds.
    """
    images = leaf["images"]
    by_policy: dict[str, list[set[tuple[_Who, str]]]] = defaultdict(list)
    for evaluation in leaf["evaluations"]:
        if evaluation["image"] != number:
            continue
        if (child := evaluation.get("child")) and digest not in (images[number]["digest"], child["digest"]):
            continue
        proofs = (*evaluation["signatures"], *evaluation["attestations"])
        by_policy[json.dumps(evaluation["policy"], sort_keys=True)].append(set(map(_signed, proofs)))
    found: dict[_Who, set[str]] = defaultdict(set)
    for verified in by_policy.values():
        for who, what in set.intersection(*verified):
            found[who].add(what)
    return tuple(SignerRecord(*who, tuple(sorted(found[who]))) for who in sorted(found))


def _signed(proof: Mapping[str, Any]) -> tuple[_Who, str]:
    signer = proof["signer"]
    return (signer["key"], signer["issuer"], signer["subject"]), proof.get("predicateType", "signature")
