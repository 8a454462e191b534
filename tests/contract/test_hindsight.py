"""What was known at an earlier time is told without looking at what was decided since, and is all that was known."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from itertools import product

from controller.inventory.asking.hindsight import last_decided
from controller.inventory.records import DecisionFilter
from controller.inventory.store import Store
from controller.inventory.tables import INSTANT_FORMAT
from tests.support.inventory import START, Clock, Database, leaf, soon

DECIDED_RECORDED = ((0, 0), (5, 1), (6, 6), (3, 7), (8, 8), (9, 2))
"""On which days: two by a clock that was set back before they were recorded, and one that a spool kept for four."""


def day(number: int) -> datetime:
    return START + timedelta(days=number)


async def record(opened: Store, clock: Clock) -> dict[str, tuple[datetime, datetime]]:
    """Returns the two times of each decision, by its id."""
    times = {}
    for number, (decided, recorded) in enumerate(DECIDED_RECORDED):
        value = leaf(number) | {"decidedAt": day(decided).strftime(INSTANT_FORMAT)}
        clock.now = day(recorded)
        await opened.writer.record(value, blobs={}, deadline=soon())
        times[value["id"]] = day(decided), day(recorded)
    return times


def test_who_asks_what_was_known_is_told_of_each_decision_though_a_clock_was_set_back(database: Database) -> None:
    clock = Clock()
    with database.open(clock) as opened:
        times = asyncio.run(record(opened, clock))
        for known, until in product(range(-1, 11), [None, *range(-1, 11)]):
            known_at, as_of = day(known), None if until is None else day(until)
            page = opened.queries.decisions(DecisionFilter(), as_of=as_of, known_at=known_at)
            wanted = [name for name, (_, recorded) in times.items() if recorded <= known_at]
            wanted = [name for name in wanted if as_of is None or times[name][0] <= as_of]
            assert [item.id for item in page.items] == sorted(wanted, key=lambda name: times[name][0], reverse=True)


def test_what_was_decided_since_is_not_looked_at(database: Database) -> None:
    clock = Clock()
    with database.open(clock) as opened:
        asyncio.run(record(opened, clock))
        with opened.queries._reading() as connection:

            def last(as_of: int, known: int | None) -> datetime:
                return last_decided(connection, as_of=day(as_of), known_at=None if known is None else day(known))

            assert last(10, None) == day(10)
            assert last(2, 4) == day(2)
            assert last(10, 0) == day(0)  # nothing of later was known
            assert last(10, 1) == day(5)
            assert last(10, 2) == day(9)
            assert last(8, 7) == day(7)
            assert last(10, 9) == day(9)
            assert last_decided(connection, as_of=None, known_at=day(2)) == day(9)
