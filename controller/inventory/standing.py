"""Which images run, and where: the runs of a moment, gathered by image and workload.

What runs at one time is thousands of pods and some thousands of images at the most, however long the inventory goes
back; questions that ask something of every running image begin here and work on what this returns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import CTE, ColumnElement, Connection, func, select, union_all

from controller.inventory import tables
from controller.inventory.dialect import bytewise
from controller.inventory.running import began, went_on

T = TypeVar("T", str, int)

CHUNK = 500  # digests named in one statement


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
    """What runs is asked about: a time, as it was known at another, in one namespace or cluster or in all."""

    as_of: datetime
    known_at: datetime | None
    namespace: str | None = None
    cluster: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        """Which runs (`run`) these are, found by an index."""
        runs = tables.run
        times = {"as_of": self.as_of, "known_at": self.known_at}
        found = [began(runs, **times), went_on(runs, **times)]
        named = [(name, getattr(self, name)) for name in ("namespace", "cluster")]
        return [*found, *(runs.c[name] == value for name, value in named if value is not None)]


def standing(connection: Connection, moment: Moment, *, digests: Collection[str] | None = None) -> list[Standing]:
    """All that runs at a time, or of these images alone, in no order. A run whose digest nobody knows has none."""
    runs = tables.run
    where = tuple(runs.c[name] for name in _WHERE)
    since = func.min(runs.c.started_at, type_=tables.Instant)
    query = select(*where, func.count().label("runs"), since.label("since")).group_by(*where)
    query = query.where(*moment.conditions())
    asking = [query] if digests is None else [query.where(runs.c.digest.in_(chunk)) for chunk in chunks(digests)]
    return [
        Standing(**{name: getattr(row, name) for name in (*_WHERE, "runs", "since")})
        for one in asking
        for row in connection.execute(one)
    ]


def running_images(connection: Connection, moment: Moment) -> CTE:
    """The images that run, in the database: `digest`, and `repository`, the first of those that it is pulled from."""
    runs = tables.run
    query = select(runs.c.digest, func.min(bytewise(connection, runs.c.repository)).label("repository")).group_by(
        runs.c.digest
    )
    return query.where(*moment.conditions(), runs.c.digest.is_not(None)).cte("running")


def named(running: CTE, known_at: datetime | None) -> CTE:
    """These images under all their names (`described.kin`): the columns of `running`, and `name`."""
    held, holds = tables.image_manifest.alias("held"), tables.image_manifest.alias("holds")
    inside = select(*running.c, held.c.manifest.label("name")).join(held, held.c.digest == running.c.digest)
    around = select(*running.c, holds.c.digest.label("name")).join(holds, holds.c.manifest == running.c.digest)
    if known_at is not None:
        inside, around = inside.where(held.c.recorded_at <= known_at), around.where(holds.c.recorded_at <= known_at)
    return union_all(select(*running.c, running.c.digest.label("name")), inside, around).cte("named")


def unidentified(connection: Connection, moment: Moment) -> int:
    """How many runs have a digest that nobody knows."""
    query = select(func.count()).select_from(tables.run).where(tables.run.c.digest.is_(None), *moment.conditions())
    return connection.execute(query).scalar_one()


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
