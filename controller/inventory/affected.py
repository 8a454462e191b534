"""The blast radius of what turned out bad: what runs that rests on it, what ever ran, what was ever admitted on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, func, select

from controller.inventory import cursors, kinship, running, tables
from controller.inventory.affected_decisions import FEW, MAX_COUNTED, MAX_SCANNED, Asked, count_admitted, decisions
from controller.inventory.affected_records import (
    AffectedDecision,
    AffectedDecisions,
    AffectedImages,
    AffectedRun,
    AffectedRuns,
    Extent,
)
from controller.inventory.asking import (
    DEFAULT_LIMIT,
    MAX_LIMIT,
    Asker,
    Place,
    check_limit,
    read_cursor,
    write_cursor,
)
from controller.inventory.dialect import among
from controller.inventory.queries import summaries
from controller.inventory.records import DecisionSummary
from controller.inventory.resting import Footing, Resting, Source, resting
from controller.inventory.run_ranges import LAST, RunFilter, by_leaf, grouped, places


class Affected(Asker):
    """Reads what rests on a signer, a builder, a source, a base image, a log entry or an artefact.

    With a namespace only what ran or was decided there counts. Every question raises `InputError`: `DigestMalformed`,
    `ReferenceMalformed`, `AnswerTooLarge`; lists also `LimitOutOfRange`, `CursorMalformed`. A page of runs or of
    decisions may hold fewer than `limit` and still have a next one: at most `MAX_SCANNED` rows are looked at for it.
    """

    def extent(
        self,
        footing: Footing,
        value: str,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        known_at: datetime | None = None,
    ) -> Extent:
        """How far it reaches at a time (default: now)."""
        asked = Asked(as_of or datetime.now(UTC), known_at, namespace)
        with self._reading() as connection:
            return _extent(connection, _reach(connection, footing, value, asked), asked)

    def runs(
        self,
        footing: Footing,
        value: str,
        *,
        as_of: datetime | None = None,
        ever: bool = False,
        namespace: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> AffectedRuns:
        """What runs at a time (default: now) that rests on it; with `ever` whatever ran until then."""
        check_limit(limit)
        place = read_cursor(cursor) if cursor is not None else None
        asked = Asked(as_of or datetime.now(UTC), known_at, namespace, ever=ever)
        with self._reading() as connection:
            found = _reach(connection, footing, value, asked).names
            runs, place = _runs(connection, found, asked, limit=limit, place=place)
        return AffectedRuns(runs, _cursor(place))

    def decisions(
        self,
        footing: Footing,
        value: str,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> AffectedDecisions:
        """The decisions until a time (default: now) that let in what was known to rest on it."""
        check_limit(limit)
        place = read_cursor(cursor) if cursor is not None else None
        asked = Asked(as_of or datetime.now(UTC), known_at, namespace)
        with self._reading() as connection:
            found = _reach(connection, footing, value, asked).names
            rows, place = decisions(connection, found, asked, limit=limit, place=place)
            told = _told_decisions(summaries(connection, rows), found)
            return AffectedDecisions(told, _cursor(place))

    def images(
        self,
        footing: Footing,
        value: str,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> AffectedImages:
        """The images that rest on it, whether they run or not."""
        check_limit(limit)
        after = str(cursors.read(cursor, str)[0]) if cursor is not None else ""
        asked = Asked(as_of or datetime.now(UTC), known_at, namespace)
        with self._reading() as connection:
            proven = _reach(connection, footing, value, asked).proven
        left = [digest for digest in sorted(proven) if digest > after]
        more = cursors.write([left[limit - 1]]) if len(left) > limit else None
        return AffectedImages(tuple(proven[digest] for digest in left[:limit]), more)


def _cursor(place: Place | None) -> str | None:
    return write_cursor(*place) if place is not None else None


@dataclass(frozen=True, slots=True)
class _Reach:
    """What rests on it: the images that were proven, and every digest by which these may be named (`names`).

    A kubelet may name an index or a manifest in it (`kinship`).
    """

    proven: Mapping[str, Resting]
    names: Mapping[str, Resting]


def _reach(connection: Connection, footing: Footing, value: str, asked: Asked) -> _Reach:
    """Raises as `resting` does."""
    found = resting(connection, footing, value, known_at=asked.known_at, namespace=asked.namespace)
    runs = kinship.of_runs(connection, found, asked.known_at)
    proven: dict[str, Resting] = {}
    names: dict[str, Resting] = {}
    for judged, one in found.items():
        proven[one.digest] = proven[one.digest].joined(one) if one.digest in proven else one
        for name in runs[judged]:
            names[name] = names[name].joined(one) if name in names else one
    return _Reach(proven, names)


def _extent(connection: Connection, reach: _Reach, asked: Asked) -> Extent:
    where = RunFilter(namespace=asked.namespace, digests=tuple(sorted(reach.names)))
    by = ("digest", "namespace", "cluster")
    now = grouped(connection, where, by, as_of=asked.as_of, known_at=asked.known_at)
    runs = _count(connection, _ever(connection, reach.names, asked))
    admitted, more = count_admitted(connection, reach.names, asked)
    return Extent(
        images=len(reach.proven),
        claimed=sum(one.is_claimed for one in reach.proven.values()),
        running=sum(one.runs for one in now),
        running_images=len({one.digest for one in now}),
        running_claimed=sum(one.runs for one in now if reach.names[one.digest].is_claimed),
        namespaces=tuple(sorted({one.namespace for one in now})),
        clusters=tuple(sorted({one.cluster for one in now})),
        ran=runs,
        admitted=admitted,
        first_known_at=min((one.since for one in reach.proven.values()), default=None),
        more=more or MAX_COUNTED in {runs, admitted},
    )


def _count(connection: Connection, *queries: Select[Any]) -> int:
    """How many rows these have, up to `MAX_COUNTED`."""
    total = 0
    for query in queries:
        if total < MAX_COUNTED:
            rows = query.limit(MAX_COUNTED - total).subquery()
            total += connection.execute(select(func.count()).select_from(rows)).scalar_one()
    return total


def _ever(connection: Connection, digests: Iterable[str], asked: Asked) -> Select[Any]:
    """The runs of these images until the time that is asked for."""
    seen = tables.run
    query = select(seen.c.leaf).where(
        among(connection, seen.c.digest, sorted(digests)), seen.c.started_at <= asked.as_of
    )
    if asked.namespace is not None:
        query = query.where(seen.c.namespace == asked.namespace)
    return query if asked.known_at is None else query.where(seen.c.recorded_at <= asked.known_at)


def _runs(
    connection: Connection, found: Mapping[str, Resting], asked: Asked, *, limit: int, place: Place | None
) -> tuple[tuple[AffectedRun, ...], Place | None]:
    """The next runs of these images, the latest started first, and where the page after them begins."""
    if not found:
        return (), None
    few = len(found) <= FEW
    where = RunFilter(namespace=asked.namespace, digests=tuple(sorted(found)) if few else None)
    until = (asked.as_of, LAST)
    taken: list[int] = []
    scanned, more = 0, True
    while more and len(taken) < limit and scanned < MAX_SCANNED:
        wide = limit if few else MAX_LIMIT
        rows = places(
            connection,
            where,
            as_of=None if asked.ever else asked.as_of,
            known_at=asked.known_at,
            before=min(place or until, until),
            limit=wide + 1,
        )
        more, rows = len(rows) > wide, rows[:wide]
        for number, row in enumerate(rows, 1):
            place = (row.started_at, row.leaf)
            if row.digest in found:
                taken.append(row.leaf)
            if len(taken) == limit:
                more = more or number < len(rows)
                break
        scanned += len(rows)
    told = by_leaf(connection, taken)
    records = running.records(connection, [told[leaf] for leaf in taken], known_at=asked.known_at)
    items = tuple(
        AffectedRun(**_fields(one), sources=_sources(found[one.digest])) for one in records if one.digest is not None
    )
    return items, place if more else None


def _told_decisions(items: Iterable[DecisionSummary], found: Mapping[str, Resting]) -> tuple[AffectedDecision, ...]:
    return tuple(
        AffectedDecision(
            **_fields(item),
            sources=_sources(
                *(found[one.digest] for one in item.images if one.digest is not None and one.digest in found),
                until=item.decided_at,
            ),
        )
        for item in items
    )


def _sources(*resting: Resting, until: datetime | None = None) -> tuple[Source, ...]:
    """By whose word, as was known until a time (default: ever)."""
    told = {told.source for one in resting for told in one.sources if until is None or told.since <= until}
    return tuple(source for source in Source if source in told)


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}
