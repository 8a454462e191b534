"""The table of runs, on both databases: held against a model that looks at every leaf, in whatever order they came."""

from __future__ import annotations

import asyncio
import random
import uuid
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, event, text, update

from controller.inventory import store, tables
from controller.inventory.asking.runs import ranges as run_ranges
from controller.inventory.intervals import AHEAD, LONGEST, OPEN, SPANS, span_of, windows
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.records import Admission, RunRecord
from controller.inventory.store import Store
from tests.support import postgres
from tests.support.inventory import (
    DIGEST,
    START,
    Clock,
    Database,
    postgres_database,
    sighting,
    soon,
    sqlite_database,
)
from tests.support.runs import CHILD, MINUTE, OTHER, Said, decision, read, story, written


def model(said: list[Said], known_at: datetime | None) -> list[dict[str, Any]]:
    """Every run that was known, as looking at every leaf has it."""
    known = [one for one in said if known_at is None or one.recorded_at <= known_at]
    found = []
    for uid in {one.leaf["pod"]["uid"] for one in known if "pod" in one.leaf}:
        about = [one for one in known if one.leaf.get("pod", {}).get("uid") == uid]
        run = about[0].leaf["run"]
        end = next((one.leaf["run"] for one in about if one.leaf["verdict"] == "Ended"), None)
        asked = sorted(
            (one.recorded_at, one.leaf["id"], one) for one in known if one.leaf.get("object", {}).get("uid") == uid
        )
        decisions = [one.leaf for *_, one in asked]
        this = [one for one in decisions if run["digest"] and run["digest"] in of(one)]
        unresolved = [one for one in decisions if one["images"][0]["digest"] is None]
        if this:
            state, by = Admission.ADMITTED, this[:1]
        elif not decisions:
            state, by = Admission.UNADMITTED, []
        elif not run["digest"]:
            state, by = Admission.UNKNOWN, decisions[:1]
        else:
            state, by = (Admission.UNKNOWN, unresolved[:1]) if unresolved else (Admission.DRIFTED, decisions[:1])
        signed = {p["signer"]["subject"] for one in this[:1] for p in one["evaluations"][0]["signatures"]}
        found.append(
            {
                "pod_uid": uid,
                "cluster": about[0].leaf["cluster"],
                "namespace": about[0].leaf["pod"]["namespace"],
                "digest": run["digest"],
                "started_at": read(run["startedAt"]),
                "ended_at": read(end["endedAt"]) if end else None,
                "reason": end["reason"] if end else "",
                "admission": state,
                "record": by[0]["id"] if by else "",
                "signers": tuple(sorted(signed)),
            }
        )
    return found


def of(decided: dict[str, Any]) -> set[str | None]:
    (only,) = decided["images"]
    return {only["digest"], *only["manifests"]} - {None}


def shape(record: RunRecord) -> dict[str, Any]:
    names = ("pod_uid", "cluster", "namespace", "digest", "started_at", "ended_at", "reason", "admission", "record")
    values = {name: getattr(record, name) for name in names}
    return values | {"signers": tuple(who.subject for who in record.signers)}


def fits(run: dict[str, Any], as_of: datetime | None, where: dict[str, Any]) -> bool:
    if as_of is not None and not (run["started_at"] <= as_of and (run["ended_at"] is None or run["ended_at"] > as_of)):
        return False
    return all(
        {"signed": bool(run["signers"]) is value, "signer": value in run["signers"]}.get(name, run.get(name) == value)
        for name, value in where.items()
    )


async def record(opened: Store, clock: Clock, said: list[Said]) -> None:
    for one in said:
        clock.now = one.recorded_at
        await opened.writer.record(one.leaf, blobs={}, deadline=soon())


def everything(opened: Store, **where: Any) -> list[RunRecord]:
    found: list[RunRecord] = []
    cursor: str | None = None
    while True:
        page = opened.queries.runs(limit=3, cursor=cursor, **where)
        found += page.items
        cursor = page.cursor
        if cursor is None:
            return found


