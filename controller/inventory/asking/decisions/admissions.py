"""Under which policy versions an object was judged, and what each of their rules came to.

An object is asked for by its uid, or by its name: then the answer is of every object that bore it, the last first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, select, tuple_

from controller.errors import InputError, Unacceptable
from controller.inventory import tables
from controller.inventory.asking import cursors
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, before_place, check_limit
from controller.inventory.asking.decisions.rule_values import RuleValue, rule_values
from controller.inventory.blobs.store import Blobs
from controller.inventory.records import PolicyVersion

LIST = "admissions"
MAX_ADMISSIONS = 100  # decisions on one page: each is read whole

_decision, _leaf, _version = tables.decision, tables.leaf, tables.policy_version
_POLICY = ("kind", "namespace", "name", "hash")


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """One image under one version of one policy. `first_used_at` is when that version was first decided by.

    `rules` is None where they cannot be told, and `untold` says why: `PolicyVersionAbsent` (the policy's bytes are not
    kept any more, or were not yet known), or `PolicyVersionUnreadable`.
    """

    reference: str
    container: str
    digest: str | None
    policy: PolicyVersion
    first_used_at: datetime | None
    actions: tuple[str, ...]
    outcome: str
    exceptions: tuple[str, ...]
    rules: tuple[RuleValue, ...] | None
    untold: str = ""


@dataclass(frozen=True, slots=True)
class AdmissionRecord:
    """One decision about the object, with every policy that judged it. None of them: no policy matched it."""

    id: str
    decided_at: datetime
    recorded_at: datetime
    cluster: str
    namespace: str
    kind: str
    name: str
    object_uid: str
    operation: str
    username: str
    verdict: str
    flags: tuple[str, ...]
    message: str
    judged: tuple[JudgedImage, ...]


@dataclass(frozen=True, slots=True)
class AdmissionPage:
    """A page, newest first; `cursor` asks for the next, None at the end."""

    items: tuple[AdmissionRecord, ...]
    cursor: str | None


class Admissions(Asker):
    """Reads how objects were judged."""

    def __init__(self, engine: Engine, blobs: Blobs) -> None:
        super().__init__(engine)
        self._blobs = blobs

    def admissions(
        self,
        *,
        uid: str | None = None,
        namespace: str | None = None,
        name: str | None = None,
        kind: str = "Pod",
        cluster: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
        confined: bool = False,
    ) -> AdmissionPage:
        """The decisions about an object, by its uid or its name, newest first.

        `confined`: for somebody who may see the namespace alone; a policy's version was first used when it was there.

        Raises `InputError`: `ObjectRequired` where neither is given, `LimitOutOfRange`, `CursorMalformed`.
        """
        if not uid and not name:
            raise InputError("ObjectRequired", "name the object: its name, or its uid")
        check_limit(limit)
        query = select(_decision, _leaf.c.canonical).join(_leaf, _leaf.c.position == _decision.c.leaf)
        asked = {"object_uid": uid, "namespace": namespace, "name": name, "cluster": cluster, "kind": kind}
        query = query.where(*(_decision.c[column] == value for column, value in asked.items() if value is not None))
        if as_of is not None:
            query = query.where(_decision.c.decided_at <= as_of)
        if known_at is not None:
            query = query.where(_decision.c.recorded_at <= known_at)
        if cursor is not None:
            query = query.where(before_place(_decision, cursors.read(cursor, LIST, datetime, int).place))
        limit = min(limit, MAX_ADMISSIONS)
        query = query.order_by(_decision.c.decided_at.desc(), _decision.c.leaf.desc()).limit(limit + 1)
        with self._reading() as connection:
            rows = connection.execute(query).all()
            leaves = [json.loads(row.canonical) for row in rows[:limit]]
            used = {tuple(e["policy"][part] for part in _POLICY) for leaf in leaves for e in leaf["evaluations"]}
            policies = self._policies(connection, {version[-1] for version in used}, known_at)
            since = _first_used(connection, used, known_at, namespace if confined else None)
        last = (rows[limit - 1].decided_at, rows[limit - 1].leaf) if len(rows) > limit else None
        return AdmissionPage(
            items=tuple(_record(row, leaf, policies, since) for row, leaf in zip(rows, leaves, strict=False)),
            cursor=cursors.write(LIST, last) if last is not None else None,
        )

    def _policies(self, connection: Connection, hashes: set[str], known_at: datetime | None) -> Mapping[str, bytes]:
        """The policies' canonical documents by hash, as far as they are kept."""
        found: dict[str, bytes] = {}
        for digest in sorted(hashes):
            content = self._blobs.read(connection, digest)
            if content is not None and (known_at is None or _was_known(connection, digest, known_at)):
                found[digest] = content
        return found


