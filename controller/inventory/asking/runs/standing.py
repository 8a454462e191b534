"""Which images run, and where: the runs of a moment, gathered by image and workload.

What runs at one time is thousands of pods and some thousands of images at the most, however long the inventory goes
back; questions that ask something of every running image begin here and work on what this returns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Subquery,
    case,
    cast,
    func,
    select,
    true,
)

from controller.inventory import tables
from controller.inventory.asking.runs.words import went_on
from controller.inventory.database.dialect import bytewise
from controller.inventory.database.parameters import among, texts
from controller.inventory.intervals import Window, windows
from controller.inventory.tables import instant

T = TypeVar("T", str, int)

CHUNK = 500  # digests named in one statement
_EARLIEST, _LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


_WHERE = ("digest", "repository", "reference", "cluster", "namespace", "owner")


@dataclass(frozen=True, slots=True)
class Standing:
    """The runs of one image by one workload of one namespace: how many, and since when the first of them."""

    digest: str | None
    repository: str
    reference: str
    cluster: str
    namespace: str
    owner: str
    runs: int
    since: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """What runs is asked about: a time, as it was known at another, in one namespace or cluster or in all. `read_by`:
    what was read of documents later is not there yet (`paging`)."""

    as_of: datetime
    known_at: datetime | None
    namespace: str | None = None
    cluster: str | None = None
    read_by: datetime | None = None

    def rows(
        self,
        connection: Connection,
        *names: str,
        also: Sequence[ColumnElement[bool]] = (),
        by: str | None = None,
    ) -> Subquery:
        """These columns of the runs, of which all of `also` holds: range after range of an index (`intervals`).

        It is the one by the column `by`, else by namespace or cluster where one is asked about.
        """
        runs, times = tables.run, {"as_of": self.as_of, "known_at": self.known_at}
        wanted = {name: value for name in ("namespace", "cluster") if (value := getattr(self, name)) is not None}
        first = by or next(iter(wanted), None)
        index = f"ix_run_{f'{first}_' if first else ''}span_started_at_leaf"
        where = [went_on(runs, **times), *(runs.c[name] == value for name, value in wanted.items()), *also]
        each = _ranges(connection, windows(**times))
        inside = (runs.c.span == each.c.span, runs.c.started_at > each.c.since, runs.c.started_at <= each.c.until)
        found = select(*(runs.c[name] for name in names)).where(*inside, *where)
        if connection.dialect.name == "postgresql":  # with an offset: or all ranges would be planned as one join
            part = found.correlate(each).offset(0).lateral()
            return select(*part.c).select_from(each.join(part, true())).subquery()
        return found.select_from(each, runs).with_hint(runs, f"INDEXED BY {index}", "sqlite").subquery()


def _ranges(connection: Connection, spans: Iterable[Window]) -> CTE:
    """Windows as a table: `span`, and `since` (before all that is in it) and `until` (the last)."""
    told = texts(
        connection,
        ("span", "since", "until"),
        [(str(one.span), instant(one.after or _EARLIEST), instant(one.until or _LATEST)) for one in spans],
    )
    times = (cast(told.c[name], tables.Instant).label(name) for name in ("since", "until"))
    return select(cast(told.c.span, Integer).label("span"), *times).cte()


def standing(connection: Connection, moment: Moment, digests: Collection[str]) -> list[Standing]:
    """Where these images run, in no order. (One of them may have run a hundred thousand times before.)"""
    return [
        Standing(**{name: getattr(row, name) for name in (*_WHERE, "runs", "since")})
        for chunk in chunks(digests)
        for row in connection.execute(_standing(connection, moment, chunk))
    ]


def _standing(connection: Connection, moment: Moment, digests: Sequence[str]) -> Select[Any]:
    runs = moment.rows(
        connection, *_WHERE, "started_at", also=[among(connection, tables.run.c.digest, digests)], by="digest"
    )
    where = tuple(runs.c[name] for name in _WHERE)
    since = func.min(runs.c.started_at, type_=tables.Instant)
    return select(*where, func.count().label("runs"), since.label("since")).group_by(*where)


def running_images(connection: Connection, moment: Moment) -> CTE:
    """The images that run, in the database: `digest`, `repository`, the first of those that it is pulled from, and
    `owner` (`Owners`)."""
    runs = moment.rows(connection, "digest", "repository", "namespace", also=[tables.run.c.digest.is_not(None)])
    first = func.min(bytewise(connection, runs.c.repository)).label("repository")
    return select(runs.c.digest, first, _owner(runs)).group_by(runs.c.digest).cte("running")


def running_digests(connection: Connection, moment: Moment) -> CTE:
    """The same without their repositories."""
    runs = moment.rows(connection, "digest", "namespace", also=[tables.run.c.digest.is_not(None)])
    return select(runs.c.digest, _owner(runs)).group_by(runs.c.digest).cte("running")


Owners = Mapping[str, str]
"""Of each running image the one namespace in which it runs; empty of one that runs in several.

What that namespace's own policies found counts for the image. For one that several namespaces run counts what the
cluster's policies found: whoever runs another's image could put his own word about it before theirs."""


def _owner(runs: Subquery) -> ColumnElement[str]:
    first, last = func.min(runs.c.namespace), func.max(runs.c.namespace)
    return case((first == last, first), else_="").label("owner")


def owners(running: Iterable[Standing]) -> Owners:
    """Of what runs, all runs of each image being there."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in running:
        if one.digest is not None:
            found[one.digest].add(one.namespace)
    return {digest: "".join(some) if len(some) == 1 else "" for digest, some in found.items()}


def unidentified(connection: Connection, moment: Moment) -> int:
    """How many runs have a digest that nobody knows."""
    runs = moment.rows(connection, "leaf", also=[tables.run.c.digest.is_(None)], by="digest")
    return connection.execute(select(func.count()).select_from(runs)).scalar_one()


@dataclass(frozen=True, slots=True)
class Place:
    """Where one image runs: how many runs, under which repositories, in which namespaces and clusters, since when."""

    digest: str
    repositories: tuple[str, ...]
    runs: int
    namespaces: tuple[str, ...]
    clusters: tuple[str, ...]
    since: datetime


def places(running: Iterable[Standing]) -> dict[str, Place]:
    """What runs, by image. Runs without a digest are left out."""
    by_digest: dict[str, list[Standing]] = defaultdict(list)
    for one in running:
        if one.digest is not None:
            by_digest[one.digest].append(one)
    return {
        digest: Place(
            digest=digest,
            repositories=tuple(sorted({one.repository for one in some})),
            runs=sum(one.runs for one in some),
            namespaces=tuple(sorted({one.namespace for one in some})),
            clusters=tuple(sorted({one.cluster for one in some})),
            since=min(one.since for one in some),
        )
        for digest, some in by_digest.items()
    }


def chunks(names: Iterable[T]) -> list[Sequence[T]]:
    """The names, or numbers, in order, so many at once as one statement may ask for."""
    ordered = sorted(set(names))
    return [ordered[start : start + CHUNK] for start in range(0, len(ordered), CHUNK)]
