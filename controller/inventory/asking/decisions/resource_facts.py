"""How policies and exceptions came and went, as an operator saw it; where none recorded it, nothing is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Row, Select, Subquery, and_, case, func, select, tuple_

from controller.inventory import tables
from controller.inventory.asking.asker import before_place, by_then, check_limit
from controller.inventory.asking.paging import Paging
from controller.inventory.database.parameters import among, texts
from controller.inventory.records import PolicyPage, PolicyRecord, ResourceVersion, Standing

APPLIED, DELETED = "Applied", "Deleted"
POLICIES, EXCEPTIONS = ("ClusterEvidencePolicy", "EvidencePolicy"), ("EvidenceException",)
LAG = timedelta(minutes=5)
"""For so long a webhook may judge by a policy that was seen to be gone. One that judges by it later shows that it is
there again, and that nobody watched."""

_fact = tables.resource_fact
_ORDER = ("life", "fact", "generation", "leaf")  # of the facts of one object

Policy = tuple[str, str, str, str]
"""Its kind, namespace and name, and the cluster that has it."""
_POLICY = ("kind", "namespace", "name", "cluster")


def history(
    kinds: Collection[str], only: ColumnElement[bool], *, as_of: datetime | None, known_at: datetime | None
) -> Subquery:
    """The facts by then of some objects (`only`, of whole objects), each with the one that follows in the life of the
    same object: what (`next`), when (`next_at`) and whether that was found later (`unwatched`, its reason). Of what
    stands there is none. The database goes through all the facts of these objects."""
    order: Any = {
        "partition_by": (_fact.c.cluster, _fact.c.uid),
        "order_by": tuple(_fact.c[name] for name in _ORDER),
    }
    query = select(
        *_fact.c,
        func.lead(_fact.c.fact).over(**order).label("next"),
        func.lead(_fact.c.decided_at, type_=tables.Instant).over(**order).label("next_at"),
        func.lead(_fact.c.reason).over(**order).label("unwatched"),
    ).where(_fact.c.kind.in_(sorted(kinds)), only)
    return by_then(query, _fact, as_of=as_of, known_at=known_at).subquery()


def stand(
    kinds: Collection[str], *, as_of: datetime | None, known_at: datetime | None, cluster: str | None = None
) -> ColumnElement[bool]:
    """Whether a fact is the version in which its object stood by then. Object by object, and once for all facts."""
    objects = select(_fact.c.cluster, _fact.c.uid)  # of all kinds: the index has no other columns
    if cluster is not None:
        objects = objects.where(_fact.c.cluster == cluster)
    each, fact = objects.distinct().subquery("each"), _fact.alias("last")
    last = select(fact.c.leaf).where(fact.c.cluster == each.c.cluster, fact.c.uid == each.c.uid)
    last = by_then(last, fact, as_of=as_of, known_at=known_at).order_by(*(fact.c[name].desc() for name in _ORDER))
    lasts = select(last.limit(1).correlate(each).scalar_subquery()).select_from(each)
    return and_(_fact.c.kind.in_(sorted(kinds)), _fact.c.fact == APPLIED, _fact.c.leaf.in_(lasts))


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
    times: Any = {"as_of": paging.as_of, "known_at": paging.known_at}
    # Without a name in the order of time: SQLite would rather find all policies by their kinds, and sort them.
    kind = _fact.c.kind if name is not None else _fact.c.kind.concat("")
    query = by_then(select(_fact), _fact, **times).where(kind.in_(POLICIES), _fact.c.fact == APPLIED)
    if name is not None:
        query = query.where(_fact.c.name == own)
    if slash:
        query = query.where(_fact.c.namespace == namespace)
    if cluster is not None:
        query = query.where(_fact.c.cluster == cluster)
    if in_force:
        query = query.where(stand(POLICIES, cluster=cluster, **times))
    if paging.place is not None:
        query = query.where(before_place(_fact, paging.place))
    query = query.order_by(_fact.c.decided_at.desc(), _fact.c.leaf.desc()).limit(limit + 1)
    rows = connection.execute(_followed(query.cte("page"), **times)).all()
    shown = rows[:limit]
    last = (shown[-1].decided_at, shown[-1].leaf) if len(rows) > limit else None
    return PolicyPage(tuple(map(_policy, shown)), paging.after(connection, last))


def _followed(page: CTE, *, as_of: datetime | None, known_at: datetime | None) -> Select[Any]:
    """Each of these facts with what follows it, as in `history`, which is looked for of them alone."""
    fact, following = _fact.alias("later"), _fact.alias("following")
    later = select(fact.c.leaf).where(fact.c.cluster == page.c.cluster, fact.c.uid == page.c.uid)
    later = later.where(tuple_(*(fact.c[name] for name in _ORDER)) > tuple_(*(page.c[name] for name in _ORDER)))
    later = by_then(later, fact, as_of=as_of, known_at=known_at).order_by(*(fact.c[name] for name in _ORDER)).limit(1)
    return (
        select(
            page,
            following.c.fact.label("next"),
            following.c.decided_at.label("next_at"),
            following.c.reason.label("unwatched"),
        )
        .outerjoin_from(page, following, following.c.leaf == later.correlate(page).scalar_subquery())
        .order_by(page.c.decided_at.desc(), page.c.leaf.desc())
    )


def resources(connection: Connection, cluster: str) -> tuple[ResourceVersion, ...]:
    """What `Queries.resources` says."""
    names = ("kind", "namespace", "name", "uid", "life", "generation", "hash")
    query = select(*(_fact.c[name] for name in names), _fact.c.decided_at.label("applied_at"))
    query = query.where(stand((*POLICIES, *EXCEPTIONS), as_of=None, known_at=None, cluster=cluster))
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
    wanted = texts(connection, _POLICY, sorted(policies))
    these = and_(*(_fact.c[part] == wanted.c[part] for part in _POLICY))
    found = history(POLICIES, these, as_of=as_of, known_at=known_at)
    last = select(
        *(found.c[part] for part in _POLICY),
        func.max(found.c.decided_at, type_=tables.Instant),
        func.max(case((found.c.fact == APPLIED, 1), else_=0)),
    ).where(found.c.next.is_(None))
    rows = connection.execute(last.group_by(*(found.c[part] for part in _POLICY)))
    deleted = {(kind, *name): at for kind, *name, at, stands in rows if not stands}
    return {policy: deleted[policy] for policy in policies if policy in deleted}