FILTERS: list[dict[str, Any]] = [
    {},
    {"namespace": "shop"},
    {"cluster": "east"},
    {"digest": DIGEST},
    {"signer": "jane"},
    {"signer": "nobody"},
    {"signed": True},
    {"signed": False, "namespace": "bank"},
    {"signed": False},
    {"signed": False, "digest": OTHER},
    {"admission": Admission.UNADMITTED, "digest": DIGEST},
    *({"admission": state} for state in Admission),
    {"admission": Admission.UNADMITTED, "signed": False, "cluster": "west"},
]


@pytest.mark.parametrize("seed", range(3))
async def test_what_ran_at_any_time_as_known_at_any_time_is_what_a_look_at_every_leaf_says(
    database: Database, seed: int
) -> None:
    clock, chance = Clock(), random.Random(seed)  # noqa: S311 - the same questions in each run
    said = story(seed)
    chance.shuffle(said)
    moments = sorted(
        {one.recorded_at for one in said}
        | {
            read(one.leaf["run"][name])
            for one in said
            if "run" in one.leaf
            for name in ("startedAt", "endedAt")
            if one.leaf["run"][name]
        }
    )
    about = [moment + timedelta(microseconds=by) for moment in moments for by in (-1, 0, 1)]
    with database.open(clock) as opened:
        await record(opened, clock, said)
        for _ in range(40):
            as_of = chance.choice([None, *about, *about])
            known_at = chance.choice([None, *about])
            where = chance.choice(FILTERS)
            expected = [run for run in model(said, known_at) if fits(run, as_of, where)]
            found = [shape(item) for item in everything(opened, as_of=as_of, known_at=known_at, **where)]
            times = [run["started_at"] for run in found]
            assert times == sorted(times, reverse=True)
            found.sort(key=lambda run: run["pod_uid"])
            expected.sort(key=lambda run: run["pod_uid"])
            assert found == expected, (as_of, known_at, where)


@pytest.mark.parametrize("seed", range(2))
async def test_the_order_in_which_leaves_come_does_not_matter(database: Database, tmp_path: Path, seed: int) -> None:
    said = story(100 + seed)
    answers = []
    for turn, other in enumerate((database, sqlite_database(tmp_path / "other"))):
        order = list(said)
        random.Random(turn).shuffle(order)  # noqa: S311 - a test's order
        clock = Clock()
        with other.open(clock) as opened:
            await record(opened, clock, order)
            answers.append(sorted((shape(run) for run in everything(opened)), key=lambda run: run["pod_uid"]))
    assert answers[0] == answers[1]
    assert answers[0]


async def test_runs_are_made_anew_from_leaves_and_a_changed_one_is_named(database: Database) -> None:
    clock = Clock()
    said = story(7)
    signer = NoteSigner.of_seed("assay.example/ledger", bytes(32))
    with database.open(clock) as opened:
        await record(opened, clock, said)
        before = everything(opened)
        sequencer = opened.sequencer(database.settings, signer=signer, clock=clock)
        sequencer.take_over()
        sequencer.sequence()
        assert opened.verify(keys=[signer.key()]).findings == []
    assert store.rebuild(database.settings.url()) == len(said)
    with database.open(clock) as opened:
        assert everything(opened) == before
        with opened.writer._engine.begin() as connection:
            connection.execute(update(tables.run).where(tables.run.c.pod_uid == before[0].pod_uid).values(span=1))
            connection.execute(tables.image_manifest.delete().where(tables.image_manifest.c.manifest == CHILD))
        found = {finding.where: finding.message for finding in opened.verify(keys=[signer.key()]).findings}
    run = before[0]
    assert found == {
        f"table run, {run.pod_uid} {run.kind} {run.container} {run.run} {run.cluster}": "not what the leaf says: span",
        f"table image_manifest, {DIGEST} {CHILD}": "the row is gone",
    }


async def test_a_run_and_its_decision_find_each_other_whoever_records_them_at_the_same_moment(
    server: postgres.Postgres,
) -> None:
    database = postgres_database(server)
    uids = [str(uuid.uuid4()) for _ in range(150)]
    with database.open() as webhook, database.open() as operator:

        async def all_of(opened: Store, leaves: list[dict[str, Any]]) -> None:
            await asyncio.gather(*(opened.writer.record(item, blobs={}, deadline=soon()) for item in leaves))

        await asyncio.gather(
            all_of(webhook, [decision(uid, DIGEST, [], ["jane"]) for uid in uids]),
            all_of(operator, [sighting("Started", 1, uid=uid, id=uid) for uid in reversed(uids)]),
        )
        assert {run.admission for run in everything(operator)} == {Admission.ADMITTED}
        assert everything(operator, admission=Admission.UNADMITTED) == []


