"""The blast radius of what turned out bad: what runs that rests on it, what ever ran, what was ever admitted on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row

from controller.inventory.asking import cursors
from controller.inventory.asking.affected.counts import count_runs
from controller.inventory.asking.affected.decisions import (
    FEW,
    MAX_COUNTED,
    Asked,
    count_admitted,
    decisions,
)
from controller.inventory.asking.affected.reaching import Reach, reach
from controller.inventory.asking.affected.records import (
    AffectedDecision,
    AffectedDecisions,
    AffectedImages,
    AffectedRun,
    AffectedRuns,
    Extent,
)
from controller.inventory.asking.affected.resting import IN_ORDER, Footing, Said, Source
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.cursors import Place
from controller.inventory.asking.hindsight import last_decided
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.queries import summaries
from controller.inventory.asking.runs import running
from controller.inventory.asking.runs.ranges import LAST, RunFilter, by_leaf, grouped, places, places_of
from controller.inventory.asking.sifting import STEPS, gone_through, looked_up, merged
from controller.inventory.records import DecisionSummary


class Affected(Asker):
    """Reads what rests on a signer, a builder, a source, a base image, a log entry or an artefact.

    With a namespace only what ran or was decided there counts; without one, of each run and decision what the policies
    of the cluster and of its own namespace found (`reaching`). Every question raises `InputError`: `DigestMalformed`,
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
        paging = _paging("runs", cursor, datetime, int, as_of=as_of, known_at=known_at)
        asked = Asked(paging.at, paging.known_at, namespace, ever=ever)
        with self._reading() as connection:
            found = _reach(connection, footing, value, asked)
            runs, place = _runs(connection, found, asked, limit=limit, place=paging.place)
            return AffectedRuns(runs, paging.after(connection, place))

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
        paging = _paging("decisions", cursor, datetime, int, as_of=as_of, known_at=known_at)
        asked = Asked(paging.at, paging.known_at, namespace)
        with self._reading() as connection:
            found = _reach(connection, footing, value, asked)
            asked = _decided(connection, asked)
            rows, place = decisions(connection, found, asked, limit=limit, place=paging.place)
            told = _told_decisions(summaries(connection, rows), found)
            return AffectedDecisions(told, paging.after(connection, place))

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
        paging = _paging("images", cursor, str, as_of=as_of, known_at=known_at)
        (after,) = paging.place or ("",)
        asked = Asked(paging.at, paging.known_at, namespace)
        with self._reading() as connection:
            found = _reach(connection, footing, value, asked)
            left = [digest for digest in sorted(found.proven) if digest > after]
            more = paging.after(connection, (left[limit - 1],) if len(left) > limit else None)
        return AffectedImages(tuple(map(found.image, left[:limit])), more)


def _paging(
    what: str, cursor: str | None, *kinds: type[cursors.Value], as_of: datetime | None, known_at: datetime | None
) -> Paging:
    return Paging.of(f"affected {what}", cursor, *kinds, as_of=as_of, known_at=known_at, now=True)


def _decided(connection: Connection, asked: Asked) -> Asked:
    """The same about decisions alone, of which none was known before it was made."""
    return replace(asked, as_of=last_decided(connection, as_of=asked.as_of, known_at=asked.known_at))


def _reach(connection: Connection, footing: Footing, value: str, asked: Asked) -> Reach:
    """Raises as `resting` does."""
    return reach(connection, footing, value, known_at=asked.known_at, namespace=asked.namespace)


def _extent(connection: Connection, found: Reach, asked: Asked) -> Extent:
    now = list(_now(connection, found, asked))
    runs = count_runs(connection, found, asked)
    admitted, more = count_admitted(connection, found, _decided(connection, asked))
    return Extent(
        images=len(found.proven),
        claimed=sum(all(one.is_claimed for one in grounds.values()) for grounds in found.proven.values()),
        running=sum(row.runs for row, _ in now),
        running_images=len({row.digest for row, _ in now}),
        running_claimed=sum(row.runs for row, one in now if one.is_claimed),
        namespaces=tuple(sorted({row.namespace for row, _ in now})),
        clusters=tuple(sorted({row.cluster for row, _ in now})),
        ran=runs,
        admitted=admitted,
        first_known_at=min((one.since for some in found.proven.values() for one in some.values()), default=None),
        more=more or MAX_COUNTED in {runs, admitted},
    )


