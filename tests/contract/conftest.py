"""An inventory on each of the databases: what most contract tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.inventory.store import Store
from tests.support import postgres
from tests.support.inventory import Clock, Database, postgres_database, sqlite_database


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    return postgres_database(request.getfixturevalue("server"))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(database: Database, clock: Clock) -> Iterator[Store]:
    with database.open(clock) as opened:
        yield opened
