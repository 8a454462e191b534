"""One suite over both databases: what `Recorder` and the queries promise holds on SQLite and on PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import rfc8785
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, create_engine, event, func, insert, select, text
from sqlalchemy.exc import DBAPIError

from controller.errors import InputError, RecordingFailed
from controller.inventory import migrate, store, tables
from controller.inventory.asking import queries
from controller.inventory.database import engines
from controller.inventory.records import DecisionFilter, ExceptionRecord, Standing
from controller.inventory.retention.leaves import PLACED, Selection, hold_leaf
from controller.inventory.store import POSTGRESQL_WRITERS, Store
from controller.model.deadline import Deadline
from controller.model.reference import Digest
from tests.support import postgres
from tests.support.filled import of_a_manifest
from tests.support.inventory import (
    ARTIFACT,
    DIGEST,
    POLICY_HASH,
    START,
    Clock,
    Database,
    blob,
    evaluation,
    excepted,
    exception_of,
    image,
    leaf,
    postgres_database,
    read_of,
    resource,
    sighting,
    soon,
)
from tests.support.processes import wait_until

OTHER = "sha256:" + "99" * 32


async def record(opened: Store, *leaves: dict[str, Any], blobs: dict[Digest, bytes] | None = None) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs=blobs or {}, deadline=soon()) for item in leaves))


def stored(opened: Store, table: Any = tables.leaf) -> int:
    with opened._reading.begin() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def dump(opened: Store) -> dict[str, list[tuple[Any, ...]]]:
    with opened._reading.begin() as connection:
        return {t.name: sorted(map(tuple, connection.execute(select(t))), key=str) for t in tables.PROJECTIONS}


def partitioned(connection: Connection) -> set[str]:
    """The names of all partitions and of their indexes: they follow from their tables'."""
    if connection.dialect.name != "postgresql":
        return set()
    return set(connection.execute(text("SELECT relname FROM pg_class WHERE relispartition")).scalars())


@contextmanager
def locked(database: Database) -> Iterator[threading.Event]:
    """Somebody else holds the database so that no commit gets through, until the block ends or the event is set."""
    engine = engines.writing_engine(engines.parse(database.settings.url()))
    release = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with engine.begin() as connection:
            if database.kind == "postgresql":
                connection.execute(text("LOCK TABLE leaf IN EXCLUSIVE MODE"))
            held.set()
            release.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    try:
        yield release
    finally:
        release.set()
        thread.join()
        engine.dispose()


@pytest.mark.guarantee(13)
async def test_a_recorded_decision_is_read_back_to_the_byte(opened: Store) -> None:
    value = leaf(message="pod “web”, déjà vu \U0001f980\0", verdict="Deny")
    await record(opened, value)
    found = opened.queries.decision(value["id"])
    assert found is not None
    assert found.canonical == rfc8785.dumps(value)
    assert found.leaf == value
    assert found.recorded_at == START


@pytest.mark.guarantee(13)
async def test_a_decision_is_recorded_once_however_often_it_is_handed_over(opened: Store) -> None:
    value = leaf()
    again = value | {"salt": uuid.uuid4().hex, "latencyUs": 1}  # as who judges the same call once more says it
    await record(opened, value, value, again)
    await record(opened, value)
    await record(opened, again)
    assert [item.id for item in opened.queries.decisions().items] == [value["id"]]
    assert stored(opened) == stored(opened, tables.decision) == stored(opened, tables.decision_image) == 1


@pytest.mark.guarantee(13)
async def test_the_same_object_decided_the_other_way_is_another_record(opened: Store) -> None:
    denied = leaf(verdict="Deny")
    admitted = denied | {"id": str(uuid.uuid4()), "verdict": "Allow"}
    await record(opened, denied)
    await record(opened, admitted)
    assert {item.verdict for item in opened.queries.decisions().items} == {"Allow", "Deny"}


async def test_an_id_that_stands_for_another_decision_is_refused(opened: Store) -> None:
    first = leaf(1)
    await record(opened, first)
    for other in (leaf(2, id=first["id"]), first | {"verdict": "Deny"}):
        with pytest.raises(RecordingFailed, match="LeafConflict"):
            await record(opened, other)
    assert stored(opened) == 1