def _now(connection: Connection, found: Reach, asked: Asked) -> Iterator[tuple[Row[Any], Said]]:
    """What runs at the time that is asked for, counted by image and place, and what is said of the image there."""
    by = ("digest", "namespace", "cluster")
    # What counts in few namespaces alone is met among their runs, and not among all.
    places = found.more.items() if found.is_confined else [(asked.namespace, found)]
    for namespace, rests in places:
        where = RunFilter(namespace=namespace, digests=tuple(rests.names))
        for row in grouped(connection, where, by, as_of=asked.as_of, known_at=asked.known_at):
            if (one := rests.of(row.digest, row.namespace)) is not None:
                yield row, one


def _runs(
    connection: Connection, found: Reach, asked: Asked, *, limit: int, place: Place | None
) -> tuple[tuple[AffectedRun, ...], Place | None]:
    """The next runs of these images, the latest started first, and where the page after them begins."""
    taken, place = _places(connection, found, asked, limit=limit, place=place)
    told = by_leaf(connection, [leaf for _, leaf, _ in taken])
    records = running.records(connection, [told[leaf] for _, leaf, _ in taken], known_at=asked.known_at)
    items = tuple(
        AffectedRun(**_fields(record), sources=_sources([rests]))
        for record, (_, _, rests) in zip(records, taken, strict=True)
    )
    return items, place


_Run = tuple[datetime, int, Said]
"""When a run started, its leaf, and on what it rests."""


def _places(
    connection: Connection, found: Reach, asked: Asked, *, limit: int, place: Place | None
) -> tuple[Sequence[_Run], Place | None]:
    if not found.names:
        return (), None
    if found.is_confined:  # to few namespaces: there these are soon met, and among all runs they are not
        each = [
            _places(connection, found.within(one), replace(asked, namespace=one), limit=limit, place=place)
            for one in found.more
        ]
        return merged(each, limit, lambda run: run[:2])
    look = _places_of_few if len(found.names) <= FEW else _places_of_many
    return look(connection, found, asked, limit=limit, place=place)


def _places_of_many(
    connection: Connection, found: Reach, asked: Asked, *, limit: int, place: Place | None
) -> tuple[Sequence[_Run], Place | None]:
    """One is soon met among all runs."""

    def look(wide: int, after: Place | None) -> Sequence[Row[Any]]:
        return places_of(connection, where, digests, **_when(asked, after), limit=wide)

    where, digests = RunFilter(namespace=asked.namespace), sorted(found.names)
    rows, place = gone_through(STEPS, look, lambda row: _run(row, found) is not None, limit=limit, place=place)
    return [run for row in rows if (run := _run(row, found)) is not None], place


def _when(asked: Asked, after: Place | None) -> dict[str, Any]:
    """Which runs are gone through, and from where on."""
    until = (asked.as_of, LAST)
    return {
        "as_of": None if asked.ever else asked.as_of,
        "known_at": asked.known_at,
        "before": min(after or until, until),
    }


def _places_of_few(
    connection: Connection, found: Reach, asked: Asked, *, limit: int, place: Place | None
) -> tuple[Sequence[_Run], Place | None]:
    """All of theirs are looked up."""

    def look(wide: int, after: Place | None) -> Sequence[tuple[Place, _Run | None]]:
        rows = places(connection, where, **_when(asked, after), limit=wide)
        return [((row.started_at, row.leaf), _run(row, found)) for row in rows]

    where = RunFilter(namespace=asked.namespace, digests=tuple(sorted(found.names)))
    return looked_up(look, limit=limit, place=place)


def _run(row: Row[Any], found: Reach) -> _Run | None:
    said = found.of(row.digest, row.namespace)
    return (row.started_at, row.leaf, said) if said is not None else None


def _told_decisions(items: Iterable[DecisionSummary], found: Reach) -> tuple[AffectedDecision, ...]:
    return tuple(
        AffectedDecision(
            **_fields(item),
            sources=_sources(
                [rests for one in item.images if (rests := found.of(one.digest, item.namespace)) is not None],
                until=item.decided_at,
            ),
        )
        for item in items
    )


def _sources(said: Iterable[Said], until: datetime | None = None) -> tuple[Source, ...]:
    """By whose word, as was known until a time (default: ever)."""
    words = {word for one in said for word, (since, _) in one.words.items() if until is None or since <= until}
    return tuple(source for source in IN_ORDER if source.value in words)


def _fields(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}
