"""What tests of several layers share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import postgres

ESTATE = "tests/contract/estate/"


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Postgres]:
    """A PostgreSQL for all tests that do it no harm; whoever kills or fills one has a server of its own."""
    with postgres.running() as running:
        yield running


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Side by side by files (`--dist loadfile`), but for the files that ask one estate: building it takes a minute."""
    from xdist.scheduler import LoadFileScheduling  # not there where nothing runs side by side

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return ESTATE if file.startswith(ESTATE) else file

    return Together(config, log)
