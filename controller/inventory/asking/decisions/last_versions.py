"""The version with which a policy judged last, of those who may know it: anybody's decisions in a cluster, or one
namespace's own alone.

A policy of which one version alone was ever used, anywhere or in the namespace (`policy_use`), needs no search. Of
another there are two ways to the last one in a namespace, both newest first: along the namespace's decisions, to one
that the policy judged, and along what the policy judged, to one of the namespace. Which is shorter depends on both, so
each is gone a little of the way, and then further: what it costs follows the shorter one.

Where both are longer than `STEPS` the first is gone to its end, which nothing bounds but the time that a statement may
take (`engines.READ_TIMEOUT`): 1.3 s for a policy that judges elsewhere all the time, and here did so last 300,000
decisions ago. No version is guessed: the newest may have been taken back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, and_, literal, select

from controller.inventory import tables
from controller.inventory.asking.asker import by_then
from controller.inventory.database.dialect import compared
from controller.inventory.tables import of_one_leaf

RECENT = 50  # decisions of a namespace that are looked at for all policies together
STEPS = (1_000, 30_000)  # decisions, and then evaluations, that are looked at for each policy that is not among these

Policy = tuple[str, str, str, str]
"""Its kind, namespace and name, and the cluster in which it judged."""

_PARTS = ("kind", "namespace", "name")
_judged, _decision = tables.evaluation, tables.decision


def last_versions(
    connection: Connection,
    policies: Collection[Policy],
    *,
    as_of: datetime,
    known_at: datetime | None,
    namespace: str | None,
) -> dict[Policy, str]:
    """Of each policy, which judged something by then, the hash of the version with which it last did: with a namespace
    something there, whatever it did elsewhere."""
    times = {"as_of": as_of, "known_at": known_at}
    if namespace is None:
        found = _only(connection, policies, by_then(_used(), tables.policy_version, **times))
        left = set(policies) - found.keys()
        return found | {policy: _value(connection, by_then(_anywhere(policy), _judged, **times)) for policy in left}
    own = by_then(select(_decision).where(_decision.c.namespace == namespace), _decision, **times)
    own = own.with_only_columns(*(_decision.c[name] for name in ("leaf", "decided_at", "cluster")))
    own = own.order_by(_decision.c.decided_at.desc(), _decision.c.leaf.desc())
    found = _recent(connection, own, policies)
    if left := set(policies) - found.keys():
        found |= _only(connection, left, by_then(_used(namespace), tables.policy_use, **times))
    for policy in set(policies) - found.keys():
        found[policy] = _walked(connection, own, by_then(_of(policy), _judged, **times), policy, namespace)
    return found


def _walked(connection: Connection, own: Select[Any], judged: Select[Any], policy: Policy, namespace: str) -> str:
    for step in STEPS:
        for query in (_along_decisions(own.limit(step), policy), _along_judged(judged, step, policy, namespace)):
            version = connection.execute(query).scalar()
            if version is not None:
                return str(version)
    return _value(connection, _along_decisions(own, policy))


def _value(connection: Connection, query: Select[Any]) -> str:
    return str(connection.execute(query).scalar_one())


def _of(policy: Policy) -> Select[Any]:
    """What the policy judged in whichever cluster, the latest first."""
    kind, namespace, name, _ = policy
    return (
        select(_judged.c.policy_hash, _judged.c.leaf, _judged.c.decided_at)
        .where(_judged.c.policy_name == name, _judged.c.policy_namespace == namespace, _judged.c.policy_kind == kind)
        .order_by(_judged.c.decided_at.desc(), _judged.c.leaf.desc())
    )


def _anywhere(policy: Policy) -> Select[Any]:
    there = select(literal(1)).where(of_one_leaf(_decision, _judged), _decision.c.cluster == policy[-1])
    # One after the other: with an offset PostgreSQL makes no join of it.
    query = _of(policy).where(there.correlate(_judged).offset(0).exists())
    return query.with_only_columns(_judged.c.policy_hash).limit(1)


def _recent(connection: Connection, own: Select[Any], policies: Collection[Policy]) -> dict[Policy, str]:
    """Those of these policies that judged one of the namespace's last decisions."""
    last = own.limit(RECENT).subquery()
    columns = [_judged.c[f"policy_{name}"] for name in _PARTS]
    query = select(*columns, last.c.cluster, _judged.c.policy_hash).join(_judged, of_one_leaf(_judged, last))
    found: dict[Policy, str] = {}
    for *policy, version in connection.execute(query.order_by(last.c.decided_at.desc(), last.c.leaf.desc())):
        found.setdefault(tuple(policy), version)
    return {policy: found[policy] for policy in policies if policy in found}


def _used(namespace: str | None = None) -> Select[Any]:
    """The versions that ever judged something, in the namespace if there is one, and whose."""
    version, use = tables.policy_version, tables.policy_use
    query = select(*(version.c[name] for name in (*_PARTS, "hash")))
    if namespace is None:
        return query
    return query.join(use, use.c.hash == version.c.hash).where(use.c.namespace == namespace)


def _only(connection: Connection, policies: Collection[Policy], used: Select[Any]) -> dict[Policy, str]:
    """Those of these policies of which one version alone was ever used: that is the last one."""
    version = tables.policy_version
    versions: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for *policy, name in connection.execute(used.where(version.c.name.in_({policy[2] for policy in policies}))):
        versions[tuple(policy)].append(name)
    return {policy: some[0] for policy in policies if len(some := versions[policy[:3]]) == 1}


def _along_decisions(own: Select[Any], policy: Policy) -> Select[Any]:
    last = own.subquery()
    # To be compared, and not to be found by: SQLite would go through all that the policy ever judged.
    mine = (compared(_judged.c[f"policy_{name}"]) == value for name, value in zip(_PARTS, policy, strict=False))
    query = select(_judged.c.policy_hash).join(last, and_(of_one_leaf(_judged, last), last.c.cluster == policy[-1]))
    return query.where(*mine).order_by(last.c.decided_at.desc(), last.c.leaf.desc()).limit(1)


def _along_judged(judged: Select[Any], step: int, policy: Policy, namespace: str) -> Select[Any]:
    last = judged.limit(step).subquery()
    there = and_(of_one_leaf(_decision, last), compared(_decision.c.namespace) == namespace)
    query = select(last.c.policy_hash).join(_decision, and_(there, _decision.c.cluster == policy[-1]))
    return query.order_by(last.c.decided_at.desc(), last.c.leaf.desc()).limit(1)