@pytest.mark.parametrize("made", [leaf, partial(sighting, "Started")], ids=["decision", "sighting"])
async def test_of_two_records_of_one_id_in_a_group_none_is_acknowledged_unrecorded(
    database: Database, opened: Store, made: Callable[..., dict[str, Any]]
) -> None:
    first = made(1)
    second = made(2) | {"id": first["id"]}
    with locked(database):  # so that they meet in one group
        jobs = (opened.writer.record(item, blobs={}, deadline=soon()) for item in (first, second))
        running = asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.sleep(0.2)
    results = await running
    assert sorted(str(getattr(result, "code", result)) for result in results) == ["LeafConflict", "None"]
    assert stored(opened) == 1


@pytest.mark.guarantee(13)
async def test_one_bad_record_never_fails_the_others_of_its_group(database: Database, opened: Store) -> None:
    first = leaf()
    await record(opened, first)
    digest, _ = blob(b"evidence")
    good = [leaf(number) for number in range(1, 6)]
    jobs = [opened.writer.record(item, blobs={}, deadline=soon()) for item in good]
    jobs[1:1] = [
        opened.writer.record(leaf(10, blobs=[str(digest)]), blobs={digest: b"tampered"}, deadline=soon()),
        opened.writer.record(leaf(11, blobs=[OTHER]), blobs={}, deadline=soon()),
        opened.writer.record(leaf(12, id=first["id"]), blobs={}, deadline=soon()),
        opened.writer.record(leaf(13, evaluations=[evaluation(7)]), blobs={}, deadline=soon()),
    ]
    with locked(database):  # so that they all meet in one group
        running = asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.sleep(0.2)
    results = await running
    assert [getattr(result, "code", result) for result in results] == [
        None,
        "BlobMismatch",
        "BlobMissing",
        "LeafConflict",
        "LeafMalformed",
        *[None] * 4,
    ]
    assert {item.id for item in opened.queries.decisions().items} == {item["id"] for item in (first, *good)}
    assert opened.queries.blob(str(digest)) is None


async def test_many_records_share_one_commit(database: Database, opened: Store) -> None:
    commits: list[object] = []
    event.listen(opened.writer._engine, "commit", commits.append)
    with locked(database):
        running = asyncio.gather(*(record(opened, leaf(number)) for number in range(100)))
        await asyncio.sleep(0.2)
    await running
    assert len(commits) <= 4
    assert stored(opened) == 100


async def test_records_that_are_ready_at_the_same_time_are_one_commit(opened: Store) -> None:
    commits: list[object] = []
    event.listen(opened.writer._engine, "commit", commits.append)
    await record(opened, *(leaf(number) for number in range(100)))
    assert len(commits) == 1
    assert stored(opened) == 100


def test_an_event_loop_that_ended_holds_up_nobody_elses_record(opened: Store) -> None:
    async def leave() -> asyncio.Task[None]:
        task = asyncio.create_task(record(opened, leaf(1)))
        await asyncio.sleep(0)  # it has begun, and this loop will not come to hand over what it recorded
        return task

    first = asyncio.new_event_loop()
    task = first.run_until_complete(leave())
    asyncio.run(record(opened, leaf(2)))
    assert stored(opened) in {1, 2}  # nobody was told what became of the first
    first.run_until_complete(task)
    first.close()
    assert stored(opened) == 2


async def test_a_blob_is_kept_once_and_unchanged(opened: Store) -> None:
    digest, content = blob(bytes(range(256)) * 100)
    await record(opened, leaf(1, blobs=[str(digest)]), blobs={digest: content})
    await record(opened, leaf(2, blobs=[str(digest)]), blobs={digest: content})
    await record(opened, leaf(3, blobs=[str(digest)]))  # named only: it is there already
    assert opened.queries.blob(str(digest)) == content
    assert stored(opened, tables.blob) == 1
    assert opened.queries.blob(OTHER) is None


@pytest.mark.guarantee(13)
async def test_a_leaf_that_names_bytes_nobody_has_is_refused(opened: Store) -> None:
    with pytest.raises(RecordingFailed, match="BlobMissing"):
        await record(opened, leaf(blobs=[OTHER]))
    assert stored(opened) == 0


