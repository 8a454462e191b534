"""What runs though a policy would refuse it today, as it was last evaluated.

A policy refuses an image in a namespace if its newest evaluation of it there is Violated or Error, and it denies. That
may be an evaluation of a new pod with the image of an old one, of a workload's template, or a later look at what runs.
An image that no policy has judged again since it was admitted is not here: nothing is known. A policy that was seen to
be deleted refuses nothing from then on; one that was changed since refuses as it was last evaluated.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    ScalarSelect,
    Select,
    and_,
    cast,
    literal,
    or_,
    select,
    true,
    tuple_,
)

from controller.inventory import tables
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, by_then, check_limit
from controller.inventory.asking.cursors import Place
from controller.inventory.asking.decisions.last_versions import Policy, last_versions
from controller.inventory.asking.decisions.resource_facts import LAG, gone
from controller.inventory.asking.hindsight import last_decided
from controller.inventory.asking.kinship import named
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.runs import running
from controller.inventory.asking.runs.ranges import by_leaf
from controller.inventory.asking.runs.standing import Moment
from controller.inventory.database.dialect import compared
from controller.inventory.database.parameters import texts
from controller.inventory.records import PolicyVersion, RunRecord
from controller.inventory.tables import of_one_leaf

_refusal, _ever, _held, _run = tables.refusal, tables.refused_image, tables.image_manifest, tables.run
_POLICY = ("policy_kind", "policy_namespace", "policy_name")
_OF = ("cluster", "namespace", "digest", *_POLICY)
_WHERE = ("cluster", "namespace", "digest")

TOGETHER = 4  # times as many runs are read together as the page holds: not each of their images is refused there
MAX_TOGETHER = 16_000  # runs that are read together at the most, however many are in vain: bounds memory

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """That a policy refuses an image: its newest evaluation of it in this namespace.

    `digest` is the judged one: the run's, or that of an index or manifest of the same image. `current` says whether
    that version of the policy is the last one with which it judged anything: in a namespace's answer anything there,
    so that nobody learns what it judged elsewhere. `since` is when this version first
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
        paging = Paging.of("refused", cursor, datetime, int, as_of=as_of, known_at=known_at, now=True)
        as_of, known_at = paging.at, paging.known_at
        with self._reading() as connection:
            decided = last_decided(connection, as_of=as_of, known_at=known_at)
            asked = _Asked(as_of, decided, known_at, namespace, cluster, policy)
            found = _page(connection, asked, paging.place, limit + 1)
            shown = [run.leaf for run, _ in found[:limit]]
            rows = by_leaf(connection, shown)
            records = running.records(connection, [rows[leaf] for leaf in shown], known_at=known_at)
            told = _newest(connection, {key: at for _, keys in found[:limit] for key, at in keys.items()}, asked)
            last = (rows[shown[-1]].started_at, shown[-1]) if len(found) > limit else None
            more = paging.after(connection, last)
        items = tuple(
            RefusedRun(record, tuple(sorted((told[key] for key in keys), key=_name)))
            for record, (_, keys) in zip(records, found, strict=False)
        )
        return RefusedPage(items, more)


class _Times(TypedDict):
    as_of: datetime
    known_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Asked:
    as_of: datetime
    decided: datetime  # until when what is asked about was decided (`hindsight`)
    known_at: datetime | None
    namespace: str | None
    cluster: str | None
    policy: str | None

    @property
    def moment(self) -> Moment:
        """What runs then."""
        return Moment(self.as_of, self.known_at, self.namespace, self.cluster)

    @property
    def times(self) -> _Times:
        """For `by_then`."""
        return {"as_of": self.decided, "known_at": self.known_at}

    def of(self, query: Select[Any]) -> Select[Any]:
        """Of these rows of `refused_image` those that may be refusals by then, where and by whom is asked about."""
        query = by_then(query, _ever, **self.times)
        for name in ("namespace", "cluster"):
            if (value := getattr(self, name)) is not None:
                query = query.where(_ever.c[name] == value)
        if self.policy is None:
            return query
        whose, slash, name = self.policy.rpartition("/")
        query = query.where(_ever.c.policy_name == name)
        return query.where(_ever.c.policy_namespace == whose) if slash else query


