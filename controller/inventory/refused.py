"""What runs though a policy would refuse it today, as it was last evaluated.

A policy refuses an image in a namespace if its newest evaluation of it there is Violated or Error, and it denies. That
may be an evaluation of a new pod with the image of an old one, of a workload's template, or a later look at what runs.
An image that no policy has judged again since it was admitted is not here: nothing is known.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CTE, BigInteger, ColumnElement, Connection, and_, func, literal, select, tuple_, union

from controller.inventory import running, tables
from controller.inventory.asking import (
    DEFAULT_LIMIT,
    Asker,
    Place,
    check_limit,
    of_one_leaf,
    read_cursor,
    write_cursor,
)
from controller.inventory.records import PolicyVersion, RunRecord
from controller.inventory.run_ranges import by_leaf
from controller.inventory.run_words import went_on

_refusal, _run = tables.refusal, tables.run
_OF = ("cluster", "namespace", "digest", "policy_kind", "policy_namespace", "policy_name")

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """That a policy refuses an image: its newest evaluation of it in this namespace.

    `digest` is the judged one: the run's, or that of an index or manifest of the same image. `current` says whether
    that version of the policy is the last one with which it judged anything. `since` is when this version first
    refused the image there; `record` the newest evaluation's decision. `reasons` are codes.
    """

    policy: PolicyVersion
    current: bool
    digest: str
    outcome: str
    error_kind: str
    reasons: tuple[str, ...]
    since: datetime
    evaluated_at: datetime
    record: str


@dataclass(frozen=True, slots=True)
class RefusedRun:
    """A run, and the policies that refuse its image, by their names."""

    run: RunRecord
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class RefusedPage:
    """A page, the latest started first; `cursor` asks for the next, None at the end."""

    items: tuple[RefusedRun, ...]
    cursor: str | None


class Refused(Asker):
    """Reads what runs and would be refused."""

    def refused(
        self,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        cluster: str | None = None,
        policy: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> RefusedPage:
        """What ran at `as_of` (default: now) and was refused by then; `policy` is a name, or `namespace/name`.

        Raises `InputError` (`LimitOutOfRange`, `CursorMalformed`).
        """
        check_limit(limit)
        place = read_cursor(cursor) if cursor is not None else None
        asked = _Asked(as_of or datetime.now(UTC), known_at, namespace, cluster, policy)
        with self._reading() as connection:
            hits = _hits(asked)
            places = _places(connection, hits, place, limit + 1)
            shown = places[:limit]
            rows = by_leaf(connection, shown)
            records = running.records(connection, [rows[leaf] for leaf in shown], known_at=known_at)
            refusals = _refusals(connection, hits, shown, asked)
        items = tuple(RefusedRun(run, refusals[leaf]) for leaf, run in zip(shown, records, strict=True))
        more = write_cursor(rows[shown[-1]].started_at, shown[-1]) if len(places) > limit else None
        return RefusedPage(items, more)


@dataclass(frozen=True, slots=True)
class _Asked:
    as_of: datetime
    known_at: datetime | None
    namespace: str | None
    cluster: str | None
    policy: str | None


def _by_then(table: Any, asked: _Asked) -> list[ColumnElement[bool]]:
    conditions = [table.c.decided_at <= asked.as_of]
    return conditions if asked.known_at is None else [*conditions, table.c.recorded_at <= asked.known_at]


def _hits(asked: _Asked) -> CTE:
    """Runs with the refusals of their images that are the newest word: leaf and start of the run, and whose it is."""
    keys = select(
        *(_refusal.c[name] for name in _OF), func.max(_refusal.c.decided_at, type_=tables.Instant).label("at")
    )
    keys = keys.where(*_by_then(_refusal, asked)).group_by(*(_refusal.c[name] for name in _OF))
    for name in ("namespace", "cluster"):
        if (value := getattr(asked, name)) is not None:
            keys = keys.where(_refusal.c[name] == value)
    if asked.policy is not None:
        of, slash, name = asked.policy.rpartition("/")
        keys = keys.where(_refusal.c.policy_name == name)
        keys = keys.where(_refusal.c.policy_namespace == of) if slash else keys
    refused = keys.cte("refused")
    told = select(*refused.c).where(~_was_let_in_later(refused, asked)).cte("told")
    held, holds = tables.image_manifest.alias("held"), tables.image_manifest.alias("holds")
    named = union(
        select(*told.c, told.c.digest.label("seen")),
        select(*told.c, held.c.manifest.label("seen")).join(held, held.c.digest == told.c.digest),
        select(*told.c, holds.c.digest.label("seen")).join(holds, holds.c.manifest == told.c.digest),
    ).cte("named")
    same = and_(_run.c.namespace == named.c.namespace, _run.c.digest == named.c.seen, _run.c.cluster == named.c.cluster)
    query = select(_run.c.leaf, _run.c.started_at, *(named.c[name] for name in (*_OF, "at"))).join(named, same)
    return query.where(went_on(_run, as_of=asked.as_of, known_at=asked.known_at)).cte("hits")


def _was_let_in_later(refused: CTE, asked: _Asked) -> ColumnElement[bool]:
    """Whether the same policy did not mind the image there in an evaluation after the refusal (or in the same one:
    a policy that judged two manifests of an index refuses it if it refuses one)."""
    image, decision, judged = tables.decision_image.alias(), tables.decision.alias(), tables.evaluation.alias()
    minds = tables.refusal.alias()
    query = (
        select(literal(1))
        .select_from(image)
        .join(decision, of_one_leaf(decision, image))
        .join(judged, and_(of_one_leaf(judged, image), judged.c.image == image.c.position))
        .where(image.c.digest == refused.c.digest, image.c.decided_at > refused.c.at, *_by_then(image, asked))
        .where(decision.c.namespace == refused.c.namespace, decision.c.cluster == refused.c.cluster)
        .where(*(judged.c[name] == refused.c[name] for name in ("policy_kind", "policy_namespace", "policy_name")))
        .where(
            ~select(minds.c.leaf)
            .where(of_one_leaf(minds, judged), minds.c.position == judged.c.position)
            .correlate(judged)
            .exists()
        )
    )
    return query.correlate(refused).exists()


def _places(connection: Connection, hits: CTE, before: Place | None, limit: int) -> list[int]:
    query = select(hits.c.leaf, hits.c.started_at).distinct()
    if before is not None:
        started_at, leaf = literal(before[0], tables.Instant), literal(before[1], BigInteger)
        query = query.where(tuple_(hits.c.started_at, hits.c.leaf) < tuple_(started_at, leaf))
    query = query.order_by(hits.c.started_at.desc(), hits.c.leaf.desc()).limit(limit)
    return [row.leaf for row in connection.execute(query)]


def _refusals(
    connection: Connection, hits: CTE, leaves: Sequence[int], asked: _Asked
) -> Mapping[int, tuple[Refusal, ...]]:
    """The refusals of each of these runs."""
    rows = connection.execute(select(hits).where(hits.c.leaf.in_(leaves))).all()
    keys = {tuple(row[2:8]): row.at for row in rows}
    told = _newest(connection, keys, asked)
    found: dict[int, list[Refusal]] = defaultdict(list)
    for row in rows:
        found[row.leaf].append(told[tuple(row[2:8])])
    return {leaf: tuple(sorted(found[leaf], key=_name)) for leaf in leaves}


def _newest(connection: Connection, keys: Mapping[Key, datetime], asked: _Asked) -> dict[Key, Refusal]:
    """What the newest evaluation of each of these says, and since when its version does."""
    judged, decision = tables.evaluation, tables.decision
    last = _last_versions(connection, {key[3:] + key[:1] for key in keys}, asked)
    found: dict[Key, Refusal] = {}
    for key, at in keys.items():
        of = [_refusal.c[name] == value for name, value in zip(_OF, key, strict=True)]
        query = (
            select(_refusal.c.policy_hash, judged.c.outcome, judged.c.error_kind, judged.c.reasons, decision.c.id)
            .join(judged, and_(of_one_leaf(judged, _refusal), judged.c.position == _refusal.c.position))
            .join(decision, of_one_leaf(decision, _refusal))
            .where(*of, _refusal.c.decided_at == at, *_by_then(_refusal, asked))
            .order_by(_refusal.c.leaf.desc(), _refusal.c.position)
        )
        row = connection.execute(query.limit(1)).one()
        first = func.min(_refusal.c.decided_at, type_=tables.Instant)
        since = select(first).where(*of, _refusal.c.policy_hash == row.policy_hash, *_by_then(_refusal, asked))
        found[key] = Refusal(
            policy=PolicyVersion(key[3], key[4], key[5], row.policy_hash),
            current=last[key[3:] + key[:1]] == row.policy_hash,
            digest=key[2],
            outcome=row.outcome,
            error_kind=row.error_kind or "",
            reasons=tuple(sorted({reason["code"] for reason in json.loads(row.reasons)})),
            since=connection.execute(since).scalar_one(),
            evaluated_at=at,
            record=row.id,
        )
    return found


def _last_versions(connection: Connection, policies: Iterable[Key], asked: _Asked) -> dict[Key, str]:
    """The version with which each of these policies (kind, namespace, name, cluster) judged last."""
    judged, decision = tables.evaluation, tables.decision
    found: dict[Key, str] = {}
    for key in policies:
        kind, namespace, name, cluster = key
        query = (
            select(judged.c.policy_hash)
            .join(decision, of_one_leaf(decision, judged))
            .where(judged.c.policy_name == name, judged.c.policy_namespace == namespace, judged.c.policy_kind == kind)
            .where(decision.c.cluster == cluster, *_by_then(judged, asked))
            .order_by(judged.c.decided_at.desc(), judged.c.leaf.desc())
        )
        found[key] = str(connection.execute(query.limit(1)).scalar_one())
    return found


def _name(refusal: Refusal) -> tuple[str, ...]:
    policy = refusal.policy
    return policy.kind, policy.namespace, policy.name, refusal.digest