@pytest.mark.guarantee(18)
async def test_a_deadline_is_kept_while_the_database_hangs_and_the_loop_stays_free(
    database: Database, opened: Store
) -> None:
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    other = asyncio.create_task(turn())
    with locked(database):
        with pytest.raises(RecordingFailed, match="RecordingTimeout"):
            await opened.writer.record(leaf(), blobs={}, deadline=Deadline.after(0.5))
        assert turns > 5
    other.cancel()
    await record(opened, leaf(1))


async def test_a_record_whose_caller_left_before_its_turn_is_not_written(database: Database, opened: Store) -> None:
    late = leaf(99)
    jobs = []
    with locked(database):
        for number in range(POSTGRESQL_WRITERS):
            jobs.append(asyncio.create_task(record(opened, leaf(number))))
            await asyncio.sleep(0.2)  # each writer waits for the lock with one in hand
        with pytest.raises(RecordingFailed, match="RecordingTimeout"):
            await opened.writer.record(late, blobs={}, deadline=Deadline.after(0.1))
    await asyncio.gather(*jobs)
    await record(opened, leaf(100))
    assert opened.queries.decision(late["id"]) is None


@pytest.mark.guarantee(10)
async def test_a_full_queue_refuses_at_once(database: Database) -> None:
    small = dataclasses.replace(database.settings, database_queue=2)
    with Store.open(small) as opened, locked(database):
        jobs = [asyncio.create_task(record(opened, leaf(number))) for number in range(8)]
        done, waiting = await asyncio.wait(jobs, timeout=0.5)
        assert {task.exception().code for task in done} == {"QueueFull"}  # type: ignore[union-attr]
        assert 2 <= len(waiting) <= 2 + 2 * POSTGRESQL_WRITERS  # two in the queue, and what was taken of them before
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@pytest.mark.guarantee(13)
async def test_closing_writes_what_waits_and_takes_nothing_more(database: Database) -> None:
    values = [leaf(number) for number in range(50)]
    opened = database.open()
    with locked(database) as release:
        jobs = [asyncio.create_task(record(opened, value)) for value in values]
        await asyncio.sleep(0.1)
        closing = asyncio.create_task(asyncio.to_thread(opened.close))
        await asyncio.sleep(0.1)
        with pytest.raises(RecordingFailed, match="RecorderClosed"):
            await record(opened, leaf(99))
        release.set()
        await asyncio.gather(*jobs)
        await closing
    with database.open() as again:
        assert stored(again) == 50


@pytest.mark.guarantee(13)
async def test_closing_writes_what_was_not_handed_over_yet(database: Database) -> None:
    opened = database.open()
    job = asyncio.create_task(opened.writer.record(leaf(), blobs={}, deadline=soon()))
    await asyncio.sleep(0)  # it has begun, and the event loop has not come round since
    opened.close()
    await job
    with database.open() as again:
        assert stored(again) == 1


@pytest.mark.guarantee(20)
async def test_a_reader_cannot_write(database: Database, opened: Store) -> None:
    await record(opened, leaf())
    with Store.open_to_read(database.settings) as reader:
        assert len(reader.queries.decisions().items) == 1
        for statement in (
            "INSERT INTO blob (digest, size, content, recorded_at) VALUES ('d', 0, '', '2026-11-22T11:00:00.000000Z')",
            "DELETE FROM leaf",
            "UPDATE leaf SET verdict = 'Deny'",
            "DROP TABLE decision",
        ):
            with pytest.raises(DBAPIError, match=r"read.?only"), reader._reading.begin() as connection:
                connection.execute(text(statement))
    assert stored(opened) == 1


