"""Which images run, and where: the runs of a moment, gathered by image and workload.

What runs at one time is thousands of pods and some thousands of images at the most, however long the inventory goes
back; questions that ask something of every running image begin here and work on what this returns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sqlalchemy import Connection

from controller.inventory.run_ranges import RunFilter, grouped

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


def standing(
    connection: Connection,
    *,
    as_of: datetime,
    known_at: datetime | None,
    namespace: str | None = None,
    cluster: str | None = None,
) -> list[Standing]:
    """All that runs at a time, in no order. A run whose digest nobody knows has none."""
    where = RunFilter(namespace=namespace, cluster=cluster)
    return [Standing(*tuple(row)) for row in grouped(connection, where, _WHERE, as_of=as_of, known_at=known_at)]


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
