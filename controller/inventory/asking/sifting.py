"""Going through a list, the latest first, for those of its rows that are meant: in the database, so many for one page.

A thousand images are soon met among all runs, or all decisions; looked up one by one, all that there ever was of each
would be read. Where they are not soon met, a page ends, so that no question takes longer than it may.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from sqlalchemy import CTE, CompoundSelect, Row, Select, func, literal, null, select

from controller.inventory.asking.asker import MAX_LIMIT
from controller.inventory.asking.cursors import Place

STEPS = (500, 1_000, 2_500, 6_000)  # so many rows at a time
MAX_SCANNED = sum(STEPS)  # rows looked at for one page

T = TypeVar("T")


def with_end(looked: CTE, meant: Select[Any], at: str) -> CompoundSelect[Any]:
    """What is `meant` of the rows that are looked at, and one row more: the last of all, and how many were `seen` (of
    the others 0). Both begin with the place (the time, in the column `at`, and `leaf`), and tell the digest and the
    namespace."""
    last = select(*looked.c).order_by(looked.c[at], looked.c.leaf).limit(1).subquery("last")
    seen = select(func.count()).select_from(looked).scalar_subquery()
    end = select(last.c[at], last.c.leaf, null(), last.c.namespace, seen)
    return meant.add_columns(literal(0).label("seen")).union_all(end)


def gone_through(
    steps: Sequence[int],
    look: Callable[[int, Place | None], Iterable[Row[Any]]],
    is_meant: Callable[[Row[Any]], bool],
    *,
    limit: int,
    place: Place | None,
) -> tuple[list[Row[Any]], Place | None]:
    """The next rows that are meant after a place, each place once, and where the page after them begins. `look` tells
    of the next so many rows `with_end`; it is asked for these `steps` at the most."""
    taken: list[Row[Any]] = []
    for wide in steps:
        met: dict[Place, Row[Any]] = {}
        seen, last = 0, place
        for row in look(wide, place):
            at = _place(row)
            if row.seen:
                seen, last = row.seen, at
            elif is_meant(row):
                met[at] = row
        taken += (met[at] for at in sorted(met, reverse=True))
        place = last
        if seen < wide or len(taken) >= limit:
            break
    if len(taken) >= limit:
        taken = taken[:limit]
        place = _place(taken[-1])
    if place == last and (seen < wide or not any(row.seen for row in look(1, place))):
        return taken, None
    return taken, place


def looked_up(
    look: Callable[[int, Place | None], Sequence[tuple[Place, T | None]]], *, limit: int, place: Place | None
) -> tuple[list[T], Place | None]:
    """The same of a list of which most is meant. `look` tells the next so many places after one, the latest first, and
    what is at each, or None where that is not meant; at most about `MAX_SCANNED` of them are looked at."""
    taken: list[T] = []
    scanned, more, wide = 0, True, limit
    while more and len(taken) < limit and scanned < MAX_SCANNED:
        found = look(wide + 1, place)
        more, found = len(found) > wide, found[:wide]
        for number, (at, one) in enumerate(found, 1):
            place = at
            if one is not None:
                taken.append(one)
            if len(taken) == limit:
                more = more or number < len(found)
                break
        scanned += len(found)
        wide = min(2 * wide, MAX_LIMIT)
    return taken, place if more else None


def merged(
    pages: Iterable[tuple[Sequence[T], Place | None]], limit: int, place_of: Callable[[T], Place]
) -> tuple[Sequence[T], Place | None]:
    """The first page of several lists as one, the latest first, and where the next begins. Of a list that goes on
    nothing is known after the place at which its page ended."""
    found = list(pages)
    known = max((end for _, end in found if end is not None), default=None)
    items = sorted((one for some, _ in found for one in some), key=place_of, reverse=True)
    told = [one for one in items if known is None or place_of(one) >= known]
    if len(told) > limit or (len(told) == limit and known is not None):
        return told[:limit], place_of(told[limit - 1])
    return told, known


def _place(row: Row[Any]) -> Place:
    return tuple(row)[:2]
