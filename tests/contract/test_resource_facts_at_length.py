"""What questions about policies and exceptions cost where there are many: counted in SQLite's steps, and not in time.
PostgreSQL is asked the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert

from controller.inventory import tables
from controller.inventory.asking.decisions import exception_uses, resource_facts
from controller.inventory.store import Store
from tests.support.inventory import START, sqlite_database

EVERY = 100  # steps of SQLite's machine between two counts
TIMES: dict[str, Any] = {"as_of": None, "known_at": None}
PAGE: dict[str, Any] = {"name": None, "cursor": None, **TIMES}


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Store]:
    with sqlite_database(tmp_path).open() as store:
        yield store


def fill(opened: Store, numbers: range, kind: str = "EvidencePolicy", **same: Any) -> None:
    """Facts of as many objects, unless the same uid is said of all of them."""
    facts = [
        {
            "leaf": number,
            "id": f"id {number}",
            "decided_at": START + timedelta(seconds=number),
            "recorded_at": START + timedelta(seconds=number),
            "cluster": "local",
            "fact": "Applied",
            "kind": kind,
            "namespace": "",
            "name": f"name {number}",
            "uid": f"uid {number}",
            "life": 0,
            "generation": number,
            "hash": f"hash {number}",
            **dict.fromkeys(("manager", "problem", "reason"), ""),
            **same,
        }
        for number in numbers
    ]
    with opened.writer._engine.begin() as connection:
        connection.execute(insert(tables.resource_fact), facts)
        if kind != "EvidenceException":
            return
        shared = ("cluster", "name", "hash", "decided_at", "recorded_at")
        said = {"approval": "stamped", "approver": "jane", "reason": "", "break_glass": False, "approved_at": START}
        ends = {"expires": START + timedelta(days=10_000)}
        rows = [{**{name: fact[name] for name in shared}, **said, **ends} for fact in facts]
        connection.execute(insert(tables.exception), rows)


def steps(opened: Store, ask: Callable[[Connection], Any]) -> int:
    """How long SQLite goes for an answer, in hundreds of steps."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    with opened._reading.connect() as connection:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(count, EVERY)
        try:
            assert ask(connection) is not None
        finally:
            driver.set_progress_handler(None, 0)
    return counted


def test_exceptions_in_force_cost_twice_as_much_where_there_are_twice_as_many(opened: Store) -> None:
    def ask(connection: Connection) -> int:
        return len(exception_uses.page(connection, in_force=True, limit=10, **PAGE).items)

    fill(opened, range(1, 501), "EvidenceException")
    some = steps(opened, ask)
    fill(opened, range(501, 1001), "EvidenceException")
    assert steps(opened, ask) < 3 * some


@pytest.mark.parametrize("asked", [{}, {"name": "name 7"}, {"name": "shop/own", "in_force": False}])
def test_a_page_of_policies_costs_the_same_however_many_others_there_were(opened: Store, asked: dict[str, Any]) -> None:
    def ask(connection: Connection) -> int:
        whole = {**PAGE, "cluster": None, "in_force": False, "limit": 5, **asked}
        return len(resource_facts.policies(connection, **whole).items)

    fill(opened, range(1, 301))
    fill(opened, range(301, 311), namespace="shop", name="own", uid="own")
    some = steps(opened, ask)
    fill(opened, range(311, 5001))
    assert steps(opened, ask) <= 2 * some + 1


def test_policies_in_force_cost_no_more_than_twice_as_much_where_there_are_twice_as_many_versions(
    opened: Store,
) -> None:
    def ask(connection: Connection) -> int:
        return len(resource_facts.policies(connection, cluster=None, in_force=True, limit=5, **PAGE).items)

    fill(opened, range(1, 1001), uid="one", name="one")
    some = steps(opened, ask)
    fill(opened, range(1001, 2001), uid="one", name="one")
    assert steps(opened, ask) < 3 * some


def test_whether_a_policy_is_gone_costs_nothing_for_others_that_are_called_alike(opened: Store) -> None:
    """Who may make policies in a namespace may call them as one of the cluster is called."""
    asked = {("ClusterEvidencePolicy", "", "signed", "local"), ("EvidencePolicy", "shop", "signed", "local")}

    def ask(connection: Connection) -> object:
        found = resource_facts.gone(connection, asked, as_of=START + timedelta(days=1), known_at=None)
        assert found == {("ClusterEvidencePolicy", "", "signed", "local"): START + timedelta(seconds=1)}
        return found

    fill(opened, range(1, 2), "ClusterEvidencePolicy", name="signed", uid="a", fact="Deleted")
    fill(opened, range(2, 3), name="signed", namespace="shop", uid="b")
    some = steps(opened, ask)
    fill(opened, range(3, 3003), name="signed", namespace="bank")
    assert steps(opened, ask) <= some + 1
