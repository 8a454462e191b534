"""Which policies ever refused an image in a place: what leaves and a migration make of it, on both databases."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, insert, select

from controller.inventory import migrate, store, tables
from controller.inventory.database import engines
from controller.inventory.recording import projections
from controller.inventory.recording.projections import Appended, Remembered
from controller.inventory.store import Store
from tests.support.inventory import START, Clock, Database, evaluation, image, leaf, sighting, soon

BEFORE = "0021"
IMAGES = [f"sha256:{number:064x}" for number in range(3)]
INDEX, MANIFEST, _ = IMAGES
NAMESPACES, CLUSTERS = ("shop", "bank"), ("east", "west")

Times = tuple[datetime, datetime]
Recorded = Sequence[tuple[dict[str, Any], datetime]]


def decisions() -> list[dict[str, Any]]:
    """About an index, its manifest and another image, in two namespaces of two clusters, by policies of one name; what
    is decided later is recorded earlier, for some."""
    random = Random(5)  # noqa: S311
    made = []
    for number in range(120):
        said = [
            evaluation(position, policy=random.choice(("signed", "scanned")), outcome=outcome)
            for position in range(2)
            for outcome in random.sample(("Satisfied", "Violated", "Error", "Exempt"), 2)
        ]
        for one in said:
            where = random.choice(("", "shop"))
            kind = "EvidencePolicy" if where else "ClusterEvidencePolicy"
            one["policy"] = {**one["policy"], "kind": kind, "namespace": where}
            one["actions"] = random.choice((["Deny"], ["Deny", "Audit"], ["Warn"]))
        digests = [random.choice(IMAGES), random.choice([*IMAGES, None])]
        manifests = {INDEX: random.choice(([], [], [MANIFEST]))}
        images = [image(digest=one) | {"manifests": manifests.get(one, [])} for one in digests]
        value = leaf(number * (-1) ** number, images=images, evaluations=said)
        value["object"] = {**value["object"], "namespace": random.choice(NAMESPACES)}
        made.append(value | {"cluster": random.choice(CLUSTERS)})
    return made


def expected(recorded: Recorded) -> dict[tuple[str, ...], Times]:
    """By digest, namespace, cluster and policy (name, namespace, kind) the earliest times of a refusal."""
    found: dict[tuple[str, ...], Times] = {}
    for value, moment in recorded:
        for one in value["evaluations"]:
            digest, policy = value["images"][one["image"]]["digest"], one["policy"]
            if digest is None or one["outcome"] not in {"Violated", "Error"} or "Deny" not in one["actions"]:
                continue
            names = (policy["name"], policy["namespace"], policy["kind"])
            key = (digest, value["object"]["namespace"], value["cluster"], *names)
            at = datetime.fromisoformat(value["decidedAt"]), moment
            known = found.get(key, at)
            found[key] = min(known[0], at[0]), min(known[1], at[1])
    return found


def runs() -> list[dict[str, Any]]:
    """One of each image in each place, started at different times before the last decisions."""
    places = list(product(IMAGES, NAMESPACES, CLUSTERS))
    return [
        sighting("Started", 10 * n - 90, uid=f"pod-{n}", id=f"run-{n}", digest=digest, namespace=namespace)
        | {"cluster": cluster}
        for n, (digest, namespace, cluster) in enumerate(places)
    ]


Policy = tuple[str, str]
"""Its name and namespace."""


def refusing(recorded: Recorded, as_of: datetime, known_at: datetime) -> dict[str, set[tuple[Policy, str, datetime]]]:
    """By run: the policies that refuse its image there by their newest word, the digest that they judged, and when."""
    known = [value for value, moment in recorded if moment <= known_at]
    said: dict[tuple[str, ...], list[tuple[datetime, bool]]] = defaultdict(list)  # True: it is in the way
    akin = {(digest, digest) for digest in IMAGES}
    for value in known:
        if any(MANIFEST in one["manifests"] for one in value["images"]):
            akin |= {(INDEX, MANIFEST), (MANIFEST, INDEX)}
        if (at := datetime.fromisoformat(value["decidedAt"])) > as_of:
            continue
        for one in value["evaluations"]:
            digest, policy = value["images"][one["image"]]["digest"], one["policy"]
            in_the_way = one["outcome"] in {"Violated", "Error"} and "Deny" in one["actions"]
            if digest is not None:
                key = (value["cluster"], value["object"]["namespace"], digest, policy["name"], policy["namespace"])
                said[key].append((at, in_the_way))
    found = defaultdict(set)
    for value in runs():
        where, runs_as = (value["cluster"], value["pod"]["namespace"]), value["run"]["digest"]
        for (cluster, namespace, digest, *policy), words in said.items():
            there = (cluster, namespace) == where and (runs_as, digest) in akin
            if there and max(words)[1] and datetime.fromisoformat(value["run"]["startedAt"]) <= as_of:
                found[value["run"]["id"]].add(((policy[0], policy[1]), digest, max(words)[0]))
    return dict(found)


def rows(connection: Connection) -> dict[tuple[str, ...], Times]:
    found = connection.execute(select(tables.refused_image)).all()
    return {tuple(row[:-2]): (row.decided_at, row.recorded_at) for row in found}


async def _record(opened: Store, clock: Clock) -> Recorded:
    recorded = []
    for number, value in enumerate(decisions()):
        clock.now = START + timedelta(minutes=number // 10)
        await opened.writer.record(value, blobs={}, deadline=soon())
        recorded.append((value, clock.now))
    return recorded


async def test_each_policy_that_ever_refused_an_image_in_a_place_is_there_once_with_the_earliest_times(
    opened: Store, clock: Clock
) -> None:
    recorded = await _record(opened, clock)
    with opened._reading.begin() as connection:
        found = rows(connection)
    assert found == expected(recorded)
    assert len(found) > 40
    assert len({key[:5] for key in found}) == len(found)  # of one name in two namespaces: two policies
    assert any(decided != min(found.values())[0] for decided, _ in found.values())


async def test_what_is_refused_at_any_time_as_it_was_known_at_any_other_is_what_was_said_last(
    opened: Store, clock: Clock
) -> None:
    for value in runs():
        await opened.writer.record(value, blobs={}, deadline=soon())
    recorded = await _record(opened, clock)

    def told(as_of: datetime, known_at: datetime, **where: str) -> dict[str, set[tuple[Policy, str, datetime]]]:
        found, cursor, started = {}, None, []
        while True:
            asked = opened.questions.refused.refused
            page = asked(as_of=as_of, known_at=known_at, limit=4, cursor=cursor, **where)
            for item in page.items:
                refusals = item.refusals
                found[item.run.run] = {
                    ((one.policy.name, one.policy.namespace), one.digest, one.evaluated_at) for one in refusals
                }
                assert len(found[item.run.run]) == len(refusals)
                started.append(item.run.started_at)
            if (cursor := page.cursor) is None:
                assert started == sorted(started, reverse=True)
                return found

    runs_as = {one["run"]["id"]: one["run"]["digest"] for one in runs()}
    seen = set()
    for as_of, known_at in product((-60, 0, 31, 200), (0, 2, 60)):
        times = START + timedelta(seconds=as_of), START + timedelta(minutes=known_at)
        expected = refusing(recorded, *times)
        assert told(*times) == expected
        seen |= {len(expected), *((runs_as[run], digest) for run, each in expected.items() for _, digest, _ in each)}
        of_policy = {run: {one for one in each if one[0] == ("signed", "shop")} for run, each in expected.items()}
        assert told(*times, policy="shop/signed") == {run: each for run, each in of_policy.items() if each}
        here = {one["run"]["id"] for one in runs() if (one["pod"]["namespace"], one["cluster"]) == ("bank", "west")}
        assert told(*times, namespace="bank", cluster="west") == {
            run: each for run, each in expected.items() if run in here
        }
    assert seen > {0, 8, *((one, one) for one in IMAGES), (INDEX, MANIFEST), (MANIFEST, INDEX)}


async def test_it_is_the_same_whatever_the_order_of_leaves(opened: Store, clock: Clock) -> None:
    await _record(opened, clock)
    with opened._reading.begin() as connection:
        before = rows(connection)
        leaves = [leaf for batch in projections.stored(connection) for leaf in batch]
    for seed in range(3):
        shuffled = Random(seed).sample(leaves, len(leaves))  # noqa: S311
        with opened.writer._engine.begin() as connection:
            for table in tables.PROJECTIONS:
                connection.execute(table.delete())
            _write(connection, shuffled, apart=7)
            assert rows(connection) == before


def _write(connection: Connection, leaves: list[Appended], *, apart: int) -> None:
    for start in range(0, len(leaves), apart):
        projections.write(connection, leaves[start : start + apart], Remembered(), alone=True)


async def test_a_migration_fills_it_from_the_refusals_as_the_leaves_would(
    request: pytest.FixtureRequest, database: Database, tmp_path: Path
) -> None:
    """The older database has no leaves: all that it can be filled from are the refusals."""
    clock = Clock()
    with database.open(clock) as opened:
        recorded = await _record(opened, clock)
        with opened._reading.begin() as connection:
            refusals = [dict(row) for row in connection.execute(select(tables.refusal)).mappings()]
    is_file = database.kind == "sqlite"
    url = f"sqlite:///{tmp_path / 'older.db'}" if is_file else request.getfixturevalue("server").new_database()
    engine = engines.writing_engine(engines.parse(str(url)))
    with engine.begin() as connection:
        migrate.upgrade(connection, to=BEFORE)
        connection.execute(insert(tables.refusal), refusals)
    engine.dispose()
    await asyncio.to_thread(store.migrate, str(url))
    reading = create_engine(engines.parse(str(url)))
    with reading.connect() as connection:
        assert rows(connection) == expected(recorded)
    reading.dispose()