async def test_filters_narrow_the_list_and_hold_together(opened: Store) -> None:
    shop = leaf(1)
    denied = leaf(2, verdict="Deny", evaluations=[evaluation(policy="no-log4j", outcome="Violated")])
    other = leaf(3, images=[image("docker.io/library/nginx:1.27", OTHER)], evaluations=[evaluation()])
    other["object"] = other["object"] | {"namespace": "web"}
    unresolved = leaf(4, verdict="Deny", images=[image("quay.io/acme/gone:2", None)], evaluations=[])
    await record(opened, shop, denied, other, unresolved)

    def found(**where: Any) -> list[str]:
        return [item.id for item in opened.queries.decisions(DecisionFilter(**where)).items]

    everything = [unresolved["id"], other["id"], denied["id"], shop["id"]]
    assert found() == everything
    assert found(namespace="web") == [other["id"]]
    assert found(name="web-2") == [denied["id"]]
    assert found(name="web-2", namespace="web") == []
    assert found(verdict="Deny") == [unresolved["id"], denied["id"]]
    assert found(digest=DIGEST) == [denied["id"], shop["id"]]
    assert found(digest=DIGEST, verdict="Allow") == [shop["id"]]
    assert found(image="nginx") == [other["id"]]
    assert found(image="nginx:1.27") == [other["id"]]
    assert found(image="nginx:1.26") == []
    assert found(image=f"nginx@{OTHER}") == [other["id"]]
    assert found(image=f"nginx@{DIGEST}") == []
    assert found(image="ghcr.io/acme/app") == [denied["id"], shop["id"]]
    assert found(image="quay.io/acme/gone") == [unresolved["id"]]
    assert found(policy="no-log4j") == [denied["id"]]
    assert found(policy="shop/no-log4j") == []
    assert found(since=START + timedelta(seconds=2), until=START + timedelta(seconds=4)) == everything[1:3]
    assert found(namespace="nowhere") == []


