"""What is older than its rule is dropped, with all that follows from it, and the ledger still proves that it was."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import MetaData, Table, create_engine, delete, select, update

from controller.errors import ConfigurationError, InputError
from controller.inventory import tables
from controller.inventory.audit.verifying import Report
from controller.inventory.database import engines
from controller.inventory.index import reading
from controller.inventory.index.writing import OWN_ROWS
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.projecting import project
from controller.inventory.recording.projections import Remembered
from controller.inventory.retention import pruning
from controller.inventory.retention.holds import Hold
from controller.inventory.retention.leaves import Selection, ranges, retention_leaf
from controller.inventory.retention.pruning import Pruned
from controller.inventory.retention.recording import HoldRecorder
from controller.inventory.retention.rules import DataClass, Follows, Rule, follows, rules
from controller.inventory.store import Store, beside, rebuild
from controller.model.reference import Digest
from controller.settings import DocumentSettings, InventorySettings, Seconds
from tests.support.attested import attesting, bundle, spdx
from tests.support.inventory import (
    DIGEST,
    START,
    Clock,
    Database,
    blob,
    evaluation,
    excepted,
    image,
    leaf,
    postgres_database,
    sighting,
    soon,
    sqlite_database,
)

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
OTHER = "sha256:" + "99" * 32
DAY = 86400
KEEP = 30 * DAY


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return sqlite_database(tmp_path, blob_file_bytes=1000)
    server = request.getfixturevalue("server")
    return postgres_database(server, blob_file_bytes=1000, blob_directory=str(tmp_path / "blobs"))


@dataclasses.dataclass
class World:
    """An inventory whose clock goes on as its tests need it."""

    database: Database
    store: Store
    clock: Clock

    def at(self, day: float) -> datetime:
        """Go to this day after START."""
        self.clock.now = START + timedelta(days=day)
        return self.clock.now

    async def record(self, *leaves: dict[str, Any], blobs: dict[Digest, bytes] | None = None) -> None:
        for one in leaves:
            named = {digest: content for digest, content in (blobs or {}).items() if str(digest) in one["blobs"]}
            await self.store.writer.record(one, blobs=named, deadline=soon())

    def sequence(self) -> None:
        sequencer = self.store.sequencer(self.database.settings, signer=SIGNER, clock=self.clock)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass

    def prune(self, *, dry: bool = False, **keep: float) -> dict[str, tuple[int, int]]:
        """What was dropped of each class, and what a hold kept."""
        chosen = {f"retain_{name}": Seconds(seconds) for name, seconds in (keep or {"decisions": KEEP}).items()}
        settings = dataclasses.replace(self.database.settings, **chosen)  # type: ignore[arg-type]
        pruner = self.store.pruner(settings, signer=SIGNER, cluster="local", pause=lambda: False, clock=self.clock)
        found: list[Pruned] = pruner.foresee() if dry else pruner.prune()
        return {str(one.rule.what): (one.dropped, one.held) for one in found}

    def hold(self, name: str, what: Selection) -> None:
        with beside(self.database.settings) as (engine, blobs):
            recorder = HoldRecorder(engine, blobs, cluster="local", clock=self.clock)
            recorder.place(name, reason="a court asked", person="jane", what=what)

    def lift(self, name: str) -> None:
        with beside(self.database.settings) as (engine, blobs):
            recorder = HoldRecorder(engine, blobs, cluster="local", clock=self.clock)
            recorder.lift(name, reason="it is over", person="jane")

    def verify(self) -> Report:
        return self.store.verify(keys=[SIGNER.key()])

    def rows(self, table: Table) -> list[Any]:
        with self.store._reading.begin() as connection:
            return sorted(connection.execute(select(table)).all(), key=str)

    def count(self, table: Table) -> int:
        return len(self.rows(table))

    def ids(self) -> set[str]:
        return {row.id for row in self.rows(tables.leaf) if row.verdict in {"Allow", "Deny", "Started", "Ended", "Gap"}}

    def change(self, *statements: Any) -> None:
        """What somebody does who can write the database."""
        engine = create_engine(engines.parse(self.database.settings.url()))
        with engine.begin() as connection:
            for statement in statements:
                statement(connection) if callable(statement) else connection.execute(statement)
        engine.dispose()


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    clock = Clock()
    with database.open(clock) as store:
        yield World(database, store, clock)


def on(day: float, **changes: Any) -> dict[str, Any]:
    """A decision of this day after START."""
    return leaf(int(day * DAY), **changes)


async def filled(world: World) -> list[dict[str, Any]]:
    """Ten decisions, one a day, of every kind; recorded when they were made."""
    made = [
        on(
            day,
            evaluations=[evaluation(policy=f"policy-{day % 2}"), excepted(evaluation(), name=f"hotfix-{day}")],
            images=[image() | {"manifests": [OTHER]}],
            flags=["exempt"] if day % 2 else [],
            verdict="Deny" if day == 3 else "Allow",
        )
        for day in range(10)
    ]
    for day, one in enumerate(made):
        world.at(day)
        await world.record(one)
    world.sequence()
    return made


async def test_what_is_older_than_its_rule_goes_with_all_that_follows_from_it(world: World) -> None:
    made = await filled(world)
    world.at(KEEP / DAY + 4.5)
    assert world.prune(dry=True) == {"decisions": (5, 0)}
    assert len(world.ids()) == 10
    assert world.prune() == {"decisions": (5, 0)}
    kept = {one["id"] for one in made[5:]}
    assert world.ids() == kept
    assert {item.id for item in world.store.queries.decisions().items} == kept
    positions = {row.position for row in world.rows(tables.leaf)}
    for table in tables.PROJECTIONS:
        if follows(table) is Follows.LEAF:
            assert {row.leaf for row in world.rows(table)} <= positions, table.name
    assert world.prune() == {"decisions": (0, 0)}


@pytest.mark.guarantee(14)
async def test_guarantee_14_what_was_dropped_by_rule_is_told_from_what_somebody_removed(world: World) -> None:
    made = await filled(world)
    world.at(KEEP / DAY + 4.5)
    world.prune()
    report = world.verify()
    assert (report.findings, sum(report.dropped.values()), report.entries) == ([], 5, 10)
    world.sequence()
    report = world.verify()
    assert (report.findings, sum(report.dropped.values()), report.entries, report.waiting) == ([], 5, 11, 0)
    victim = next(row for row in world.rows(tables.leaf) if row.id == made[7]["id"])
    world.change(delete(tables.leaf).where(tables.leaf.c.position == victim.position))
    first = world.verify().findings[0]
    assert (first.code, first.where) == ("LeafRemoved", "ledger_entry 7")


@pytest.mark.guarantee(14)
async def test_guarantee_14_who_lacks_the_ledgers_key_cannot_say_that_it_was_dropped_by_rule(world: World) -> None:
    made = await filled(world)
    thief = NoteSigner.of_seed("assay.example/ledger", bytes(32))
    (entry,) = [row for row in world.rows(tables.ledger_entry) if row.number == 7]
    forged = retention_leaf(
        Rule(DataClass.DECISIONS, timedelta(days=30)),
        entries=[(entry.number, entry.digest)],
        evidence=(),
        carried={},
        cluster="local",
        at=world.clock.now,
        signer=thief,
    )
    world.change(delete(tables.leaf).where(tables.leaf.c.id == made[7]["id"]))
    await world.record(forged)
    codes = [finding.code for finding in world.verify().findings]
    assert codes[0] == "LeafRemoved"
    assert "RetentionInvalid" in codes


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_retention_record_that_says_more_than_was_signed_counts_nothing(world: World) -> None:
    await filled(world)
    world.at(KEEP / DAY + 4.5)
    world.prune()
    (record,) = [row for row in world.rows(tables.leaf) if row.verdict == "Dropped"]
    said = json.loads(record.canonical)
    assert said["entries"] == [[0, 4]]
    said["entries"] = [[0, 5]]
    changed = json.dumps(said, sort_keys=True, separators=(",", ":")).encode()
    world.change(update(tables.leaf).where(tables.leaf.c.position == record.position).values(canonical=changed))
    codes = {finding.code for finding in world.verify().findings}
    assert {"LeafRemoved", "RetentionInvalid"} <= codes


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_record_of_another_ledger_with_the_same_key_says_nothing_about_this_one(
    world: World,
) -> None:
    made = await filled(world)
    elsewhere = retention_leaf(
        Rule(DataClass.DECISIONS, timedelta(days=30)),
        entries=[(7, OTHER)],
        evidence=(),
        carried={},
        cluster="local",
        at=world.clock.now,
        signer=SIGNER,
    )
    world.change(delete(tables.leaf).where(tables.leaf.c.id == made[7]["id"]))
    await world.record(elsewhere)
    codes = [finding.code for finding in world.verify().findings]
    assert codes[0] == "LeafRemoved"
    assert "RetentionInvalid" in codes


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_dropped_record_that_is_put_back_is_named(world: World) -> None:
    made = await filled(world)
    before = {row.id: row for row in world.rows(tables.leaf)}
    world.at(KEEP / DAY + 4.5)
    world.prune()
    world.change(tables.leaf.insert().values(dict(before[made[2]["id"]]._mapping)))
    assert world.verify().findings[0].code == "LeafAdded"


async def test_a_facts_first_time_outlives_the_decision_that_found_it(world: World) -> None:
    await filled(world)
    known = world.store.queries.image(DIGEST)
    facts = {table.name: world.rows(table) for table in tables.PROJECTIONS if follows(table) is Follows.SHARED}
    assert known is not None
    world.at(KEEP / DAY + 4.5)
    world.prune()
    world.sequence()
    world.at(KEEP / DAY + 7.5)
    world.prune()  # again: what was carried once is not carried twice
    after = world.store.queries.image(DIGEST)
    assert after is not None
    assert after.signatures == known.signatures
    assert after.signatures[0].decided_at == START
    assert {name: world.rows(tables.metadata.tables[name]) for name in facts} == facts
    first, second = [json.loads(row.canonical) for row in world.rows(tables.leaf) if row.verdict == "Dropped"]
    sizes = sorted(sum(map(len, one["carried"].values())) for one in (first, second))
    assert sizes[0] < sizes[1]
    assert world.verify().findings == []


async def test_projections_are_made_again_from_what_is_left(database: Database) -> None:
    clock = Clock()
    with database.open(clock) as store:
        world = World(database, store, clock)
        await filled(world)
        world.at(KEEP / DAY + 4.5)
        third = Selection(namespace="shop", begins=START + timedelta(days=2), ends=START + timedelta(days=3))
        world.hold("case", third)
        world.sequence()
        assert world.prune() == {"decisions": (4, 1)}
        before = {table.name: world.rows(table) for table in tables.PROJECTIONS}
    rebuild(database.settings.url())
    with database.open(clock) as store:
        world = World(database, store, clock)
        assert {table.name: world.rows(table) for table in tables.PROJECTIONS} == before
        assert world.verify().findings == []


@pytest.mark.parametrize(
    ("what", "kept"),
    [
        (Selection(digest=DIGEST), {0, 1, 2, 3, 4}),
        (Selection(digest=OTHER), {0, 1, 2, 3, 4}),
        (Selection(digest="sha256:" + "77" * 32), set()),
        (Selection(namespace="shop"), {0, 1, 2, 3, 4}),
        (Selection(namespace="other"), set()),
        (Selection(begins=START + timedelta(days=3)), {3, 4}),
        (Selection(ends=START + timedelta(days=3)), {0, 1, 2}),
        (Selection(begins=START + timedelta(days=1), ends=START + timedelta(days=3)), {1, 2}),
        (Selection(namespace="other", begins=START), set()),
    ],
    ids=str,
)
async def test_a_hold_keeps_what_it_selects_until_it_is_lifted(world: World, what: Selection, kept: set[int]) -> None:
    made = await filled(world)
    world.at(KEEP / DAY + 4.5)
    world.hold("case 7", what)
    world.prune()
    assert {day for day in range(5) if made[day]["id"] in world.ids()} == kept
    world.lift("case 7")
    world.prune()
    assert world.ids() == {one["id"] for one in made[5:]}
    assert world.verify().findings == []


async def test_holds_are_told_as_of_any_day(world: World) -> None:
    placed = world.at(1)
    world.hold("case", Selection(namespace="shop"))
    lifted = world.at(2)
    world.lift("case")
    world.at(3)
    world.hold("case", Selection(namespace="bank"))
    holds = world.store.questions.holds
    (now,) = holds.holds()
    assert (now.what.namespace, now.by, now.reason) == ("bank", "jane", "a court asked")
    assert [hold.what.namespace for hold in holds.holds(as_of=placed)] == ["shop"]
    assert holds.holds(as_of=lifted) == ()
    assert [(hold.what.namespace, hold.lifted_at) for hold in holds.holds(lifted=True)] == [
        ("shop", lifted),
        ("bank", None),
    ]
    assert holds.holds(known_at=START) == ()


@pytest.mark.parametrize(
    ("name", "what", "code"),
    [
        ("case", Selection(), "HoldMalformed"),
        ("", Selection(namespace="shop"), "HoldMalformed"),
        ("a\nb", Selection(namespace="shop"), "HoldMalformed"),
        ("x" * 101, Selection(namespace="shop"), "HoldMalformed"),
        ("case", Selection(digest="latest"), "DigestMalformed"),
        ("case", Selection(begins=START, ends=START), "HoldMalformed"),
    ],
)
def test_a_hold_that_says_nothing_is_refused(world: World, name: str, what: Selection, code: str) -> None:
    with pytest.raises(InputError, match=code):
        world.hold(name, what)
    assert world.count(tables.legal_hold) == 0


def test_a_hold_is_placed_once_and_lifted_once(world: World) -> None:
    world.hold("case", Selection(namespace="shop"))
    with pytest.raises(InputError, match="HoldExists"):
        world.hold("case", Selection(namespace="bank"))
    world.lift("case")
    with pytest.raises(InputError, match="HoldUnknown"):
        world.lift("case")


async def test_nothing_without_a_number_is_dropped(world: World) -> None:
    await filled(world)
    late = on(1)
    await world.record(late)
    world.at(KEEP / DAY + 20)
    assert world.prune() == {"decisions": (10, 0)}
    assert world.ids() == {late["id"]}
    world.sequence()
    assert world.prune() == {"decisions": (1, 0)}
    assert world.verify().findings == []


async def test_what_was_recorded_late_is_kept_from_then_on(world: World) -> None:
    world.at(10)
    late = on(1)
    await world.record(late)
    world.sequence()
    world.at(KEEP / DAY + 5)
    assert world.prune() == {"decisions": (0, 0)}
    world.at(KEEP / DAY + 10.5)
    assert world.prune() == {"decisions": (1, 0)}


def run(what: str, day: float, pod: str, **more: Any) -> dict[str, Any]:
    return sighting(what, int(day * DAY), uid=pod, id=f"containerd://{pod}", **more)


async def test_a_run_that_goes_on_and_what_admitted_it_are_never_dropped(world: World) -> None:
    goes_on, ended = on(0), on(0)
    for one, pod in ((goes_on, "pod-a"), (ended, "pod-b")):
        one["object"]["uid"] = pod
    start = (START + timedelta(days=1)).strftime(tables.INSTANT_FORMAT)
    started = [run("Started", 1, "pod-a"), run("Started", 1, "pod-b")]
    end = run("Ended", 5, "pod-b", startedAt=start)
    for day, one in ((0, goes_on), (0, ended), (1, started[0]), (1, started[1]), (5, end)):
        world.at(day)
        await world.record(one)
    world.sequence()
    both = {"decisions": KEEP, "sightings": KEEP}
    world.at(KEEP / DAY + 4)  # the run of pod-b has ended too late for its decision to go
    assert world.prune(**both) == {"sightings": (0, 0), "decisions": (0, 0)}
    world.at(KEEP / DAY + 400)
    assert world.prune(dry=True, **both)["sightings"] == (2, 0)
    assert world.prune(**both) == {"sightings": (2, 0), "decisions": (1, 0)}
    assert world.ids() == {goes_on["id"], started[0]["id"]}
    assert [row.pod_uid for row in world.rows(tables.run)] == ["pod-a"]
    assert world.verify().findings == []


async def test_when_nobody_watched_goes_with_the_sightings_and_a_hold_of_the_time_keeps_it(world: World) -> None:
    gap = sighting("Gap", DAY)
    await world.record(gap)
    world.sequence()
    world.at(KEEP / DAY + 2)
    world.hold("case", Selection(ends=START + timedelta(hours=1)))
    assert world.prune(sightings=KEEP) == {"sightings": (0, 1)}
    world.lift("case")
    assert world.prune(sightings=KEEP) == {"sightings": (1, 0)}


def files(folder: Path) -> list[str]:
    return [f"{path.parent.name}{path.name}" for path in folder.rglob("sha256/*/*")]


async def test_evidence_goes_when_no_kept_record_names_it_and_its_file_with_it(world: World, tmp_path: Path) -> None:
    large = random.Random(1).randbytes(4000)  # noqa: S311 - bytes that nothing makes smaller
    blobs = dict(map(blob, (b"of the old one alone", b"of both", large)))
    alone, shared, filed = map(str, blobs)
    old, new = on(0, blobs=sorted([alone, shared, filed])), on(20, blobs=[shared])
    await world.record(old, blobs=blobs)
    world.at(20)
    await world.record(new, blobs=blobs)
    world.sequence()
    both = {"decisions": KEEP, "evidence": KEEP}
    world.at(KEEP / DAY + 1)
    assert world.prune(**both) == {"decisions": (1, 0), "evidence": (2, 0)}
    assert {row.digest for row in world.rows(tables.blob)} == {shared}
    assert files(tmp_path) == []
    assert world.verify().findings == []
    said = [json.loads(row.canonical) for row in world.rows(tables.leaf) if row.verdict == "Dropped"]
    assert sorted(name for one in said for name in one["evidence"]) == sorted([alone, filed])
    # What the writer remembers of it has gone stale long before: the bytes are taken again, and not missed.
    await world.record(on(50, blobs=[filed]), blobs=blobs)
    assert world.store.queries.blob(filed) == large
    assert world.verify().findings == []


async def test_evidence_that_a_record_names_meanwhile_stays(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, content = blob(b"named again just now")
    old, again = on(0, blobs=[str(digest)]), on(40, blobs=[str(digest)])
    await world.record(old, blobs={digest: content})
    world.sequence()
    world.at(40)
    unnamed = pruning._unnamed

    def while_it_looks(*arguments: Any) -> Any:
        found = list(unnamed(*arguments))
        with beside(world.database.settings) as (engine, blobs), engine.begin() as connection:
            append(connection, [Record(project(again), {})], now=world.clock.now, remembered=Remembered(), blobs=blobs)
        return iter(found)

    monkeypatch.setattr(pruning, "_unnamed", while_it_looks)
    assert world.prune(decisions=KEEP, evidence=KEEP) == {"decisions": (1, 0), "evidence": (0, 0)}
    assert world.store.queries.blob(str(digest)) == content


async def test_a_file_that_a_crash_left_behind_is_swept(world: World, tmp_path: Path) -> None:
    digest, content = blob(random.Random(2).randbytes(4000))  # noqa: S311 - bytes, not secrets
    await world.record(on(0, blobs=[str(digest)]), blobs={digest: content})
    orphan, _ = blob(b"nobody names it")
    world.store._blobs._files.write(orphan, b"nobody names it")  # type: ignore[union-attr]
    assert len(files(tmp_path)) == 2
    world.prune()
    assert files(tmp_path) == [digest.hex]


async def test_a_dropped_entry_is_proven_as_before(world: World) -> None:
    await filled(world)
    bundle = world.store.ledger.tile("tile/entries/000.p/10")
    world.at(KEEP / DAY + 4.5)
    world.prune()
    world.sequence()
    proof = world.store.ledger.prove_entry(2)
    assert proof is not None
    assert (proof.index, proof.size) == (2, 11)
    assert world.store.ledger.tile("tile/entries/000.p/10") == bundle


def test_every_table_has_a_class_of_retention() -> None:
    for table in tables.metadata.sorted_tables:
        assert follows(table)
    of_documents = {table for table in tables.metadata.sorted_tables if follows(table) is Follows.BLOB}
    assert of_documents == {tables.blob, tables.document, *OWN_ROWS}
    with pytest.raises(LookupError, match="newcomer"):
        follows(Table("newcomer", MetaData()))


def test_less_than_a_week_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="retain_decisions"):
        rules(InventorySettings(retain_decisions=Seconds(3600)))
    assert rules(InventorySettings()) == ()


def test_numbers_become_ranges() -> None:
    assert ranges([5, 1, 2, 3, 9]) == [(1, 3), (5, 5), (9, 9)]
    assert ranges([]) == []


def test_a_hold_covers_what_meets_its_time() -> None:
    hold = Hold("case", "why", "jane", START, Selection(begins=START, ends=START + timedelta(days=1)), "record")
    before, within, after = (START + timedelta(hours=hours) for hours in (-2, 2, 48))
    for begins, ends, kept in (
        (before, before, False),
        (before, within, True),
        (before, after, True),
        (within, within, True),
        (after, after, False),
        (before, None, True),
        (after, None, False),
    ):
        assert hold.keeps(namespace="", digests=(), begins=begins, ends=ends) is kept


async def test_a_document_that_is_dropped_while_it_is_indexed_anew_leaves_nothing(world: World) -> None:
    """An upgrade reads all documents again, while what is old is dropped."""
    content = bundle(spdx(*(f"pkg:npm/p{number}@1.0.0" for number in range(5000))))
    decision, blobs = attesting(content)
    await world.record(decision, blobs=blobs)
    indexer(world).step()
    world.sequence()
    world.change(update(tables.document).values(edition=0))
    world.at(50)
    dropped: list[dict[str, tuple[int, int]]] = []

    def drop(_seconds: float) -> None:
        is_begun = [row.edition for row in world.rows(tables.document)] not in ([0], [])
        if is_begun and world.count(tables.sbom_component) and not dropped:
            dropped.append({})
            dropped.append(world.prune(decisions=KEEP, evidence=KEEP))

    again = indexer(world, pace=drop)
    while again.step().more:
        pass
    assert dropped[1]["evidence"][0] > 0
    assert world.count(tables.document) == world.count(tables.sbom_component) == 0
    assert not world.verify().findings


async def test_what_was_dropped_and_is_recorded_again_is_indexed_again(world: World) -> None:
    """By the process that indexed it before, which looks at what is new: this is as old as it was."""
    content = bundle(spdx("pkg:npm/left-pad@1.0.0"))
    following = indexer(world)
    decision, blobs = attesting(content)
    await world.record(decision, blobs=blobs)
    follow(following)
    world.sequence()
    world.at(50)
    follow(following)
    world.prune(decisions=KEEP, evidence=KEEP)
    follow(following)
    assert world.count(tables.document) == 0
    world.at(51)
    decision, blobs = attesting(content, number=51 * DAY)
    await world.record(decision, blobs=blobs)
    follow(following)
    assert world.count(tables.sbom_component) == 1
    assert not world.verify().findings


def follow(following: Any) -> None:
    while following.step().more:
        pass


def indexer(world: World, **more: Any) -> Any:
    return world.store.indexer(
        world.database.settings,
        read=lambda content: reading.read(content, DocumentSettings()),
        clock=world.clock,
        **more,
    )
