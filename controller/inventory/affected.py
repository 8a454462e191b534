"""The blast radius of what turned out bad: what runs that rests on it, what ever ran, what was ever admitted on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, and_, column, func, or_, select, values

from controller.inventory import cursors, running, tables
from controller.inventory.asking import DEFAULT_LIMIT, MAX_LIMIT, Asker, Place, check_limit, read_cursor, write_cursor
from controller.inventory.queries import summaries
from controller.inventory.records import DecisionSummary, RunRecord
from controller.inventory.resting import Footing, Resting, resting
from controller.inventory.standing import chunks, standing

MAX_COUNTED = 10_000  # decisions and earlier runs that are counted; past it, *at least so many*
MAX_SCANNED = 10_000  # runs or decisions looked at for one page
FEW = 200  # images up to which their rows are looked up, instead of going through all rows by time

_decision, _image = tables.decision, tables.decision_image


class Listing(StrEnum):
    """What a page of the answer lists."""

    RUNS = "runs"
    DECISIONS = "decisions"
    IMAGES = "images"


@dataclass(frozen=True, slots=True)
class Extent:
    """How far it reaches. `running` are runs at the time that was asked for, in so many `namespaces` and `clusters`.

    `ran` are all runs until then, `admitted` all decisions that allowed one of the images once it was known to rest on
    it. With `more` one of these two was counted to `MAX_COUNTED` and no further.
    """

    images: int
    running: int
    running_images: int
    namespaces: tuple[str, ...]
    clusters: tuple[str, ...]
    ran: int
    admitted: int
    first_known_at: datetime | None
    more: bool


@dataclass(frozen=True, slots=True)
class AffectedPage:
    """The extent, and a page of one list: the latest first, images by digest. The other lists are empty."""

    extent: Extent
    runs: tuple[RunRecord, ...] = ()
    decisions: tuple[DecisionSummary, ...] = ()
    images: tuple[Resting, ...] = ()
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    as_of: datetime
    known_at: datetime | None
    namespace: str | None
    ever: bool


class Affected(Asker):
    """Reads what rests on a signer, a builder, a source, a base image, a log entry or an artefact."""

    def affected(
        self,
        footing: Footing,
        value: str,
        *,
        listing: Listing = Listing.RUNS,
        as_of: datetime | None = None,
        ever: bool = False,
        namespace: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> AffectedPage:
        """What rests on it, counted, and one page of a list.

        `ever` lists all runs until `as_of` (default: now) and not only those at that time. With a namespace only what
        ran or was decided there counts. A page may hold fewer than `limit` and still have a next one: at most
        `MAX_SCANNED` rows are looked at for it.
        Raises `InputError`: `LimitOutOfRange`, `CursorMalformed`, `DigestMalformed`, `AnswerTooLarge`.
        """
        check_limit(limit)
        asked = _Asked(as_of or datetime.now(UTC), known_at, namespace, ever)
        with self._reading() as connection:
            found = resting(connection, footing, value, known_at=known_at, namespace=namespace)
            ran = _that_ran(connection, found, asked)
            extent = _extent(connection, found, ran, asked)
            if listing is Listing.IMAGES:
                return _images(extent, ran, limit=limit, cursor=cursor)
            place = read_cursor(cursor) if cursor is not None else None
            if listing is Listing.RUNS:
                runs, place = _runs(connection, ran, asked, limit=limit, place=place)
                return AffectedPage(extent, runs=runs, cursor=_cursor(place))
            rows, place = _decisions(connection, found, asked, limit=limit, place=place)
            return AffectedPage(extent, decisions=summaries(connection, rows), cursor=_cursor(place))


def _cursor(place: Place | None) -> str | None:
    return write_cursor(*place) if place is not None else None


def _images(extent: Extent, found: Mapping[str, Resting], *, limit: int, cursor: str | None) -> AffectedPage:
    after = str(cursors.read(cursor, str)[0]) if cursor is not None else ""
    digests = [digest for digest in sorted(found) if digest > after]
    more = cursors.write([digests[limit - 1]]) if len(digests) > limit else None
    return AffectedPage(extent, images=tuple(found[digest] for digest in digests[:limit]), cursor=more)


def _that_ran(connection: Connection, found: Mapping[str, Resting], asked: _Asked) -> Mapping[str, Resting]:
    """Of a namespace only the images that ran there: it knows of no others."""
    if asked.namespace is None:
        return found
    seen = tables.run
    query = select(seen.c.digest).where(seen.c.namespace == asked.namespace).distinct()
    if asked.known_at is not None:
        query = query.where(seen.c.recorded_at <= asked.known_at)
    asking = [query.where(seen.c.digest.in_(chunk)) for chunk in chunks(found)]
    there = {digest for one in asking for digest in connection.execute(one).scalars()}
    return {digest: one for digest, one in found.items() if digest in there}


def _extent(connection: Connection, found: Mapping[str, Resting], ran: Mapping[str, Resting], asked: _Asked) -> Extent:
    now = [
        one
        for one in standing(connection, as_of=asked.as_of, known_at=asked.known_at, namespace=asked.namespace)
        if one.digest in ran
    ]
    runs = _count(connection, [_ever(chunk, asked) for chunk in chunks(ran)])
    admitted = _count(connection, [_admitted(chunk, found, asked) for chunk in chunks(found)])
    return Extent(
        images=len(ran),
        running=sum(one.runs for one in now),
        running_images=len({one.digest for one in now}),
        namespaces=tuple(sorted({one.namespace for one in now})),
        clusters=tuple(sorted({one.cluster for one in now})),
        ran=runs,
        admitted=admitted,
        first_known_at=min((one.since for one in ran.values()), default=None),
        more=MAX_COUNTED in {runs, admitted},
    )


def _count(connection: Connection, queries: list[Select[Any]]) -> int:
    """How many rows these have, up to `MAX_COUNTED`."""
    total = 0
    for query in queries:
        if total < MAX_COUNTED:
            rows = query.limit(MAX_COUNTED - total).subquery()
            total += connection.execute(select(func.count()).select_from(rows)).scalar_one()
    return total


def _ever(digests: Sequence[str], asked: _Asked) -> Select[Any]:
    """The runs of these images until the time that is asked for."""
    seen = tables.run
    query = select(seen.c.leaf).where(seen.c.digest.in_(digests), seen.c.started_at <= asked.as_of)
    if asked.namespace is not None:
        query = query.where(seen.c.namespace == asked.namespace)
    return query if asked.known_at is None else query.where(seen.c.recorded_at <= asked.known_at)


def _allowed(asked: _Asked) -> Select[Any]:
    """Decisions until the time that is asked for that let somebody in."""
    query = select(_decision).where(_decision.c.verdict == "Allow", _decision.c.decided_at <= asked.as_of)
    if asked.namespace is not None:
        query = query.where(_decision.c.namespace == asked.namespace)
    return query if asked.known_at is None else query.where(_decision.c.recorded_at <= asked.known_at)


def _admitted(digests: Sequence[str], found: Mapping[str, Resting], asked: _Asked) -> Select[Any]:
    """The decisions that let one of these images in from when it was known to rest on it, each once."""
    told = values(column("digest", Text), column("since", tables.Instant))
    rests = told.data([(digest, found[digest].since) for digest in digests]).cte("rests")
    about = select(_image.c.leaf).join(
        rests, and_(_image.c.digest == rests.c.digest, _image.c.decided_at >= rests.c.since)
    )
    return _allowed(asked).where(_decision.c.leaf.in_(about))


def _runs(
    connection: Connection, found: Mapping[str, Resting], asked: _Asked, *, limit: int, place: Place | None
) -> tuple[tuple[RunRecord, ...], Place | None]:
    """The next runs of these images, the latest started first, and where the page after them begins."""
    if not found:
        return (), None
    few = len(found) <= FEW
    where = running.RunFilter(namespace=asked.namespace, digests=tuple(sorted(found)) if few else None)
    taken: list[Row[Any]] = []
    scanned, more = 0, True
    while more and len(taken) < limit and scanned < MAX_SCANNED:
        wide = limit if few else MAX_LIMIT
        rows = running.page(
            connection,
            where,
            as_of=None if asked.ever else asked.as_of,
            known_at=asked.known_at,
            before=place,
            limit=wide + 1,
            also=tables.run.c.started_at <= asked.as_of,
        )
        more, rows = len(rows) > wide, rows[:wide]
        for number, row in enumerate(rows, 1):
            place = (row.started_at, row.leaf)
            if row.digest in found:
                taken.append(row)
            if len(taken) == limit:
                more = more or number < len(rows)
                break
        scanned += len(rows)
    return running.records(connection, taken, known_at=asked.known_at), place if more else None


def _decisions(
    connection: Connection, found: Mapping[str, Resting], asked: _Asked, *, limit: int, place: Place | None
) -> tuple[list[Row[Any]], Place | None]:
    """The next decisions that let one of these images in, the latest first, and where the page after them begins."""
    if not found:
        return [], None
    few = len(found) <= FEW
    query = _admitted(sorted(found), found, asked) if few else _allowed(asked)
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


def _after(query: Select[Any], place: Place | None) -> Select[Any]:
    if place is None:
        return query
    decided_at, leaf = place
    same = and_(_decision.c.decided_at == decided_at, _decision.c.leaf < leaf)
    return query.where(_decision.c.decided_at <= decided_at, or_(_decision.c.decided_at < decided_at, same))


def _resting_leaves(connection: Connection, rows: Sequence[Row[Any]], found: Mapping[str, Resting]) -> set[int]:
    """Of these decisions those with an image that was known to rest on it."""
    query = select(_image.c.leaf, _image.c.digest, _image.c.decided_at)
    query = query.where(_image.c.leaf.in_([row.leaf for row in rows]))
    return {leaf for leaf, digest, at in connection.execute(query) if digest in found and found[digest].since <= at}
