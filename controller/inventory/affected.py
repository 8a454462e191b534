"""The blast radius of what turned out bad: what runs that rests on it, what ever ran, what was ever admitted on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import CTE, ColumnElement, Connection, Row, Select, and_, cast, func, select

from controller.inventory import cursors, kinship, running, tables
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
    before_place,
    check_limit,
    of_one_leaf,
    of_rows,
    read_cursor,
    write_cursor,
)
from controller.inventory.dialect import among, sifted, texts
from controller.inventory.queries import summaries
from controller.inventory.records import DecisionSummary
from controller.inventory.resting import Footing, Resting, Source, resting
from controller.inventory.run_ranges import LAST, RunFilter, by_leaf, grouped, places
from controller.inventory.visibility import met_in

MAX_COUNTED = 1_000  # decisions and earlier runs that are counted; past it, *at least so many*
MAX_SEEN = 20_000  # decisions of one namespace that are looked at to count those; past it, *at least so many*
FIRST, TOGETHER = 20, 500  # images whose decisions are counted in one statement: at first, and at the most
MAX_SCANNED = 10_000  # runs or decisions looked at for one page
FEW = 200  # images up to which their rows are looked up, instead of going through all rows by time

_decision, _image = tables.decision, tables.decision_image


@dataclass(frozen=True, slots=True)
class _Asked:
    as_of: datetime
    known_at: datetime | None
    namespace: str | None
    ever: bool = False


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
        asked = _Asked(as_of or datetime.now(UTC), known_at, namespace)
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
        asked = _Asked(as_of or datetime.now(UTC), known_at, namespace, ever=ever)
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
        asked = _Asked(as_of or datetime.now(UTC), known_at, namespace)
        with self._reading() as connection:
            found = _reach(connection, footing, value, asked).names
            rows, place = _decisions(connection, found, asked, limit=limit, place=place)
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
        asked = _Asked(as_of or datetime.now(UTC), known_at, namespace)
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


def _reach(connection: Connection, footing: Footing, value: str, asked: _Asked) -> _Reach:
    """Raises as `resting` does."""
    found = resting(connection, footing, value, known_at=asked.known_at, namespace=asked.namespace)
    runs = kinship.of_runs(connection, found, asked.known_at)
    if asked.namespace is not None:  # it knows of no images but those that ran there
        there = met_in(connection, found, asked.namespace, known_at=asked.known_at)
        found = {judged: one for judged, one in found.items() if judged in there}
    proven: dict[str, Resting] = {}
    names: dict[str, Resting] = {}
    for judged, one in found.items():
        proven[one.digest] = proven[one.digest].joined(one) if one.digest in proven else one
        for name in runs[judged]:
            names[name] = names[name].joined(one) if name in names else one
    return _Reach(proven, names)


def _extent(connection: Connection, reach: _Reach, asked: _Asked) -> Extent:
    where, by = RunFilter(namespace=asked.namespace), ("digest", "namespace", "cluster")
    every = grouped(connection, where, by, as_of=asked.as_of, known_at=asked.known_at)
    now = [one for one in every if one.digest in reach.names]
    runs = _count(connection, _ever(connection, reach.names, asked))
    admitted, more = _count_admitted(connection, reach.names, asked)
    return Extent(
        images=len(reach.proven),
        claimed=sum(one.is_claimed for one in reach.proven.values()),
        running=sum(one.runs for one in now),
        running_images=len({one.digest for one in now}),
        running_claimed=sum(one.runs for one in now if one.digest and reach.names[one.digest].is_claimed),
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


def _count_admitted(connection: Connection, found: Mapping[str, Resting], asked: _Asked) -> tuple[int, bool]:
    """How many decisions let one of these images in, up to `MAX_COUNTED`, and whether there may be more.

    In a namespace its own decisions are gone through, the latest first, and not all that there were about the images.
    """
    if asked.namespace is None:
        parts = _parts(sorted(found))
        asking = (_admitted_leaves(connection, {one: found[one] for one in part}, asked) for part in parts)
        leaves: set[int] = set()
        for some in asking:  # one decision may be about images of several parts
            leaves.update(connection.execute(some.limit(MAX_COUNTED)).scalars())
            if len(leaves) >= MAX_COUNTED:
                break
        return min(len(leaves), MAX_COUNTED), False
    own = _allowed(asked).with_only_columns(_decision.c.leaf, _decision.c.decided_at)
    latest = own.order_by(_decision.c.decided_at.desc(), _decision.c.leaf.desc()).limit(MAX_SEEN).cte("latest")
    seen = connection.execute(select(func.count()).select_from(latest)).scalar_one()
    # By the leaf, and not by an index of digests: that has the decisions of all namespaces.
    is_of_them = sifted(connection.dialect.name, _image.c.digest, "digests")
    query = select(_image.c.leaf, _image.c.digest, _image.c.decided_at)
    query = query.join(latest, of_one_leaf(_image, latest)).where(is_of_them)
    rows = connection.execute(query, {"digests": sorted(found)})
    admitted = len({leaf for leaf, digest, at in rows if at >= found[digest].since})
    return min(admitted, MAX_COUNTED), seen == MAX_SEEN


def _parts(digests: Sequence[str]) -> Iterator[Sequence[str]]:
    """A few of them and then more: mostly the decisions about a few are as many as are counted."""
    start, size = 0, FIRST
    while start < len(digests):
        yield digests[start : start + size]
        start, size = start + size, min(5 * size, TOGETHER)


def _ever(connection: Connection, digests: Iterable[str], asked: _Asked) -> Select[Any]:
    """The runs of these images until the time that is asked for."""
    seen = tables.run
    query = select(seen.c.leaf).where(
        among(connection, seen.c.digest, sorted(digests)), seen.c.started_at <= asked.as_of
    )
    if asked.namespace is not None:
        query = query.where(seen.c.namespace == asked.namespace)
    return query if asked.known_at is None else query.where(seen.c.recorded_at <= asked.known_at)


def _allowed(asked: _Asked) -> Select[Any]:
    """Decisions until the time that is asked for that let somebody in."""
    query = select(_decision).where(_decision.c.verdict == "Allow", _decision.c.decided_at <= asked.as_of)
    if asked.namespace is not None:
        query = query.where(_decision.c.namespace == asked.namespace)
    return query if asked.known_at is None else query.where(_decision.c.recorded_at <= asked.known_at)


def _admitted(connection: Connection, found: Mapping[str, Resting], asked: _Asked) -> Select[Any]:
    """The decisions that let one of these images in from when it was known to rest on it, each once."""
    rests = _rests(connection, found)
    about = select(_image.c.leaf, _image.c.decided_at).join(rests, _is_later(rests)).distinct().subquery("about")
    query = _allowed(asked).join(about, of_one_leaf(_decision, about))
    return query.where(_decision.c.decided_at >= min(one.since for one in found.values()))


def _admitted_leaves(connection: Connection, found: Mapping[str, Resting], asked: _Asked) -> Select[Any]:
    """The leaves of the same, in no order: each is told as soon as it is met, so that who counts some reads no more."""
    rests = _rests(connection, found)
    images = rests.join(_image, _is_later(rests)).join(_decision, of_one_leaf(_decision, _image))
    return _allowed(asked).with_only_columns(_decision.c.leaf).select_from(images).distinct()


def _is_later(rests: CTE) -> ColumnElement[bool]:
    return and_(_image.c.digest == rests.c.digest, _image.c.decided_at >= rests.c.since)


def _rests(connection: Connection, found: Mapping[str, Resting]) -> CTE:
    """These images as a table, and since when each was known to rest on it."""
    told = texts(connection, ("digest", "since"), [(one, tables.instant(found[one].since)) for one in sorted(found)])
    return select(told.c.digest, cast(told.c.since, tables.Instant).label("since")).cte("rests")


def _runs(
    connection: Connection, found: Mapping[str, Resting], asked: _Asked, *, limit: int, place: Place | None
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


def _decisions(
    connection: Connection, found: Mapping[str, Resting], asked: _Asked, *, limit: int, place: Place | None
) -> tuple[list[Row[Any]], Place | None]:
    """The next decisions that let one of these images in, the latest first, and where the page after them begins."""
    if not found:
        return [], None
    few = len(found) <= FEW
    query = _admitted(connection, found, asked) if few else _allowed(asked)
    query = query.order_by(_decision.c.decided_at.desc(), _decision.c.leaf.desc())
    taken: list[Row[Any]] = []
    scanned, more = 0, True
    while more and len(taken) < limit and scanned < MAX_SCANNED:
        wide = limit if few else MAX_LIMIT
        rows = connection.execute(_after(query, place).limit(wide + 1)).all()
        more, rows = len(rows) > wide, rows[:wide]
        wanted = {row.leaf for row in rows} if few else _resting_leaves(connection, rows, found)
        for number, row in enumerate(rows, 1):
            place = (row.decided_at, row.leaf)
            if row.leaf in wanted:
                taken.append(row)
            if len(taken) == limit:
                more = more or number < len(rows)
                break
        scanned += len(rows)
    return taken, place if more else None


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


def _after(query: Select[Any], place: Place | None) -> Select[Any]:
    if place is None:
        return query
    return query.where(before_place(_decision, place))


def _resting_leaves(connection: Connection, rows: Sequence[Row[Any]], found: Mapping[str, Resting]) -> set[int]:
    """Of these decisions those with an image that was known to rest on it."""
    query = select(_image.c.leaf, _image.c.digest, _image.c.decided_at)
    query = query.where(of_rows(_image, rows))
    return {leaf for leaf, digest, at in connection.execute(query) if digest in found and found[digest].since <= at}
