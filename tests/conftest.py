"""What tests of several layers share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import postgres


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL for all tests that do it no harm; whoever kills or fills one has a server of its own."""
    with postgres.running() as running:
        yield running
