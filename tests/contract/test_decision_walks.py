"""Any conditions together: the decisions are those that a look at every leaf finds, in pages, and found by an index."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from controller.inventory.asking.decisions import walks as decision_walks
from controller.inventory.database import engines
from controller.inventory.records import DecisionFilter
from controller.inventory.store import Store
from controller.inventory.tables import INSTANT_FORMAT
from tests.support.inventory import (
    START,
    Clock,
    evaluation,
    excepted,
    image,
    leaf,
    postgres_database,
    soon,
    sqlite_database,
)

COUNT = 90
POLICIES = (("", "signed"), ("shop", "signed"), ("bank", "signed"), ("", "rare"))
DIGESTS = tuple(f"sha256:{number:064x}" for number in range(3))
FLAGS = ("warn", "exempt", "break-glass")

Leaf = dict[str, Any]


def _leaves() -> list[Leaf]:
    chance = random.Random(7)  # noqa: S311 - an estate, no secret
    made = []
    for number in range(COUNT):
        images = [
            image(f"ghcr.io/acme/{chance.choice(('app', 'side'))}:{chance.choice('12')}", chance.choice(DIGESTS))
            for _ in range(chance.choice((1, 1, 2)))
        ]
        value = leaf(number, images=images, flags=chance.sample(FLAGS, chance.randrange(3)))
        value["verdict"] = chance.choice(("Allow", "Allow", "Deny"))
        value["object"] |= {"namespace": chance.choice(("shop", "bank")), "name": f"web-{number % 7}"}
        value["decidedAt"] = (START + timedelta(days=number // 3)).strftime(INSTANT_FORMAT)  # some at the same moment
        value["evaluations"] = [
            _judged(policy, number_, chance)
            for number_ in range(len(images))
            for policy in chance.sample(POLICIES[:3], 2) + ([POLICIES[3]] if number % 40 == 3 else [])
        ]
        made.append(value)
    return made


def _judged(policy: tuple[str, str], number: int, chance: random.Random) -> Leaf:
    namespace, name = policy
    value = evaluation(number, policy=name)
    value["policy"] |= {"namespace": namespace, "kind": "EvidencePolicy" if namespace else "ClusterEvidencePolicy"}
    value["policy"]["hash"] = f"sha256:{sum(map(ord, namespace + name)):064x}"
    return excepted(value, name=chance.choice(("hotfix", "waiver"))) if chance.random() < 0.2 else value


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def filled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Store, list[Leaf]]]:
    if request.param == "sqlite":
        database = sqlite_database(tmp_path_factory.mktemp("walks"))
    else:
        database = postgres_database(request.getfixturevalue("server"))
    values, clock = _leaves(), Clock()
    with database.open(clock) as opened:
        asyncio.run(_record(opened, values, clock))
        yield opened, values
    if request.param == "postgresql":
        request.getfixturevalue("server").drop(database.settings.url())


async def _record(opened: Store, values: list[Leaf], clock: Clock) -> None:
    for number, value in enumerate(values):
        clock.now = START + timedelta(days=100, hours=number)
        await opened.writer.record(value, blobs={}, deadline=soon())


CONDITIONS: dict[str, dict[str, Any]] = {
    "namespace": {"namespace": "shop"},
    "name": {"name": "web-3"},
    "verdict": {"verdict": "Deny"},
    "since": {"since": START + timedelta(days=4)},
    "until": {"until": START + timedelta(days=25)},
    "digest": {"digest": DIGESTS[1]},
    "repository": {"image": "ghcr.io/acme/app"},
    "tag": {"image": "ghcr.io/acme/side:2"},
    "both": {"image": f"ghcr.io/acme/app@{DIGESTS[1]}"},
    "policy": {"policy": "signed"},
    "own policy": {"policy": "bank/signed"},
    "cluster's policy": {"policy": "/signed"},
    "rare policy": {"policy": "rare"},
    "flag": {"flag": "exempt"},
    "rare flag": {"flag": "break-glass"},
    "exception": {"exception": "hotfix"},
}


def _is(value: Leaf, where: dict[str, Any]) -> bool:
    """Whether a leaf answers to the conditions, by itself."""

    def is_image(one: Leaf) -> bool:
        if "digest" in where and one["digest"] != where["digest"]:
            return False
        if "image" not in where:
            return True
        name, at, digest = where["image"].partition("@")
        name, colon, tag = name.partition(":")
        told: bool = (not at or one["digest"] == digest) and (not colon or one["reference"].endswith(f":{tag}"))
        return told and bool(one["repository"] == name)

    def is_policy(one: Leaf) -> bool:
        namespace, slash, name = where["policy"].rpartition("/")
        return bool(one["policy"]["name"] == name) and (not slash or one["policy"]["namespace"] == namespace)

    return bool(
        value["object"]["namespace"] == where.get("namespace", value["object"]["namespace"])
        and value["object"]["name"] == where.get("name", value["object"]["name"])
        and value["verdict"] == where.get("verdict", value["verdict"])
        and ("since" not in where or value["decidedAt"] >= where["since"].strftime(INSTANT_FORMAT))
        and ("until" not in where or value["decidedAt"] < where["until"].strftime(INSTANT_FORMAT))
        and ("flag" not in where or where["flag"] in value["flags"])
        and (not {"digest", "image"} & where.keys() or any(map(is_image, value["images"])))
        and ("policy" not in where or any(map(is_policy, value["evaluations"])))
        and (
            "exception" not in where
            or any(
                used["name"] == where["exception"] for one in value["evaluations"] for used in one.get("exceptions", ())
            )
        )
    )


def _together() -> Iterator[dict[str, Any]]:
    for count in (0, 1, 2, 3):
        for names in combinations(CONDITIONS, count):
            told: dict[str, Any] = {}
            for name in names:
                told |= CONDITIONS[name]
            if len(told) == count:  # two of the same kind are not asked together
                yield told


@pytest.mark.parametrize("probe", [decision_walks.PROBE, 5])
def test_any_conditions_together_find_what_a_look_at_every_leaf_finds(
    filled: tuple[Store, list[Leaf]], probe: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a low bound the place of the row there decides which condition leads."""
    monkeypatch.setattr(decision_walks, "PROBE", probe)
    opened, values = filled
    newest = list(reversed(values))  # they were recorded one after the other, in the order of their times
    every = list(_together())
    few = [where for where in every if len(where) < 3]
    chance = random.Random(probe)  # noqa: S311 - which of them, no secret
    for where in [*few, *chance.sample(every, 40)] if probe == decision_walks.PROBE else chance.sample(every, 60):
        expected = [value["id"] for value in newest if _is(value, where)]
        found = opened.queries.decisions(DecisionFilter(**where), limit=COUNT)
        assert [item.id for item in found.items] == expected, where
        assert found.cursor is None


