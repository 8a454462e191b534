"""An inventory on each of the databases: what most contract tests begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.inventory.database import engines
from controller.inventory.store import Store
from tests.support import postgres
from tests.support.inventory import Clock, Database, postgres_database, sqlite_database


@pytest.fixture(scope="module", autouse=True)
def patience() -> Iterator[None]:
    """A machine that stands still for ten seconds says nothing of what is tested here."""
    before = engines.WRITE_TIMEOUT
    engines.WRITE_TIMEOUT = 120.0
    yield
    engines.WRITE_TIMEOUT = before


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        yield sqlite_database(tmp_path)
        return
    server: postgres.Postgres = request.getfixturevalue("server")
    made = postgres_database(server)
    yield made
    server.drop(made.settings.database_url)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(database: Database, clock: Clock) -> Iterator[Store]:
    with database.open(clock) as opened:
        yield opened