Where = tuple[str, str, str]
"""A cluster, a namespace in it, and the digest of what runs there."""

Keys = Mapping[Key, datetime]
"""Refusals (cluster, namespace, digest, and the policy), and when each was said last."""


def _page(connection: Connection, asked: _Asked, before: Place | None, limit: int) -> Sequence[tuple[Row[Any], Keys]]:
    """The next runs whose images are refused, the latest started first, as many as `limit`, and what refuses each.

    Whether a policy let the image in later, or is gone, is asked of the images on the page alone.
    """
    known: dict[Where, Keys] = {}
    over: dict[Key, bool] = {}
    found: list[tuple[Row[Any], Keys]] = []
    runs, together = _runs(connection, asked), TOGETHER * limit
    more = True
    while more and len(found) < limit:
        rows = connection.execute(_after(runs, before).limit(together)).all()
        more = len(rows) == together
        before = (rows[-1].started_at, rows[-1].leaf) if more else None
        together = min(TOGETHER * together, MAX_TOGETHER)
        places = [(row, (row.cluster, row.namespace, row.digest)) for row in rows]
        known |= _refused(connection, {where for _, where in places} - known.keys(), asked)
        left = [(row, keys) for row, where in places if (keys := known[where])]
        while left and (wide := limit - len(found)):
            # No more are looked at closely than the page still needs, if all are refused.
            some, left = left[:wide], left[wide:]
            new = {key: at for _, keys in some for key, at in keys.items() if key not in over}
            over |= _over(connection, new, asked)
            for row, keys in some:
                if stand := {key: at for key, at in keys.items() if not over[key]}:
                    found.append((row, stand))
    return found


def _runs(connection: Connection, asked: _Asked) -> Select[Any]:
    """What runs where its image was ever refused, under any of its names, the latest started first.

    Of each image it is asked first whether it was refused anywhere: few were. PostgreSQL hashes a subquery, and does
    not make a join of it if asked whether it is true (`parameters.sifted`).
    """
    ever = asked.of(select(_ever.c.digest)).distinct().cte("ever")
    names = named(ever, asked.known_at, inside=True)
    anywhere = _run.c.digest.in_(select(names.c.name)).is_(True)
    runs = asked.moment.rows(connection, "leaf", "started_at", *_WHERE, also=[anywhere])
    if connection.dialect.name != "postgresql":
        query = select(runs).where(_was_refused(runs, asked))
    else:  # which takes longer to look for a place than to tell which are the same
        every = select(runs).cte("runs")
        places = select(*(every.c[name] for name in _WHERE)).distinct().cte("places")
        there = select(places).where(_was_refused(places, asked))
        query = select(every).where(tuple_(*(every.c[name] for name in _WHERE)).in_(there).is_(True))
    columns = query.selected_columns
    return query.order_by(columns.started_at.desc(), columns.leaf.desc())


def _was_refused(runs: FromClause, asked: _Asked) -> ColumnElement[bool]:
    """Whether what runs was ever refused there: itself, an index that holds it, or a manifest of it."""
    there = asked.of(select(literal(1)).where(*(_ever.c[name] == runs.c[name] for name in ("namespace", "cluster"))))
    ways = [there.where(_ever.c.digest == runs.c.digest)]
    for this, other in ((_held.c.manifest, _held.c.digest), (_held.c.digest, _held.c.manifest)):
        way = there.select_from(_held).where(this == runs.c.digest, _ever.c.digest == other)
        ways.append(by_then(way, _held, as_of=None, known_at=asked.known_at))
    return or_(*(way.correlate(runs).offset(0).exists() for way in ways))


