"""How policies and exceptions came and went, as an operator saw it; where none recorded it, nothing is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Subquery, case, func, select

from controller.inventory import tables
from controller.inventory.asking.asker import before_place, by_then, check_limit
from controller.inventory.asking.paging import Paging
from controller.inventory.database.parameters import among
from controller.inventory.records import PolicyPage, PolicyRecord, ResourceVersion, Standing

APPLIED, DELETED = "Applied", "Deleted"
POLICIES, EXCEPTIONS = ("ClusterEvidencePolicy", "EvidencePolicy"), ("EvidenceException",)
LAG = timedelta(minutes=5)
"""For so long a webhook may judge by a policy that was seen to be gone. One that judges by it later shows that it is
there again, and that nobody watched."""

_fact = tables.resource_fact

Policy = tuple[str, str, str, str]
"""Its kind, namespace and name, and the cluster that has it."""


def history(
    kinds: Collection[str], names: Collection[str] | None = None, *, as_of: datetime | None, known_at: datetime | None
) -> Subquery:
    """The facts by then, each with the one that follows in the life of the same object: what (`next`), when (`next_at`)
    and whether that was found later (`unwatched`, its reason). Of what stands there is none."""
    order: Any = {
        "partition_by": (_fact.c.cluster, _fact.c.uid),
        "order_by": (_fact.c.life, _fact.c.fact, _fact.c.generation, _fact.c.leaf),
    }
    query = select(
        *_fact.c,
        func.lead(_fact.c.fact).over(**order).label("next"),
        func.lead(_fact.c.decided_at, type_=tables.Instant).over(**order).label("next_at"),
        func.lead(_fact.c.reason).over(**order).label("unwatched"),
    ).where(_fact.c.kind.in_(sorted(kinds)))
    if names is not None:
        query = query.where(_fact.c.name.in_(sorted(names)))
    return by_then(query, _fact, as_of=as_of, known_at=known_at).subquery()


def standing(following: str | None) -> Standing:
    """How a version stands that was followed by this."""
    if following is None:
        return Standing.IN_FORCE
    return Standing.DELETED if following == DELETED else Standing.REPLACED


def policies(
    connection: Connection,
    *,
    name: str | None,
    cluster: str | None,
    in_force: bool,
    limit: int,
    cursor: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
) -> PolicyPage:
    """A page of `Queries.policies`, which says what it raises."""
    check_limit(limit)
    namespace, slash, own = (name or "").rpartition("/")
    paging = Paging.of("policies", cursor, datetime, int, as_of=as_of, known_at=known_at)
    names = None if name is None else (own,)
    found = history(POLICIES, names, as_of=paging.as_of, known_at=paging.known_at)
    query = select(found).where(found.c.fact == APPLIED)
    if slash:
        query = query.where(found.c.namespace == namespace)
    if cluster is not None:
        query = query.where(found.c.cluster == cluster)
    if in_force:
        query = query.where(found.c.next.is_(None))
    if paging.place is not None:
        query = query.where(before_place(found, paging.place))
    rows = connection.execute(query.order_by(found.c.decided_at.desc(), found.c.leaf.desc()).limit(limit + 1)).all()
    shown = rows[:limit]
    last = (shown[-1].decided_at, shown[-1].leaf) if len(rows) > limit else None
    return PolicyPage(tuple(map(_policy, shown)), paging.after(connection, last))


def resources(connection: Connection, cluster: str) -> tuple[ResourceVersion, ...]:
    """What `Queries.resources` says."""
    found = history((*POLICIES, *EXCEPTIONS), as_of=None, known_at=None)
    names = ("kind", "namespace", "name", "uid", "life", "generation", "hash")
    query = select(*(found.c[name] for name in names), found.c.decided_at.label("applied_at"))
    query = query.where(found.c.cluster == cluster)
    query = query.where(found.c.fact == APPLIED, found.c.next.is_(None))
    return tuple(ResourceVersion(**row) for row in connection.execute(query).mappings())


def deletions(connection: Connection, cluster: str, uids: Collection[str]) -> dict[str, int]:
    """What `Queries.deletions` says."""
    query = select(_fact.c.uid, (func.max(_fact.c.life) + 1).label("times")).group_by(_fact.c.uid)
    query = query.where(_fact.c.cluster == cluster, _fact.c.fact == DELETED)
    query = query.where(among(connection, _fact.c.uid, sorted(uids)))
    return {row.uid: row.times for row in connection.execute(query)}


def _policy(row: Row[Any]) -> PolicyRecord:
    return PolicyRecord(
        cluster=row.cluster,
        kind=row.kind,
        namespace=row.namespace,
        name=row.name,
        uid=row.uid,
        generation=row.generation,
        hash=row.hash,
        manager=row.manager,
        problem=row.problem,
        applied_at=row.decided_at,
        recorded_at=row.recorded_at,
        state=standing(row.next),
        ended_at=row.next_at,
        unwatched=bool(row.unwatched),
        record=row.id,
    )


def gone(
    connection: Connection, policies: Collection[Policy], *, as_of: datetime, known_at: datetime | None
) -> Mapping[Policy, datetime]:
    """Those of these policies that were deleted by then, and are not there again, with when that was."""
    found = history(POLICIES, {policy[2] for policy in policies}, as_of=as_of, known_at=known_at)
    last = select(
        *(found.c[part] for part in ("kind", "namespace", "name", "cluster")),
        func.max(found.c.decided_at, type_=tables.Instant),
        func.max(case((found.c.fact == APPLIED, 1), else_=0)),
    ).where(found.c.next.is_(None))
    rows = connection.execute(last.group_by(found.c.kind, found.c.namespace, found.c.name, found.c.cluster))
    deleted = {(kind, *name): at for kind, *name, at, stands in rows if not stands}
    return {policy: deleted[policy] for policy in policies if policy in deleted}
