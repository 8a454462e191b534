"""The estate in each of the databases, written once in a session by the program's own statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.bench.estate.load import load
from tests.support import postgres
from tests.support.asked_estate import estate


@pytest.fixture(scope="session")
def inventories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inventories]:
    """Those that were asked for, by the kind of the database."""
    with ExitStack() as stack:
        yield Inventories(stack, tmp_path_factory)


class Inventories(dict[str, Store]):
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


@pytest.fixture(params=["sqlite", "postgresql"])
def inventory(request: pytest.FixtureRequest, inventories: Inventories) -> Store:
    """The inventory that holds the estate."""
    return inventories[request.param]


@pytest.fixture
def url(inventory: Store, inventories: Inventories) -> str:
    """The address of the database that `inventory` reads."""
    return next(url for kind, url in inventories.urls.items() if inventories[kind] is inventory)