def _refused(connection: Connection, wheres: Collection[Where], asked: _Asked) -> Mapping[Where, Keys]:
    """All that ever refused each of these images there, whatever was said later: nothing, of most."""
    found: dict[Where, dict[Key, datetime]] = {where: {} for where in wheres}
    if not wheres:
        return found
    # A manifest that was refused by itself is refused under its index too: nobody lists one to be refused.
    names = named(texts(connection, _WHERE, sorted(wheres)), asked.known_at, inside=True)
    place = (names.c[name] for name in (*_WHERE, "name"))
    there = and_(_ever.c.digest == names.c.name, *(_ever.c[name] == names.c[name] for name in ("namespace", "cluster")))
    keys = asked.of(select(*(_ever.c[name] for name in _POLICY), _newest_of(asked).label("at")).where(there))
    if connection.dialect.name == "postgresql":  # with an offset: or it would go through all that was ever refused
        each = keys.correlate(names).offset(0).lateral()
        query = select(*place, *each.c).select_from(names.join(each, true()))
    else:
        query = keys.select_from(names, _ever).with_only_columns(*place, *keys.selected_columns)
    for cluster, namespace, seen, digest, *policy, at in connection.execute(query):
        if at is not None:  # None: what was decided by then became known later
            found[cluster, namespace, seen][cluster, namespace, digest, *policy] = at
    return found


def _newest_of(asked: _Asked) -> ScalarSelect[Any]:
    """When this policy refused this image there last: the last entry of an index, however often it did."""
    query = select(_refusal.c.decided_at).where(*(_refusal.c[name] == _ever.c[name] for name in _OF))
    query = by_then(query, _refusal, **asked.times).order_by(_refusal.c.decided_at.desc()).limit(1)
    return query.correlate(_ever).scalar_subquery()


def _after(runs: Select[Any], place: Place | None) -> Select[Any]:
    if place is None:
        return runs
    columns = runs.selected_columns
    started_at, leaf = literal(place[0], tables.Instant), literal(place[1], BigInteger)
    return runs.where(tuple_(columns.started_at, columns.leaf) < tuple_(started_at, leaf))


def _over(connection: Connection, keys: Keys, asked: _Asked) -> Mapping[Key, bool]:
    """Of each of these refusals whether the same policy let the image in there later, or was deleted."""
    if not keys:
        return {}
    wanted = _table(connection, keys)
    first = min(keys.values()) if connection.dialect.name == "postgresql" else None
    query = select(*(wanted.c[name] for name in _OF)).where(_was_let_in_later(wanted, first, asked))
    later = {tuple(row) for row in connection.execute(query)}
    gone_at = gone(connection, {_policy(key) for key in keys}, as_of=asked.as_of, known_at=asked.known_at)
    until = {key: gone_at[policy] + LAG for key in keys if (policy := _policy(key)) in gone_at}
    return {key: key in later or (key in until and at <= until[key]) for key, at in keys.items()}


def _was_let_in_later(refused: CTE, first: datetime | None, asked: _Asked) -> ColumnElement[bool]:
    """Whether the same policy did not mind the image there in an evaluation after the refusal (or in the same one:
    a policy that judged two manifests of an index refuses it if it refuses one). None of them was before `first`: told
    that of each table, PostgreSQL leaves out the months before at once, and not row by row."""
    image, decision, judged = tables.decision_image.alias(), tables.decision.alias(), tables.evaluation.alias()
    minds = tables.refusal.alias()
    query = (
        select(literal(1))
        .select_from(image)
        .join(decision, of_one_leaf(decision, image))
        .join(judged, and_(of_one_leaf(judged, image), judged.c.image == image.c.position))
        .where(image.c.digest == refused.c.digest, image.c.decided_at > refused.c.at)
        .where(compared(decision.c.namespace) == refused.c.namespace, decision.c.cluster == refused.c.cluster)
        .where(*(compared(judged.c[name]) == refused.c[name] for name in _POLICY))
        .where(
            ~select(minds.c.leaf)
            .where(of_one_leaf(minds, judged), minds.c.position == judged.c.position)
            .correlate(judged)
            .exists()
        )
    )
    if first is not None:
        query = query.where(*(table.c.decided_at.between(first, asked.decided) for table in (image, decision, judged)))
    # Refusal by refusal, and not joined with all that was ever judged: with an offset PostgreSQL leaves it so.
    return by_then(query, image, **asked.times).correlate(refused).offset(0).exists()