def _was_known(connection: Connection, digest: str, known_at: datetime) -> bool:
    blob = tables.blob
    query = select(blob.c.digest).where(blob.c.digest == digest, blob.c.recorded_at <= known_at)
    return connection.execute(query).one_or_none() is not None


def _first_used(
    connection: Connection, used: set[tuple[str, ...]], known_at: datetime | None, namespace: str | None
) -> Mapping[tuple[str, ...], datetime]:
    if not used:
        return {}
    if namespace is not None:
        use = tables.policy_use
        there = select(use.c.hash, use.c.decided_at)
        there = there.where(use.c.namespace == namespace, use.c.hash.in_(sorted({version[-1] for version in used})))
        if known_at is not None:
            there = there.where(use.c.recorded_at <= known_at)
        found = {row.hash: row.decided_at for row in connection.execute(there)}
        return {version: found[version[-1]] for version in used if version[-1] in found}
    columns = [_version.c[part] for part in _POLICY]
    query = select(*columns, _version.c.decided_at).where(tuple_(*columns).in_(sorted(used)))
    if known_at is not None:
        query = query.where(_version.c.recorded_at <= known_at)
    return {tuple(row[:-1]): row.decided_at for row in connection.execute(query)}


def _record(
    row: Row[Any],
    leaf: Mapping[str, Any],
    policies: Mapping[str, bytes],
    since: Mapping[tuple[str, ...], datetime],
) -> AdmissionRecord:
    return AdmissionRecord(
        id=row.id,
        decided_at=row.decided_at,
        recorded_at=row.recorded_at,
        cluster=row.cluster,
        namespace=row.namespace,
        kind=row.kind,
        name=row.name,
        object_uid=row.object_uid,
        operation=row.operation,
        username=row.username,
        verdict=row.verdict,
        flags=tuple(json.loads(row.flags)),
        message=row.message,
        judged=tuple(_judged(evaluation, leaf["images"], policies, since) for evaluation in leaf["evaluations"]),
    )


def _judged(
    evaluation: Mapping[str, Any],
    images: Sequence[Mapping[str, Any]],
    policies: Mapping[str, bytes],
    since: Mapping[tuple[str, ...], datetime],
) -> JudgedImage:
    image = images[evaluation["image"]]
    child = evaluation.get("child")
    version = tuple(evaluation["policy"][part] for part in _POLICY)
    rules, untold = _rules(evaluation, policies.get(version[-1]))
    return JudgedImage(
        reference=image["reference"],
        container=image["container"],
        digest=child["digest"] if child else image["digest"],
        policy=PolicyVersion(*version),
        first_used_at=since.get(version),
        actions=tuple(evaluation["actions"]),
        outcome=evaluation["outcome"],
        exceptions=tuple(exception["name"] for exception in evaluation.get("exceptions", ())),
        rules=rules,
        untold=untold,
    )


def _rules(evaluation: Mapping[str, Any], policy: bytes | None) -> tuple[tuple[RuleValue, ...] | None, str]:
    """What the rules came to, or why that cannot be told: the rest of the answer stands without it."""
    if policy is None:
        return None, "PolicyVersionAbsent"
    try:
        return rule_values(evaluation, json.loads(policy)), ""
    except Unacceptable as exc:
        return None, exc.code
    except (ValueError, RecursionError):  # no JSON
        return None, "PolicyVersionUnreadable"
