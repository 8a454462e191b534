"""The decisions that let in what rests on something: counted, and as a list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Result,
    Row,
    Select,
    and_,
    cast,
    select,
    true,
)

from controller.inventory import tables
from controller.inventory.asking.affected.reaching import APART, Reach
from controller.inventory.asking.asker import before_place, by_then
from controller.inventory.asking.cursors import Place
from controller.inventory.asking.sifting import STEPS, gone_through, looked_up, merged, with_end
from controller.inventory.database.parameters import sifted, texts
from controller.inventory.tables import of_one_leaf, of_rows

MAX_COUNTED = 1_000  # decisions and earlier runs that are counted; past it, *at least so many*
MAX_SEEN = 20_000  # decisions of some namespaces that are looked at to count those; past it, *at least so many*
MAX_APART = 5_000  # the same, where they are looked at for what counts in these alone
FIRST, TOGETHER = 20, 500  # images whose decisions are counted in one statement: at first, and at the most
FEW = 200  # images up to which their rows are looked up, instead of going through all rows by time

_decision, _image = tables.decision, tables.decision_image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """When is asked about, as it was known then, and in which namespace, or in all; `ever`: whatever ran until then."""

    as_of: datetime
    known_at: datetime | None
    namespace: str | None
    ever: bool = False


def count_admitted(connection: Connection, found: Reach, asked: Asked) -> tuple[int, bool]:
    """How many decisions let one of these images in, up to `MAX_COUNTED`, and whether there may be more.

    In a namespace its own decisions are gone through, the latest first, and not all that there were about the images.
    So it is in all namespaces for what counts in a few of them alone. What counts everywhere is counted before: of an
    image that counts somewhere alone much may be read in vain, and who has it so must not keep others from being told.
    """
    leaves: set[int] = set()  # one decision may be about several of these images
    if asked.namespace is not None:
        more = _add_own(connection, leaves, found, asked, most=MAX_SEEN)
        return len(leaves), more
    if _add_admitted(connection, leaves, found.everywhere, asked):
        return MAX_COUNTED, True
    if found.is_alike:
        return len(leaves), False
    if len(found.more) > APART:
        more = _add_confined(connection, leaves, found, asked)
        return len(leaves), more
    more = False
    for namespace, rests in found.more.items():
        own = replace(asked, namespace=namespace)
        more |= _add_own(connection, leaves, rests, own, most=MAX_APART // len(found.more))
        if len(leaves) == MAX_COUNTED:
            break
    return len(leaves), more


def _add_admitted(connection: Connection, leaves: set[int], found: Reach, asked: Asked) -> bool:
    """Add the decisions about these images, in whatever namespace, until there are `MAX_COUNTED`: whether there are."""
    for part in parts(sorted(found.names)):
        query = _admitted_leaves(connection, part, found, asked)
        rows = connection.execute(query.execution_options(yield_per=MAX_COUNTED)).scalars()
        for leaf in rows:
            leaves.add(leaf)
            if len(leaves) == MAX_COUNTED:
                rows.close()
                return True
    return False


def _add_confined(connection: Connection, leaves: set[int], found: Reach, asked: Asked) -> bool:
    """Add the decisions about images that count in many namespaces, but not in all, until there are `MAX_COUNTED` or
    `MAX_SEEN` were read: whether there may be more."""
    seen = 0
    for part in parts(sorted({name for rests in found.more.values() for name in rests.names})):
        query = _admitted_leaves(connection, part, found, asked)
        query = query.add_columns(_image.c.digest, _decision.c.namespace, _decision.c.decided_at)
        rows = connection.execute(query.execution_options(yield_per=MAX_COUNTED))
        for leaf, *about in rows:
            if _was_known(found, *about):
                leaves.add(leaf)
            seen += 1
            if len(leaves) == MAX_COUNTED or seen == MAX_SEEN:
                rows.close()
                return True
    return False


def _add_own(connection: Connection, leaves: set[int], found: Reach, asked: Asked, *, most: int) -> bool:
    """Add the decisions about these images of one namespace, of its `most` latest, until there are `MAX_COUNTED`:
    whether there may be more."""
    rows = _among_latest(connection, found, asked, most)
    seen = 0
    for row in rows:
        if row.seen:
            seen = row.seen
        elif row.decided_at >= found.since(row.digest):
            leaves.add(row.leaf)
        if len(leaves) == MAX_COUNTED:
            rows.close()
            return True
    return bool(seen == most)


def _among_latest(
    connection: Connection, found: Reach, asked: Asked, most: int, place: Place | None = None
) -> Result[Any]:
    """Of the `most` latest decisions after a place those about these images, by each (`sifting.with_end`)."""
    columns = (_decision.c.decided_at, _decision.c.leaf, _decision.c.namespace)
    latest = _latest(_allowed(asked), place, most).with_only_columns(*columns).cte("latest")
    # By the leaf, and not by an index of digests: that has the decisions of all namespaces.
    is_of_them = sifted(connection.dialect.name, _image.c.digest, "digests")
    query = select(_image.c.decided_at, _image.c.leaf, _image.c.digest).where(is_of_them)
    if connection.dialect.name == "postgresql":
        # Each by itself: or it would read what was decided in all months about any of the images, and join that.
        part = query.where(of_one_leaf(_image, latest)).correlate(latest).offset(0).lateral()
        query = select(*part.c).select_from(latest.join(part, true()))
    else:
        query = query.join(latest, of_one_leaf(_image, latest))
    told = with_end(latest, query.add_columns(latest.c.namespace), "decided_at")
    return connection.execute(told.execution_options(yield_per=MAX_COUNTED), {"digests": sorted(found.names)})


def _was_known(found: Reach, digest: str | None, namespace: str, at: datetime) -> bool:
    """Whether an image was known then to rest on it, by what counts for a decision in this namespace."""
    one = found.of(digest, namespace)
    return one is not None and one.since <= at


def parts(images: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few of them and then more: mostly the decisions about a few are as many as are counted."""
    start, size = 0, FIRST
    while start < len(images):
        yield images[start : start + size]
        start, size = start + size, min(5 * size, TOGETHER)


