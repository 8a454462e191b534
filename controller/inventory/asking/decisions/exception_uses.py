"""Which exceptions there are, by whom they were approved, until when, and how often they were used.

An exception is known by its uses, and by an operator that saw it applied: that one may never have been used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    cast,
    func,
    literal,
    null,
    select,
    tuple_,
    union_all,
)

from controller.inventory import tables
from controller.inventory.asking.asker import beyond, by_then, check_limit
from controller.inventory.asking.decisions.resource_facts import APPLIED, EXCEPTIONS, history, stand, standing
from controller.inventory.asking.paging import Paging
from controller.inventory.records import ExceptionPage, ExceptionRecord, Standing

KEY = ("cluster", "name", "hash", "approval")
STAMPED = "stamped"
_TOLD = ("approver", "approved_at", "reason", "expires", "break_glass")
_exception, _use, _fact = tables.exception, tables.exception_use, tables.resource_fact
_NEVER = cast(null(), tables.Instant)

Version = tuple[str, str, str]
"""A cluster, an exception's name, and the hash of one version."""
_VERSION = ("cluster", "name", "hash")


class _Life(NamedTuple):
    """When a version was applied, how it stands, and when it ended, if it did."""

    applied_at: datetime
    state: Standing
    ended_at: datetime | None
    unwatched: bool


def page(
    connection: Connection,
    *,
    name: str | None,
    in_force: bool,
    limit: int,
    cursor: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
) -> ExceptionPage:
    """A page of `Queries.exceptions`, which says what it raises."""
    check_limit(limit)
    paging = Paging.of("exceptions", cursor, datetime, *(str for _ in KEY), as_of=as_of, known_at=known_at)
    as_of, known_at = paging.as_of, paging.known_at
    query, order = _known(name, as_of, known_at)
    if in_force:
        query = query.where(_in_force(paging.at, as_of, known_at))
    if paging.place is not None:
        query = query.where(beyond(order, paging.place))
    rows = connection.execute(query.limit(limit + 1)).all()
    shown = rows[:limit]
    lives = _lives(connection, {row.name for row in shown}, as_of=as_of, known_at=known_at)
    items = tuple(_record(row, lives, paging.at) for row in shown)
    after = (shown[-1].at, *(getattr(shown[-1], key) for key in KEY)) if len(rows) > limit else None
    return ExceptionPage(items=items, cursor=paging.after(connection, after))


def _known(
    name: str | None, as_of: datetime | None, known_at: datetime | None
) -> tuple[Select[Any], list[tuple[ColumnElement[Any], bool]]]:
    """The exceptions that were used or applied, ordered, and by what: the columns, and whether they descend."""
    moment = tables.Instant
    uses = select(
        *(_use.c[column] for column in KEY),
        func.count().label("uses"),
        func.min(_use.c.decided_at, type_=moment).label("first"),
        func.max(_use.c.decided_at, type_=moment).label("last"),
        _NEVER.label("applied"),
    ).group_by(*(_use.c[column] for column in KEY))
    applied = select(
        *(_fact.c.cluster, _fact.c.name, _fact.c.hash, literal(STAMPED).label("approval")),
        *(literal(0), _NEVER, _NEVER, _fact.c.decided_at),
    ).where(_fact.c.kind.in_(EXCEPTIONS), _fact.c.fact == APPLIED)
    if name is not None:
        uses, applied = uses.where(_use.c.name == name), applied.where(_fact.c.name == name)
    both = union_all(
        by_then(uses, _use, as_of=as_of, known_at=known_at), by_then(applied, _fact, as_of=as_of, known_at=known_at)
    ).subquery()
    found = (
        select(
            *(both.c[column] for column in KEY),
            func.sum(both.c.uses).label("uses"),
            func.min(both.c.first, type_=moment).label("first_used_at"),
            func.max(both.c.last, type_=moment).label("last_used_at"),
            func.coalesce(func.max(both.c.last), func.min(both.c.applied), type_=moment).label("at"),
        )
        .group_by(*(both.c[column] for column in KEY))
        .subquery()
    )
    query = select(
        *(_exception.c[column] for column in (*KEY, *_TOLD)),
        *(found.c.uses, found.c.first_used_at, found.c.last_used_at, found.c.at),
    ).join(found, and_(*(_exception.c[column] == found.c[column] for column in KEY)))
    order: list[tuple[ColumnElement[Any], bool]] = [
        (found.c.at, True),
        *((_exception.c[column], False) for column in KEY),
    ]
    return query.order_by(*(column.desc() if falls else column for column, falls in order)), order


def _in_force(moment: datetime, as_of: datetime | None, known_at: datetime | None) -> ColumnElement[bool]:
    """Whether a version (a row of `exception`) was in force: applied, not gone, and not expired.

    What stands is found once, and not of each row: what is correlated with rows is looked for as often as there are.
    """
    stands = select(*(_fact.c[name] for name in _VERSION)).where(stand(EXCEPTIONS, as_of=as_of, known_at=known_at))
    there = tuple_(*(_exception.c[name] for name in _VERSION)).in_(stands)
    return and_(_exception.c.approval == STAMPED, _exception.c.expires > moment, there)


def _lives(
    connection: Connection, names: Collection[str], *, as_of: datetime | None, known_at: datetime | None
) -> Mapping[Version, _Life]:
    """What became of each version of these that was seen to be applied. One that was made anew, all alike, goes on."""
    found = history(EXCEPTIONS, _fact.c.name.in_(sorted(names)), as_of=as_of, known_at=known_at)
    lives: dict[Version, _Life] = {}
    for row in connection.execute(select(found).where(found.c.fact == APPLIED).order_by(found.c.decided_at)):
        version = row.cluster, row.name, row.hash
        known = lives.get(version)
        begun = row.decided_at if known is None else known.applied_at
        if known is None or (known.ended_at is not None and (row.next_at is None or row.next_at > known.ended_at)):
            lives[version] = _Life(begun, standing(row.next), row.next_at, bool(row.unwatched))
    return lives


def _record(row: Row[Any], lives: Mapping[Version, _Life], moment: datetime) -> ExceptionRecord:
    life = lives.get((row.cluster, row.name, row.hash)) if row.approval == STAMPED else None
    state, ended, unwatched = life[1:] if life is not None else (Standing.UNKNOWN, None, False)
    if row.expires <= (ended or moment):
        state, ended, unwatched = Standing.EXPIRED, row.expires, False
    return ExceptionRecord(
        **{column: getattr(row, column) for column in (*KEY, *_TOLD)},
        applied_at=life.applied_at if life is not None else None,
        state=state,
        ended_at=ended,
        unwatched=unwatched,
        uses=int(row.uses),
        first_used_at=row.first_used_at,
        last_used_at=row.last_used_at,
    )
