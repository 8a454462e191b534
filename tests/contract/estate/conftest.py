"""The estate in each of the databases, written once in a session by the program's own statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from controller.inventory.store import Store
from tests.support.asked_estate import Inventories


@pytest.fixture(scope="session")
def inventories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventories]:
    """Those that were asked for, by the kind of the database."""
    with ExitStack() as stack:
        yield Inventories(stack, tmp_path_factory)


@pytest.fixture(params=["sqlite", "postgresql"])
def inventory(request: pytest.FixtureRequest, inventories: Inventories) -> Store:
    """The inventory that holds the estate."""
    return inventories[request.param]


@pytest.fixture
def url(inventory: Store, inventories: Inventories) -> str:
    """The address of the database that `inventory` reads."""
    return next(url for kind, url in inventories.urls.items() if inventories[kind] is inventory)