@pytest.mark.parametrize("name", CONDITIONS)
def test_pages_follow_each_other_without_a_gap_at_both_times(filled: tuple[Store, list[Leaf]], name: str) -> None:
    opened, values = filled
    where = CONDITIONS[name]
    as_of, known = START + timedelta(days=20), 70  # decisions until then, of the first 70 that were recorded
    known_at = START + timedelta(days=100, hours=known - 1)
    expected = [
        value["id"]
        for value in reversed(values[:known])
        if _is(value, where) and value["decidedAt"] <= as_of.strftime(INSTANT_FORMAT)
    ]
    found: list[str] = []
    cursor = None
    while True:
        page = opened.queries.decisions(DecisionFilter(**where), limit=2, cursor=cursor, as_of=as_of, known_at=known_at)
        found += [item.id for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert found == expected


def test_what_cannot_be_is_answered_with_nothing(filled: tuple[Store, list[Leaf]]) -> None:
    opened, _ = filled
    nothing: tuple[dict[str, Any], ...] = (
        {"policy": "unknown"},
        {"policy": "bank/rare"},
        {"digest": DIGESTS[0], "image": f"ghcr.io/acme/app@{DIGESTS[1]}"},
    )
    for where in nothing:
        page = opened.queries.decisions(DecisionFilter(**where))
        assert (page.items, page.cursor) == ((), None)


def test_a_policys_name_that_many_namespaces_have_is_found_without_a_walk_for_each(
    filled: tuple[Store, list[Leaf]], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, values = filled
    monkeypatch.setattr(decision_walks, "MAX_NAMESPACES", 2)
    expected = [value["id"] for value in reversed(values) if _is(value, {"policy": "signed"})]
    found = opened.queries.decisions(DecisionFilter(policy="signed"), limit=COUNT)
    assert [item.id for item in found.items] == expected


@pytest.mark.parametrize("name", [name for name in CONDITIONS if name not in {"since", "until"}])
def test_each_condition_is_a_walk_in_the_order_of_its_index(tmp_path: Path, name: str) -> None:
    """On SQLite, whose plans do not hang on how much there is: nothing is gone through whole, nothing sorted but what
    came of several walks. (On PostgreSQL: test_partitions.py)"""
    database = sqlite_database(tmp_path)
    with database.open() as opened:
        asyncio.run(_record(opened, _leaves()[:40], Clock()))
        asked: list[tuple[str, Any]] = []

        @event.listens_for(opened._reading, "before_cursor_execute")
        def heard(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            asked.append((statement, parameters))

        opened.queries.decisions(DecisionFilter(**CONDITIONS[name]), limit=1)
        (walk,) = [each for each in asked if "ORDER BY" in each[0] and "decided_at DESC" in each[0]]
        engine = engines.reading_engine(engines.parse(database.settings.url()), connections=1)
        with engine.begin() as connection:
            plan = [row[-1] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {walk[0]}", walk[1])]
        engine.dispose()
    known = "anon", "ix_decision_denied"  # what came of several walks; an index of nothing but what is asked
    assert not [step for step in plan if step.startswith("SCAN") and not any(one in step for one in known)], plan
    if name != "policy":
        assert not [step for step in plan if "TEMP B-TREE" in step], plan