def _allowed(asked: Asked) -> Select[Any]:
    """Decisions until the time that is asked for that let somebody in."""
    query = select(_decision).where(_decision.c.verdict == "Allow")
    if asked.namespace is not None:
        query = query.where(_decision.c.namespace == asked.namespace)
    return by_then(query, _decision, as_of=asked.as_of, known_at=asked.known_at)


def _admitted_leaves(connection: Connection, images: Sequence[str], found: Reach, asked: Asked) -> Select[Any]:
    """The decisions that let one of these images in from when it was known to rest on it: their leaves, in no order,
    and some more than once. Each is told as soon as it is met, so that who counts some reads no more."""
    rests = _rests(connection, images, found)
    about = rests.join(_image, _is_later(rests, asked)).join(_decision, of_one_leaf(_decision, _image))
    query = _allowed(asked).with_only_columns(_decision.c.leaf).select_from(about)
    return query.with_hint(_decision, "NOT INDEXED", "sqlite")  # but by the leaf, or it goes through all of a namespace


def _is_later(rests: CTE, asked: Asked) -> ColumnElement[bool]:
    """From when it was known to rest on it until the time that is asked for: said of both tables of a decision, since
    PostgreSQL carries no bound from the one to the other, and would go through all later months."""
    until = _image.c.decided_at <= asked.as_of
    return and_(_image.c.digest == rests.c.digest, _image.c.decided_at >= rests.c.since, until)


def _rests(connection: Connection, images: Sequence[str], found: Reach) -> CTE:
    """These images as a table, and since when each was known to rest on it anywhere."""
    told = texts(connection, ("digest", "since"), [(one, tables.instant(found.since(one))) for one in images])
    return select(told.c.digest, cast(told.c.since, tables.Instant).label("since")).cte("rests")