def _newest(connection: Connection, keys: Mapping[Key, datetime], asked: _Asked) -> dict[Key, Refusal]:
    """What the newest evaluation of each of these says, and since when its version does."""
    if not keys:
        return {}
    last = last_versions(
        connection,
        {_policy(key) for key in keys},
        namespace=asked.namespace,
        **asked.times,
    )
    told = _words(connection, keys, asked)
    return {
        key: Refusal(
            policy=PolicyVersion(key[3], key[4], key[5], row.policy_hash),
            current=last[_policy(key)] == row.policy_hash,
            digest=key[2],
            outcome=row.outcome,
            error_kind=row.error_kind or "",
            reasons=tuple(sorted({reason["code"] for reason in json.loads(row.reasons)})),
            since=row.since,
            evaluated_at=keys[key],
            record=row.id,
        )
        for key, row in told.items()
    }


def _policy(key: Key) -> Policy:
    cluster, _, _, *policy = key
    return policy[0], policy[1], policy[2], cluster


def _words(connection: Connection, keys: Mapping[Key, datetime], asked: _Asked) -> dict[Key, Row[Any]]:
    """The newest evaluation of each: of several of one time the one that was recorded last. `since`: `_since`."""
    judged, decision = tables.evaluation, tables.decision
    wanted = _table(connection, keys)
    query = (
        select(*(_refusal.c[name] for name in _OF), _refusal.c.policy_hash, _since(asked).label("since"))
        .add_columns(judged.c.outcome, judged.c.error_kind, judged.c.reasons, decision.c.id)
        .select_from(wanted)
        .join(_refusal, and_(*(_refusal.c[name] == wanted.c[name] for name in _OF)))
        .join(judged, and_(of_one_leaf(judged, _refusal), judged.c.position == _refusal.c.position))
        .join(decision, of_one_leaf(decision, _refusal))
        .where(_refusal.c.decided_at == wanted.c.at)
        .where(*(table.c.decided_at.between(min(keys.values()), max(keys.values())) for table in (judged, decision)))
        .order_by(_refusal.c.leaf.desc(), _refusal.c.position)
    )
    found: dict[Key, Row[Any]] = {}
    for row in connection.execute(by_then(query, _refusal, **asked.times)):
        found.setdefault(tuple(row[: len(_OF)]), row)
    return found


def _since(asked: _Asked) -> ScalarSelect[Any]:
    """When this version of the policy first refused the image there: found among the first, if it was the first."""
    one = _refusal.alias("first")
    query = select(one.c.decided_at).where(*(one.c[name] == _refusal.c[name] for name in (*_OF, "policy_hash")))
    query = by_then(query, one, **asked.times).order_by(one.c.decided_at).limit(1)
    return query.correlate(_refusal).scalar_subquery()


def _table(connection: Connection, keys: Keys) -> CTE:
    """Keys as a table, and the time of each (`at`)."""
    rows = [(*key, tables.instant(at)) for key, at in sorted(keys.items())]
    plain = texts(connection, (*_OF, "at"), rows)
    table = select(*(plain.c[name] for name in _OF), cast(plain.c.at, tables.Instant).label("at")).cte("wanted")
    # SQLite would read them out of their JSON again for each row that they are compared with.
    return table.prefix_with("MATERIALIZED", dialect="sqlite")


def _name(refusal: Refusal) -> tuple[str, ...]:
    policy = refusal.policy
    return policy.kind, policy.namespace, policy.name, refusal.digest
