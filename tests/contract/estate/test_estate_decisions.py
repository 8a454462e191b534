"""What was decided, and by which exceptions, is what the oracle says, by every filter."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from random import Random
from typing import Any

import pytest

from controller.inventory.asking.queries import Queries
from controller.inventory.records import DecisionFilter
from controller.inventory.store import Store
from tests.bench.estate.oracle import Used
from tests.bench.estate.size import BEGIN
from tests.support.asked_estate import DAY, PAGE, estate, every, oracle, times

pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written


def all_decisions(
    queries: Queries, where: dict[str, Any], known_at: datetime | None, as_of: datetime | None = None
) -> list[str]:
    told = {("image" if name == "repository" else name): value for name, value in where.items()}
    wanted = DecisionFilter(**told)
    found = every(lambda cursor: queries.decisions(wanted, limit=PAGE, cursor=cursor, as_of=as_of, known_at=known_at))
    return [item.id for item in found]


def decision_filters() -> list[dict[str, Any]]:
    random = Random("filters")
    world, rules = estate().world, estate().rules
    begin = BEGIN + 100 * DAY
    used = oracle().exceptions()
    return [
        {},
        {"verdict": "Deny"},
        {"namespace": "team-01"},
        {"namespace": "team-03", "verdict": "Deny"},
        {"since": begin, "until": begin + 30 * DAY},
        {"since": begin, "until": begin + 30 * DAY, "namespace": "team-02", "verdict": "Allow"},
        *({"flag": flag} for flag in ("warn", "audit", "exempt", "break-glass", "stale", "error", "fail-open")),
        *({"flag": flag, "namespace": "team-00"} for flag in ("no-match", "softened", "exempt")),
        *({"digest": image.digest} for image in random.sample(world.images, 4)),
        *({"repository": repository.name} for repository in random.sample(world.repositories, 3)),
        *({"policy": policy} for policy in ("signed", "vendor", "team-01/provenance", "nowhere/signed")),
        *({"exception": one.name} for one in used[:3]),
        {"exception": rules.exemptions[0].name, "namespace": "team-01"},
    ]


def test_decisions_by_every_filter_are_those_that_were_made(inventory: Store) -> None:
    asked = decision_filters()
    for number, where in enumerate(asked):
        known_at = None if number % 2 == 0 else BEGIN + 200 * DAY
        expected = oracle().decisions(**where, known_at=known_at)
        assert all_decisions(inventory.queries, where, known_at) == [d.id for d in expected], (where, known_at)
    assert sum(bool(oracle().decisions(**where)) for where in asked) > len(asked) - 6  # not all questions are idle


def test_decisions_are_those_that_had_been_recorded(inventory: Store) -> None:
    for as_of, known_at in times("decisions"):
        where = {"since": as_of - 5 * DAY if as_of else BEGIN + 360 * DAY}
        expected = oracle().decisions(**where, as_of=as_of, known_at=known_at)
        found = all_decisions(inventory.queries, where, known_at, as_of)
        assert found == [d.id for d in expected], (as_of, known_at)


def test_exceptions_and_their_uses_are_those_that_there_were(inventory: Store) -> None:
    by_key = {(cluster, e.name, e.hash): e for e in estate().rules.exemptions for cluster in e.clusters}
    for as_of, known_at in times("exceptions"):
        ask = partial(inventory.queries.exceptions, limit=7, as_of=as_of, known_at=known_at)
        found = every(lambda cursor, ask=ask: ask(cursor=cursor))
        wanted = oracle().exceptions(as_of=as_of, known_at=known_at)
        assert [record.last_used_at for record in found] == [used.last for used in wanted]
        uses = {Used(r.cluster, r.name, r.hash, r.uses, r.first_used_at, r.last_used_at): r for r in found}
        assert uses.keys() == set(wanted)
        for used, record in uses.items():
            said = by_key[used.cluster, used.name, used.hash]
            assert (record.approver, record.approved_at, record.reason) == (
                said.approver,
                said.approved_at,
                said.reason,
            )
            assert (record.expires, record.break_glass, record.approval) == (said.expires, said.break_glass, "stamped")