def test_an_interval_is_found_in_the_window_of_its_class_alone() -> None:
    """Every window holds what goes on, for any order of the four times; and what is in none does not go on."""
    chance = random.Random(3)  # noqa: S311 - the same intervals in each run

    def moment() -> datetime:
        return START + MINUTE * chance.choice([0, 1, 2, 1000, 2**24]) * chance.choice([1, chance.random(), -1])

    for _ in range(20_000):
        started, recorded = moment(), moment()
        ended, told = chance.choice([(None, None), (moment(), moment())])
        as_of, known_at = moment(), chance.choice([None, moment()])
        span = span_of(started_at=started, recorded_at=recorded, ended_at=ended, end_recorded_at=told)
        (window,) = [each for each in windows(as_of=as_of, known_at=known_at) if each.span == span]
        is_known = known_at is None or recorded <= known_at
        has_ended = ended is not None and ended <= as_of and (known_at is None or told is None or told <= known_at)
        if is_known and started <= as_of and not has_ended:
            assert window.after is None or started > window.after
            assert window.until is None or started <= window.until
    assert {AHEAD, OPEN, LONGEST} <= set(SPANS)
    assert windows(as_of=datetime.min.replace(tzinfo=START.tzinfo), known_at=None)[5].after is None


BY_INDEX: list[tuple[dict[str, Any], str]] = [
    ({}, "ix_run_span_started_at_leaf"),
    ({"namespace": "bank"}, "ix_run_namespace_span_started_at_leaf"),
    ({"digest": OTHER}, "ix_run_digest_span_started_at_leaf"),
    ({"admission": Admission.UNADMITTED}, "ix_run_admission_span_started_at_leaf"),
    ({"signed": False}, "ix_run_signers_span_started_at_leaf"),
    ({"signer": "jane"}, "ix_run_signers_span_started_at_leaf"),
]


async def test_runs_are_found_by_an_index_whatever_is_asked_of_them(database: Database) -> None:
    clock = Clock()
    with database.open(clock) as opened:
        await record(opened, clock, story(1))
        sqlite = opened._reading.dialect.name == "sqlite"
        if not sqlite:  # it goes by how much there is
            crowd(database)
        asked: list[tuple[str, Any]] = []

        def note(_: Any, __: Any, statement: str, parameters: Any, *_rest: Any) -> None:
            if "ORDER BY" in statement and " run" in statement:
                asked.append((statement, parameters))

        event.listen(opened._reading, "before_cursor_execute", note)
        for where, index in BY_INDEX:
            for known_at in (None, START + timedelta(days=1)):
                asked.clear()
                opened.queries.runs(as_of=START + timedelta(days=2), known_at=known_at, **where)
                plans = [plan_of(opened, *each) for each in tuple(asked)]
                lookups = len(SPANS) if sqlite else 1  # PostgreSQL looks up each row of a table of ranges
                assert plans[0].count(index) >= lookups, plans[0]
                for plan in plans[1:]:  # what became so only later
                    assert known_at is not None
                    assert "ix_run_late" in plan, plan
                for plan in plans:
                    assert "SCAN run" not in plan  # SQLite's word
                    assert "Seq Scan on run" not in plan
                    # SQLite merges the ranges, and reads no further than the page goes.
                    assert "TEMP B-TREE" not in plan


