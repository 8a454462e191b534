"""The estate whose answers the contract tests check, its oracle, and what is asked of both.

A hundredth of the design's size: 50 images of some 2,000 components each (100,000 links), 10,000 decisions, 4,000 runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import cache
from random import Random
from typing import Any

import pytest

from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.bench.estate.history import Estate
from tests.bench.estate.load import load
from tests.bench.estate.oracle import Oracle
from tests.bench.estate.size import BEGIN, DAYS, END, Size
from tests.support import postgres

FRACTION = 0.01
PAGE = 500
SAMPLES = 4
DAY = timedelta(days=1)


@cache
def estate() -> Estate:
    """The estate."""
    return Estate(Size.of(FRACTION))


@cache
def oracle() -> Oracle:
    """Its answers. Each is worked out once: both databases are asked the same."""
    found = Oracle(estate())
    known = ("related", "ran_in", "described", "attested", "resting", "visible_evidence", "_first_used")
    for name in ("decisions", "runs", *known):
        setattr(found, name, cache(getattr(found, name)))
    judged = found.judged
    setattr(found, "judged", cache(lambda **where: tuple(judged(**where))))  # noqa: B010 - a method, for all who ask it
    return found


def times(seed: str, count: int = SAMPLES) -> list[tuple[datetime | None, datetime | None]]:
    """Pairs of `as_of` and `known_at`: any day of the year, known then, later, or now."""
    random = Random(seed)
    found: list[tuple[datetime | None, datetime | None]] = [(None, None), (END, None)]
    for number in range(count):
        as_of = BEGIN + timedelta(seconds=random.uniform(0, DAYS * 86_400))
        # In turn: as it is known now, as it was known then, as it was known some days later, and some days before.
        known_at = (None, as_of, as_of + random.uniform(0, 9) * DAY, as_of - random.uniform(0, 9) * DAY)[number % 4]
        found.append((as_of, known_at))
    # When nobody watched, and when the spool held what was decided: it is known only after.
    gap = estate().gaps[3]
    middle = gap.since + (gap.until - gap.since) / 2
    away = estate().weather.database[2]
    late = away[0] + (away[1] - away[0]) / 2
    return [*found, (middle, None), (middle, middle), (late, late), (late, away[1] + DAY)]


def every(ask: Callable[[str | None], Any]) -> list[Any]:
    """All items of all pages."""
    found: list[Any] = []
    cursor: str | None = None
    while True:
        page = ask(cursor)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


class Inventories(dict[str, Store]):
    """The estate in each kind of database, written when it is first asked for."""

    def __init__(self, stack: ExitStack, folders: pytest.TempPathFactory) -> None:
        super().__init__()
        self._stack = stack
        self._folders = folders
        self.urls: dict[str, str] = {}

    def __missing__(self, kind: str) -> Store:
        if kind == "sqlite":
            url = f"sqlite:///{self._folders.mktemp('estate') / 'inventory.db'}"
        else:
            url = self._stack.enter_context(postgres.running()).new_database()
        load(estate(), url)
        self.urls[kind] = url
        store = self[kind] = self._stack.enter_context(Store.open_to_read(InventorySettings(database_url=url)))
        return store