def decisions(
    connection: Connection, found: Reach, asked: Asked, *, limit: int, place: Place | None
) -> tuple[Sequence[Row[Any]], Place | None]:
    """The next decisions that let one of these images in, the latest first, and where the page after them begins."""
    if not found.names:
        return [], None
    if found.is_confined:  # to few namespaces: there these are soon met, and among all decisions they are not
        each = [
            decisions(connection, found.within(one), replace(asked, namespace=one), limit=limit, place=place)
            for one in found.more
        ]
        return merged(each, limit, lambda row: (row.decided_at, row.leaf))
    if len(found.names) > FEW:
        return _among(connection, found, asked, STEPS, limit=limit, place=place)
    if asked.namespace is not None:  # where few images may be met as soon
        rows, end = _among(connection, found, asked, STEPS[:1], limit=limit, place=place)
        if len(rows) == limit or end is None:
            return rows, end

    def look(wide: int, after: Place | None) -> Sequence[tuple[Place, Row[Any] | None]]:
        places, told = _about(connection, found, asked, after, wide)
        return [((one.decided_at, one.leaf), told.get(one.leaf)) for one in places]

    return looked_up(look, limit=limit, place=place)


def _about(
    connection: Connection, found: Reach, asked: Asked, place: Place | None, wide: int
) -> tuple[Sequence[Row[Any]], Mapping[int, Row[Any]]]:
    """The next decisions about few images (`leaf`, `decided_at`), the latest first, and by their leaves those of them
    that are meant: looked for by the images."""
    if asked.namespace is not None:
        leaves = _admitted_leaves(connection, sorted(found.names), found, asked).add_columns(_decision.c.decided_at)
        places = connection.execute(_latest(leaves.distinct(), place, wide)).all()
        return places, _by_leaf(connection, select(_decision).where(of_rows(_decision, places)))
    places = connection.execute(_latest_about(connection, found, asked, place, wide)).all()
    told = _by_leaf(connection, _allowed(asked).where(of_rows(_decision, places)))
    if found.is_alike:
        return places, told
    wanted = _resting_leaves(connection, list(told.values()), found)
    return places, {leaf: row for leaf, row in told.items() if leaf in wanted}


def _among(
    connection: Connection, found: Reach, asked: Asked, steps: Sequence[int], *, limit: int, place: Place | None
) -> tuple[Sequence[Row[Any]], Place | None]:
    """The same of many images: one is soon met among all decisions."""
    taken, place = gone_through(
        steps,
        lambda wide, after: _among_latest(connection, found, asked, wide, after).all(),
        lambda row: _was_known(found, row.digest, row.namespace, row.decided_at),
        limit=limit,
        place=place,
    )
    told = _by_leaf(connection, select(_decision).where(of_rows(_decision, taken))) if taken else {}
    return [told[row.leaf] for row in taken], place


def _by_leaf(connection: Connection, query: Select[Any]) -> Mapping[int, Row[Any]]:
    return {row.leaf: row for row in connection.execute(query)}


def _latest(query: Select[Any], place: Place | None, wide: int) -> Select[Any]:
    query = query.order_by(_decision.c.decided_at.desc(), _decision.c.leaf.desc()).limit(wide)
    return query if place is None else query.where(before_place(_decision, place))


def _latest_about(connection: Connection, found: Reach, asked: Asked, place: Place | None, wide: int) -> Select[Any]:
    """The next decisions about one of these images, whatever was decided: on PostgreSQL no more of each than the page
    may need, since it would read and sort all that were ever made."""
    rests = _rests(connection, sorted(found.names), found)
    conditions = [_is_later(rests, asked)]
    if place is not None:
        conditions.append(before_place(_image, place))
    of_one = select(_image.c.decided_at, _image.c.leaf).where(*conditions)
    if connection.dialect.name == "postgresql":
        order = (_image.c.decided_at.desc(), _image.c.leaf.desc())
        part = of_one.order_by(*order).limit(wide).correlate(rests).lateral()
        query = select(*part.c).select_from(rests.join(part, true()))
    else:
        query = of_one.select_from(rests, _image)
    columns = query.selected_columns
    return query.distinct().order_by(columns.decided_at.desc(), columns.leaf.desc()).limit(wide)


def _resting_leaves(connection: Connection, rows: Sequence[Row[Any]], found: Reach) -> set[int]:
    """Of these decisions those with an image that was known to rest on it."""
    namespaces = {row.leaf: row.namespace for row in rows}
    query = select(_image.c.leaf, _image.c.digest, _image.c.decided_at)
    query = query.where(of_rows(_image, rows))
    return {leaf for leaf, digest, at in connection.execute(query) if _was_known(found, digest, namespaces[leaf], at)}