async def test_of_many_images_what_ran_is_gone_through_in_its_order_and_sifted_by_a_hash(database: Database) -> None:
    """A list that is compared one by one takes seconds, of a thousand images and ten thousand runs."""
    clock = Clock()
    with database.open(clock) as opened:
        await record(opened, clock, story(1))
        sqlite = opened._reading.dialect.name == "sqlite"
        if not sqlite:
            crowd(database)
        asked: list[tuple[str, Any]] = []

        def note(_: Any, __: Any, statement: str, parameters: Any, *_rest: Any) -> None:
            asked.append((statement, parameters))

        many = tuple(f"sha256:{number}" for number in range(run_ranges.MAX_IMAGES + 1))
        with opened._reading.begin() as connection:
            event.listen(opened._reading, "before_cursor_execute", note)
            as_of = START + timedelta(days=2)
            run_ranges.places(
                connection, run_ranges.RunFilter(digests=many), as_of=as_of, known_at=None, before=None, limit=100
            )
            event.remove(opened._reading, "before_cursor_execute", note)
        plan = plan_of(opened, *asked[-1])
        assert "ix_run_span_started_at_leaf" in plan
        assert ("LIST SUBQUERY" if sqlite else "hashed SubPlan") in plan


def plan_of(opened: Store, statement: str, parameters: Any) -> str:
    explain = "EXPLAIN QUERY PLAN " if opened._reading.dialect.name == "sqlite" else "EXPLAIN "
    with opened._reading.begin() as connection:
        return "\n".join(map(str, connection.exec_driver_sql(explain + statement, parameters)))


def crowd(database: Database, count: int = 20_000) -> None:
    """Many runs of everybody."""
    other = {
        "pod_uid": "'pod-' || n",
        "leaf": "1000000 + n",
        "end_leaf": "2000000 + n",
        "namespace": "'team-' || n % 60",
        "cluster": "'cluster-' || n % 5",
        "digest": "'sha256:' || n % 1000",
        "signers": "'set-' || n % 50",
        "admission": "CASE n % 20 WHEN 0 THEN 'Drifted' WHEN 1 THEN 'Unadmitted' ELSE 'Admitted' END",
        "started_at": "started_at + n * interval '30 seconds'",
        "span": "n % 20",
    }
    names = [column.name for column in tables.run.columns]
    copied = ", ".join(other.get(name, name) for name in names)
    engine = create_engine(database.settings.database_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        one = "(SELECT * FROM run WHERE leaf = (SELECT min(leaf) FROM run)) AS one"
        rows = f"SELECT {copied} FROM {one}, generate_series(1, {count}) AS n"  # noqa: S608 - the schema's names
        connection.execute(text(f"INSERT INTO run ({', '.join(names)}) {rows}"))
        connection.exec_driver_sql("ANALYZE run")
    engine.dispose()


async def test_a_decision_costs_the_same_however_many_there_were_about_its_pod_and_however_often_that_ran(
    opened: Store, clock: Clock
) -> None:
    async def tell(leaf: dict[str, Any]) -> None:
        clock.now += MINUTE
        await opened.writer.record(leaf, blobs={}, deadline=soon())

    async def decide(number: int) -> None:
        leaf = decision("p0", DIGEST, [], ["jane"])
        await tell(leaf | {"id": str(uuid.UUID(int=number)), "decisionKey": f"p0:{number}"})

    for number, digest in enumerate([DIGEST] * 9 + [OTHER] * 3 + [None]):
        await tell(sighting("Started", uid="p0", id=f"run-{number}", digest=digest, startedAt=written(clock.now)))
    for number in range(2):
        await decide(number)
    looked: list[str] = []

    def note(statement: str) -> None:
        if statement.startswith("SELECT") and "decision_image" in statement:
            looked.append(statement)

    listening = opened.writer._engine
    if listening.dialect.name == "sqlite":  # some statements go to the driver itself
        with listening.connect() as connection:
            driver: Any = connection.connection.dbapi_connection
            driver.set_trace_callback(note)
    else:
        event.listen(listening, "before_cursor_execute", lambda *given: note(given[2]))
    for number in range(2, 12):
        await decide(number)
    assert not looked, "what was decided before was gone through again"
    for number in range(9, 12):
        end = {"startedAt": written(START), "endedAt": written(clock.now), "reason": "Completed"}
        await tell(sighting("Ended", uid="p0", id=f"run-{number}", digest=OTHER, **end))
    assert not looked, "an end changes nothing of what admitted a run"
    await tell(sighting("Started", uid="p0", id="run-99", digest=DIGEST, startedAt=written(clock.now)))
    assert len(looked) == 1
    states = [row.admission for row in everything(opened)]
    assert sorted(states) == ["Admitted"] * 10 + ["Drifted"] * 3 + ["Unknown"]