async def test_pages_visit_every_decision_once_newest_first(opened: Store) -> None:
    # Several decisions of one moment: the cursor has to tell them apart.
    values = [leaf(number // 3) for number in range(25)]
    await record(opened, *values)
    seen: list[Any] = []
    cursor = None
    while True:
        page = opened.queries.decisions(limit=4, cursor=cursor)
        seen.extend(page.items)
        cursor = page.cursor
        if cursor is None:
            break
        await record(opened, leaf(1000 + len(seen)))  # newer ones come meanwhile
    assert sorted(item.id for item in seen) == sorted(value["id"] for value in values)
    moments = [item.decided_at for item in seen]
    assert moments == sorted(moments, reverse=True)


@pytest.mark.parametrize("cursor", ["", "x", "!!!", "MjAyNg", "A" * 300, "MjAyNi0xMS0yMlQxMTowMDowMC4wMDAwMDBaIC0x"])
def test_a_cursor_that_was_not_given_out_is_refused(opened: Store, cursor: str) -> None:
    with pytest.raises(InputError, match="CursorMalformed"):
        opened.queries.decisions(cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 501])
def test_a_limit_out_of_range_is_refused(opened: Store, limit: int) -> None:
    with pytest.raises(InputError, match="LimitOutOfRange"):
        opened.queries.decisions(limit=limit)


async def test_what_counts_for_nothing_hides_nothing_that_counted_of_an_image(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much anybody lays beside it, and before."""
    beside = evaluation() | {"signatures": [], "attestations": []}
    (one,) = beside["rejections"]
    beside["rejections"] = [{**one, "artifact": f"sha256:{number:064x}"} for number in range(9)]
    await record(opened, leaf(evaluations=[beside]), leaf(5))
    monkeypatch.setattr(queries, "MAX_FINDINGS", 5)
    found = opened.queries.image(DIGEST)
    assert found is not None
    assert (len(found.signatures), len(found.attestations), len(found.rejections)) == (1, 1, 3)


async def test_an_image_shows_its_decisions_signers_attestations_and_rejections(opened: Store) -> None:
    await record(opened, leaf(1), leaf(2, verdict="Deny"), leaf(3))
    found = opened.queries.image(DIGEST)
    assert found is not None
    assert (found.admitted, found.denied, len(found.decisions.items)) == (2, 1, 3)
    assert found.repositories == ("ghcr.io/acme/app",)
    assert found.first_decided_at == START + timedelta(seconds=1)
    assert found.last_decided_at == START + timedelta(seconds=3)
    (signature,) = found.signatures
    assert signature.detail["signer"]["issuer"] == "https://token.actions.githubusercontent.com"
    assert signature.detail["artifact"] == ARTIFACT
    assert signature.policy.hash == POLICY_HASH
    assert signature.decided_at == START + timedelta(seconds=1)
    (attestation,) = found.attestations
    assert attestation.detail["predicateType"] == "https://spdx.dev/Document"
    (rejection,) = found.rejections
    assert rejection.detail["code"] == "KeyMismatch"
    assert opened.queries.image(OTHER) is None


async def test_every_question_can_be_asked_known_at_an_earlier_day(opened: Store, clock: Clock) -> None:
    digest, content = blob(b"late evidence")
    early, late = leaf(1), leaf(2, blobs=[str(digest)], evaluations=[evaluation(policy="newer")])
    await record(opened, early)
    clock.now = START + timedelta(days=1)
    await record(opened, late, blobs={digest: content})
    then = START + timedelta(hours=1)
    queries = opened.queries
    assert [item.id for item in queries.decisions(known_at=then).items] == [early["id"]]
    assert queries.decision(late["id"], known_at=then) is None
    assert queries.blob(str(digest), known_at=then) is None
    now, before = queries.image(DIGEST), queries.image(DIGEST, known_at=then)
    assert now is not None
    assert before is not None
    assert (now.admitted, before.admitted) == (2, 1)
    assert (len(now.signatures), len(before.signatures)) == (2, 1)
    assert queries.image(DIGEST, known_at=START - timedelta(seconds=1)) is None


async def test_projections_can_be_rebuilt_from_the_leaves_alone(database: Database, clock: Clock) -> None:
    with database.open(clock) as opened:
        for number in range(40):
            clock.now = START + timedelta(minutes=number)
            verdict = "Deny" if number % 3 else "Allow"
            # Later recorded decisions lie earlier: facts keep the earliest of each time, whatever the order.
            used = [excepted(), excepted(claimed=bool(number % 2)), of_a_manifest(OTHER, signer="jane")]
            index = image() | {"manifests": [OTHER], "bases": [{"manifest": OTHER, "name": "debian:12"}]}
            late = leaf(number, evaluations=used, images=[index], flags=["exempt"])
            await record(opened, leaf(-number, verdict=verdict, evaluations=[evaluation(outcome="Violated")]), late)
        held = Selection(namespace="shop")
        hold = hold_leaf(PLACED, name="a", reason="asked", person="jane", what=held, cluster="local", at=START)
        await record(opened, *(sighting(what, 5) for what in ("Started", "Ended", "Gap")), read_of("jane"), hold)
        # What was used first, and was recorded as applied later, was applied before.
        await record(opened, resource("Applied", -900, exception=exception_of()), resource("Deleted", 9))
        before = dump(opened)
        assert [name for name, rows in before.items() if not rows] == []
        with opened.writer._engine.begin() as connection:
            for table in tables.PROJECTIONS:
                connection.execute(table.delete())
    assert store.rebuild(database.settings.url()) == 87
    with database.open(clock) as opened:
        assert dump(opened) == before


@pytest.mark.guarantee(16)
async def test_guarantee_16_every_use_of_an_exception_is_in_the_inventory(opened: Store, clock: Clock) -> None:
    other = {"hash": "sha256:" + "cd" * 32, "reason": "another version", "breakGlass": True}
    await record(
        opened,
        leaf(1, evaluations=[excepted(), excepted(evaluation(policy="second"))]),
        leaf(2, evaluations=[excepted(**other), evaluation()]),
        leaf(3, evaluations=[evaluation()]),
        leaf(4, evaluations=[excepted(name="a", claimed=True, approvedAt=None)], verdict="Deny"),
    )
    clock.now = START + timedelta(days=1)
    await record(opened, late := leaf(5, evaluations=[excepted()]))
    found = opened.queries.exceptions(as_of=START + timedelta(hours=1)).items
    assert [(each.name, each.hash[7:9], each.approval, each.uses) for each in found] == [
        ("hotfix", "ab", "stamped", 3),
        ("a", "ab", "claimed", 1),
        ("hotfix", "cd", "stamped", 1),
    ]
    assert found[0] == ExceptionRecord(
        cluster="local",
        name="hotfix",
        hash="sha256:" + "ab" * 32,
        approval="stamped",
        approver="jane",
        approved_at=START - timedelta(hours=2),
        reason="the signing service is down",
        expires=START + timedelta(hours=22),
        break_glass=False,
        applied_at=None,
        state=Standing.UNKNOWN,
        ended_at=None,
        unwatched=False,
        uses=3,
        first_used_at=START + timedelta(seconds=1),
        last_used_at=START + timedelta(seconds=5),
    )
    assert (found[1].approved_at, found[2].break_glass) == (None, True)
    then = opened.queries.exceptions(name="hotfix", known_at=START + timedelta(hours=1)).items
    assert [(each.hash[7:9], each.uses) for each in then] == [("cd", 1), ("ab", 2)]
    assert opened.queries.exceptions(name="nothing").items == ()
    assert len(opened.queries.exceptions(limit=1).items) == 1
    with pytest.raises(InputError, match="LimitOutOfRange"):
        opened.queries.exceptions(limit=0)
    decided = opened.queries.decisions(DecisionFilter(exception="hotfix")).items
    assert [item.name for item in decided] == ["web-5", "web-2", "web-1"]
    assert decided[0].id == late["id"]


@pytest.mark.parametrize("missing", ["name", "hash", "approver", "reason", "expires"])
async def test_a_use_that_does_not_say_by_whom_until_when_and_why_is_no_record(opened: Store, missing: str) -> None:
    broken = leaf(evaluations=[excepted(**{missing: ""})])
    with pytest.raises(RecordingFailed, match="LeafMalformed"):
        await record(opened, broken)
    assert stored(opened) == 0


def test_migrations_make_the_tables_that_the_code_uses(database: Database) -> None:
    store.migrate(database.settings.url())
    assert migrate.head() == tables.REVISION
    engine = create_engine(engines.parse(database.settings.url()))
    with engine.connect() as connection:
        follow = partitioned(connection)
        opts: dict[str, Any] = {"compare_type": True, "include_name": lambda name, *_: name not in follow}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, _of_dialect(connection.dialect.name)) == []
    engine.dispose()


def _of_dialect(name: str) -> MetaData:
    """The tables as this database has them: of two indexes of one name, one for each, the own one."""
    chosen = MetaData(naming_convention=tables.metadata.naming_convention)
    for table in tables.metadata.sorted_tables:
        others = {
            (index.name, tuple(index.columns.keys()))
            for index in table.indexes
            if index._ddl_if is not None and index._ddl_if.dialect != name
        }
        made = table.to_metadata(chosen)
        made.indexes -= {index for index in made.indexes if (index.name, tuple(index.columns.keys())) in others}
    return chosen


async def test_leaves_are_json_in_their_canonical_form(opened: Store) -> None:
    await record(opened, leaf())
    with opened._reading.begin() as connection:
        (canonical,) = connection.execute(select(tables.leaf.c.canonical)).scalars()
    assert rfc8785.dumps(json.loads(canonical)) == canonical


@pytest.mark.guarantee(13)
async def test_two_postgresql_replicas_record_one_decision_once(server: postgres.Postgres) -> None:
    database = postgres_database(server)
    values = [leaf(number) for number in range(200)]
    with database.open() as one, database.open() as two:
        mirrored = [value | {"salt": uuid.uuid4().hex} for value in reversed(values)]
        await asyncio.gather(record(one, *values), record(two, *mirrored))
        assert stored(one) == stored(one, tables.decision) == 200


async def test_a_group_goes_to_postgresql_while_another_waits_there(server: postgres.Postgres) -> None:
    database = postgres_database(server)
    held = leaf(1)
    row = {"id": held["id"], "decision_key": "k", "verdict": "Allow", "canonical": b"", "recorded_at": START}
    engine = engines.writing_engine(engines.parse(database.settings.url()))
    with database.open() as opened:
        with engine.connect() as connection:
            connection.execute(insert(tables.leaf).values(row))  # so that whoever appends this id waits for its end
            first = asyncio.create_task(record(opened, held))
            await asyncio.sleep(0.2)
            await record(opened, leaf(2))
            assert not first.done()
            connection.rollback()
        await first
        assert stored(opened) == 2
    engine.dispose()


def test_nothing_watches_connections_that_are_closed(server: postgres.Postgres) -> None:
    """By a thread that looks each second: thousands of them once took all of a process' time."""

    def watching() -> set[int | None]:
        return {thread.ident for thread in threading.enumerate() if thread.name == "inventory-watch"}

    database = postgres_database(server)
    before = watching()
    gc.disable()  # an engine that was disposed lives until it is collected
    try:
        with database.open() as opened:
            assert stored(opened) == 0
            assert len(watching() - before) > 0
        wait_until(lambda: not watching() - before, what="the watch ends")
    finally:
        gc.enable()


@pytest.mark.guarantee(13)
async def test_postgresql_commits_are_durable_whatever_the_database_was_set_to(server: postgres.Postgres) -> None:
    database = postgres_database(server)
    name = engines.parse(database.settings.url()).database
    server.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with database.open() as opened, opened.writer._engine.connect() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"


async def test_recording_goes_on_after_postgresql_ended_the_connection(server: postgres.Postgres) -> None:
    database = postgres_database(server)
    name = engines.parse(database.settings.url()).database
    with database.open() as opened:
        await record(opened, leaf(1))
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608
        value = leaf(2)
        with contextlib.suppress(RecordingFailed):  # the one that meets the dead connection may be told so
            await record(opened, value)
        await record(opened, value)
        assert stored(opened) == 2


async def test_what_each_policy_denied_is_counted_by_image_however_often_it_was_tried(
    opened: Store, clock: Clock
) -> None:
    def denied(
        number: int, *evaluations: dict[str, Any], images: list[dict[str, Any]] | None = None, **changes: Any
    ) -> Any:
        return leaf(number, verdict="Deny", evaluations=list(evaluations), images=images or [image()], **changes)

    bad = evaluation(outcome="Violated")
    other = image("ghcr.io/acme/other:1", OTHER)
    unresolved = image("ghcr.io/acme/gone:1", None)
    warned = {**evaluation(outcome="Violated", policy="warns"), "actions": ["Warn"]}
    namespaced = {**bad, "policy": {**bad["policy"], "kind": "EvidencePolicy", "namespace": "shop"}}
    everything = [
        denied(-3601, bad),  # too long ago
        denied(0, bad),
        denied(1, bad),  # the same image once more
        denied(2, {**bad, "image": 1}, images=[image(), other]),
        denied(3, evaluation(outcome="Error"), images=[unresolved]),
        denied(4, bad, warned, evaluation(policy="satisfied"), namespaced),
        denied(5, evaluation(outcome="Exempt", policy="excepted"), bad),
        denied(6, evaluation(outcome="Violated", policy="elsewhere"), cluster="another"),
        leaf(
            7, evaluations=[evaluation(outcome="Violated", policy="template")]
        ),  # a denial of a template may be a warning
    ]
    await record(opened, *everything)
    since = START - timedelta(hours=1)
    assert opened.queries.denied(since=since, cluster="local") == {
        ("ClusterEvidencePolicy", "", "release-signed"): 3,
        ("EvidencePolicy", "shop", "release-signed"): 1,
    }
    assert opened.queries.denied(since=START + timedelta(hours=1), cluster="local") == {}
    assert opened.queries.denied(since=since, cluster="local", known_at=START - timedelta(days=1)) == {}
    del clock


async def test_denials_are_found_without_a_look_at_what_was_allowed(database: Database, opened: Store) -> None:
    await record(opened, *(leaf(number) for number in range(300)), leaf(300, verdict="Deny"))
    asked: list[tuple[str, Any]] = []
    engine = engines.writing_engine(engines.parse(database.settings.url()))
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    engine.dispose()

    def note(_: Any, __: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if "decision.verdict = " in statement:
            asked.append((statement, parameters))

    event.listen(opened._reading, "before_cursor_execute", note)
    assert opened.queries.denied(since=START, cluster="local") == {}
    assert len(opened.queries.decisions(DecisionFilter(verdict="Deny")).items) == 1
    event.remove(opened._reading, "before_cursor_execute", note)
    assert len(asked) == 2
    explain, names = "EXPLAIN QUERY PLAN ", ["ix_decision_denied"]
    if database.kind == "postgresql":
        explain = "EXPLAIN "
        with opened._reading.begin() as connection:  # the index of each month
            children = text("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = to_regclass(:name)")
            names = list(connection.execute(children, {"name": names[0]}).scalars())
    for statement, parameters in asked:
        with opened._reading.begin() as connection:
            plan = connection.exec_driver_sql(explain + statement, parameters).all()
        assert any(name in str(plan) for name in names), plan
