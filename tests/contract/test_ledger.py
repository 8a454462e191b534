"""The ledger over both databases: what is recorded gets its number, and nothing can be changed afterwards unseen."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, delete, func, insert, select, text, update
from sqlalchemy.exc import OperationalError

from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.audit.verifying import Kept, Report
from controller.inventory.blobs.store import Blobs
from controller.inventory.canonical import canonical
from controller.inventory.database import engines
from controller.inventory.ledger import keeping, merkle, notes, sequencing, tiles
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.keeping import CHECKPOINT, LedgerKeeper
from controller.inventory.ledger.merkle import leaf_hash
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.ledger.sequencing import LedgerError, Sequencer
from controller.inventory.recording import projections
from controller.inventory.recording.append import Record, append
from controller.inventory.recording.projecting import project
from controller.inventory.recording.projections import Remembered
from controller.inventory.retention.leaves import Selection
from controller.inventory.retention.recording import HoldRecorder
from controller.inventory.store import Store, beside
from controller.model.reference import Digest
from tests.support import postgres
from tests.support.inventory import (
    START,
    Clock,
    Database,
    blob,
    evaluation,
    excepted,
    leaf,
    postgres_database,
    soon,
    sqlite_database,
)

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
COUNT = 300  # leaves: one full tile and a part of the next


@dataclasses.dataclass
class Ledger:
    """An inventory with its sequencer."""

    database: Database
    store: Store
    sequencer: Sequencer
    clock: Clock
    leaves: list[dict[str, Any]]

    async def record(self, count: int, **changes: Any) -> None:
        first = len(self.leaves)
        new = [leaf(number, **changes) for number in range(first, first + count)]
        self.leaves += new
        await asyncio.gather(*(self.store.writer.record(item, blobs={}, deadline=soon()) for item in new))

    def sequence(self, sequencer: sequencing.Sequencer | None = None) -> int:
        """All that waits, in as many transactions as that takes."""
        while (done := (sequencer or self.sequencer).sequence()).more:
            pass
        return done.size

    def checkpoint(self) -> Checkpoint:
        note = self.store.ledger.checkpoint()
        assert note is not None
        text, _ = notes.open_note(note.encode(), [SIGNER.key()])
        return Checkpoint.parse(text)

    def verify(self, *kept: str) -> Report:
        return self.store.verify(keys=[SIGNER.key()], kept=[Kept("kept", note.encode()) for note in kept])

    def change(self, *statements: Any) -> None:
        """What somebody does who can write the database."""
        engine = create_engine(engines.parse(self.database.settings.url()))
        with engine.begin() as connection:
            for statement in statements:
                statement(connection) if callable(statement) else connection.execute(statement)
        engine.dispose()


@contextlib.contextmanager
def opened(database: Database) -> Iterator[Ledger]:
    clock = Clock()
    with database.open(clock) as store:
        sequencer = store.sequencer(database.settings, signer=SIGNER, clock=clock)
        sequencer.take_over()
        yield Ledger(database, store, sequencer, clock, [])


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    with opened(database) as ledger:
        yield ledger


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def sound(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A ledger of COUNT leaves in which nothing is wrong, and which nobody has open."""
    if request.param == "sqlite":
        database = sqlite_database(tmp_path_factory.mktemp("sound"))
    else:
        database = postgres_database(request.getfixturevalue("server"))
    with opened(database) as ledger:
        asyncio.run(ledger.record(COUNT))
        ledger.sequence()
        report = ledger.verify()
        assert (report.findings, report.entries, report.signed) == ([], COUNT, COUNT)
    return database


@pytest.fixture
def tampered(request: pytest.FixtureRequest, sound: Database, tmp_path: Path) -> Iterator[Ledger]:
    """A copy of the sound one, to tamper with: making and verifying one takes as long as the test."""
    url = sound.settings.database_url
    if sound.kind == "sqlite":
        shutil.copytree(Path(url.removeprefix("sqlite:///")).parent, tmp_path, dirs_exist_ok=True)
        with opened(sqlite_database(tmp_path)) as ledger:
            yield ledger
        return
    server: postgres.Postgres = request.getfixturevalue("server")
    server.wait_for_nobody(url)
    copy = server.copy_of(url)
    with opened(dataclasses.replace(sound, settings=dataclasses.replace(sound.settings, database_url=copy))) as ledger:
        yield ledger
    server.drop(copy)


async def test_what_is_recorded_gets_its_number_once_and_in_order(ledger: Ledger) -> None:
    assert ledger.store.ledger.checkpoint() is None
    assert ledger.sequence() == 0
    await ledger.record(5)
    assert ledger.store.ledger.extent().waiting == 5
    assert ledger.sequence() == 5
    await ledger.record(COUNT)
    assert ledger.sequence() == COUNT + 5
    assert ledger.sequence() == COUNT + 5
    assert ledger.checkpoint().size == COUNT + 5
    assert ledger.store.ledger.extent() == dataclasses.replace(ledger.store.ledger.extent(), waiting=0, since=None)
    with ledger.store._reading.begin() as connection:
        rows = connection.execute(select(tables.ledger_entry).order_by(tables.ledger_entry.c.number)).all()
    assert [row.number for row in rows] == list(range(COUNT + 5))
    assert [row.leaf for row in rows] == sorted({row.leaf for row in rows})
    report = ledger.verify()
    assert (report.findings, report.entries, report.signed, report.kept) == ([], COUNT + 5, COUNT + 5, 0)


async def test_every_record_is_proven_by_a_signed_checkpoint(ledger: Ledger) -> None:
    await ledger.record(COUNT)
    ledger.sequence()
    checkpoint = ledger.checkpoint()
    for item in (ledger.leaves[0], ledger.leaves[-1], ledger.leaves[COUNT // 2]):
        proof = ledger.store.ledger.prove(item["id"])
        assert proof is not None
        assert proof.size == checkpoint.size == COUNT
        assert merkle.verify_inclusion(leaf_hash(proof.entry), proof.index, proof.size, proof.hashes, checkpoint.root)
        decision = ledger.store.queries.decision(item["id"])
        assert decision is not None
        assert str(Digest.of(decision.canonical)) in proof.entry.decode()
    assert ledger.store.ledger.prove("nothing") is None
    await ledger.record(1)
    assert ledger.store.ledger.prove(ledger.leaves[-1]["id"]) is None


async def test_tiles_are_served_as_the_specification_has_them(ledger: Ledger) -> None:
    await ledger.record(COUNT)
    ledger.sequence()
    read = ledger.store.ledger.tile
    full, rest = read("tile/0/000"), read(f"tile/0/001.p/{COUNT - 256}")
    assert full is not None
    assert rest is not None
    frontier = merkle.Frontier().append(tiles.hashes_of(full)).append(tiles.hashes_of(rest))
    assert frontier.root() == ledger.checkpoint().root
    assert read("tile/1/000.p/1") == merkle.Frontier().append(tiles.hashes_of(full)).root()
    entries = read("tile/entries/000")
    assert entries is not None
    assert [leaf_hash(entry) for entry in tiles.entries_of(entries)] == tiles.hashes_of(full)
    assert read("tile/0/001.p/1") == rest[:32]
    assert read("tile/0/001") is None
    assert read(f"tile/0/001.p/{COUNT - 255}") is None
    assert read("tile/3/000.p/1") is None
    for path in ("tile/0/1", "checkpoint", "tile/0/000.p/0", "../etc/passwd"):
        with pytest.raises(InputError) as caught:
            read(path)
        assert caught.value.code == "TileUnknown"


async def test_a_ledger_grows_the_same_whoever_sequences_it(ledger: Ledger) -> None:
    await ledger.record(COUNT)
    ledger.sequence()
    before = ledger.checkpoint()
    successor = ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock)
    successor.take_over()
    await ledger.record(COUNT)
    with pytest.raises(LedgerError) as caught:
        ledger.sequencer.sequence()
    assert caught.value.code == "LedgerTaken"
    assert ledger.sequence(successor) == 2 * COUNT
    with ledger.store._reading.begin() as connection:
        nodes = tiles.nodes_in(sequencing.tile_reader(connection, 2 * COUNT))
        proof = merkle.consistency_proof(COUNT, 2 * COUNT, nodes)
    after = ledger.checkpoint()
    assert merkle.verify_consistency(COUNT, 2 * COUNT, proof, before.root, after.root)
    assert ledger.verify(_note(before)).kept == COUNT
    successor.check(before)


async def test_a_batch_that_is_full_says_that_more_waits(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequencing, "MAX_BATCH", 7)
    await ledger.record(20)
    assert ledger.sequencer.sequence() == sequencing.Sequenced(7, 7, more=True)
    assert ledger.sequence() == 20
    assert ledger.verify().findings == []


def _append(connection: Connection, value: dict[str, Any]) -> None:
    append(connection, [Record(project(value), {})], now=START, remembered=Remembered(), blobs=Blobs())


def _append_as_older_versions_do(connection: Connection, value: dict[str, Any]) -> None:
    row = {"id": value["id"], "decision_key": value["decisionKey"], "verdict": "Allow", "recorded_at": START}
    connection.execute(insert(_LEAF).values(canonical=b"", **row))


@pytest.mark.parametrize("way", [_append, _append_as_older_versions_do])
async def test_numbering_does_not_wait_for_a_writer_that_was_frozen_while_all_others_wait_behind_it(
    server: postgres.Postgres, way: Callable[[Connection, dict[str, Any]], None]
) -> None:
    database = postgres_database(server)
    with database.open() as store:
        await store.writer.record(leaf(0), blobs={}, deadline=soon())
        sequencer = store.sequencer(database.settings, signer=SIGNER)
        sequencer.take_over()
        engine = engines.writing_engine(engines.parse(database.settings.url()))
        with engine.begin() as frozen:
            way(frozen, leaf(9))
            looking = asyncio.create_task(asyncio.to_thread(sequencer.sequence))
            await asyncio.sleep(0.3)
            before = time.monotonic()
            await store.writer.record(leaf(1), blobs={}, deadline=soon())
            assert time.monotonic() - before < sequencing.PATIENCE * 5
            with pytest.raises(OperationalError):
                await looking
        assert sequencer.sequence().size == 3  # none that was under way was passed over
        engine.dispose()


async def test_neither_numbering_nor_a_hold_waits_for_postgresqls_vacuum(server: postgres.Postgres) -> None:
    database = postgres_database(server)
    with database.open() as store:
        await store.writer.record(leaf(0), blobs={}, deadline=soon())
        sequencer = store.sequencer(database.settings, signer=SIGNER)
        sequencer.take_over()
        engine = engines.writing_engine(engines.parse(database.settings.url()))
        with engine.begin() as vacuum:
            vacuum.execute(text("LOCK TABLE leaf, blob IN SHARE UPDATE EXCLUSIVE MODE"))  # what a vacuum takes
            assert sequencer.sequence().size == 1
            with beside(database.settings) as (writing, blobs):
                holds = HoldRecorder(writing, blobs, cluster="local", clock=lambda: START)
                holds.place("case", reason="court", person="jane", what=Selection(namespace="shop"))
            assert sequencer.sequence().size == 2
        engine.dispose()


async def test_looking_at_everything_takes_what_it_takes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    await ledger.record(COUNT)
    ledger.sequence()
    ledger.store._reading.dispose()
    monkeypatch.setattr(engines, "READ_TIMEOUT", 0.001)
    monkeypatch.setattr(engines, "PROGRESS_STEPS", 500)
    assert ledger.verify().entries == COUNT


async def test_of_old_checkpoints_the_last_of_each_hour_is_kept(ledger: Ledger) -> None:
    for minutes in (0, 10, 50, 70, 80, 200):
        ledger.clock.now = START + timedelta(minutes=minutes)
        await ledger.record(1)
        ledger.sequence()
    with ledger.store._reading.begin() as connection:
        sizes = connection.execute(select(tables.ledger_checkpoint.c.size).order_by("size")).scalars().all()
    assert sizes == [3, 5, 6]
    assert ledger.verify().signed == 6


def _note(checkpoint: Checkpoint, signer: NoteSigner = SIGNER) -> str:
    return notes.note(checkpoint.text(), [signer.sign(checkpoint.text())])


def _first(report: Report) -> tuple[str, str]:
    assert report.findings, "nothing was found"
    return report.findings[0].code, report.findings[0].where


def _flip(table: Any, column: str, where: Any) -> Callable[[Connection], None]:
    """Change one bit of the bytes in a row."""

    def change(connection: Connection) -> None:
        content = bytearray(connection.execute(select(table.c[column]).where(where)).scalar_one())
        content[len(content) // 2] ^= 1
        connection.execute(update(table).where(where).values({column: bytes(content)}))

    return change


def _swap(connection: Connection, one: int = 10, other: int = 20) -> None:
    """Exchange what two numbers stand for."""
    entry = tables.ledger_entry
    rows = connection.execute(select(entry).where(entry.c.number.in_([one, other])).order_by(entry.c.number)).all()
    connection.execute(delete(entry).where(entry.c.number.in_([one, other])))
    for row, number in zip(rows, (other, one), strict=True):
        connection.execute(insert(entry).values({**row._mapping, "number": number}))


def _cut_off(connection: Connection) -> None:
    """Take the last entries out, and have the ledger's state say that there never were more."""
    entry, state = tables.ledger_entry, tables.ledger_state
    connection.execute(delete(entry).where(entry.c.number >= COUNT - 3))
    last = select(func.max(entry.c.leaf)).scalar_subquery()
    connection.execute(update(state).values(size=COUNT - 3, leaf=last))


def _rewrite(connection: Connection) -> None:
    """Change a leaf and its entry together, so that these two agree."""
    entry, row = tables.ledger_entry, tables.leaf
    (position,) = connection.execute(select(entry.c.leaf).where(entry.c.number == 42)).scalars()
    content = json.loads(connection.execute(select(row.c.canonical).where(row.c.position == position)).scalar_one())
    content["object"]["name"] = "another"
    changed = canonical(content)
    connection.execute(update(row).where(row.c.position == position).values(canonical=changed))
    connection.execute(update(entry).where(entry.c.number == 42).values(digest=str(Digest.of(changed))))


_ENTRY, _LEAF = tables.ledger_entry, tables.leaf
_POSITION = select(_ENTRY.c.leaf).where(_ENTRY.c.number == 42).scalar_subquery()
_DECISION, _IMAGE = tables.decision, tables.decision_image

TAMPERING: dict[str, tuple[Any, str, str]] = {
    "a bit of a leaf": (
        _flip(_LEAF, "canonical", _LEAF.c.position == _POSITION),
        "LeafChanged",
        "ledger_entry 42, leaf",
    ),
    "a leaf's verdict": (
        update(_LEAF).where(_LEAF.c.position == _POSITION).values(verdict="Deny"),
        "LeafChanged",
        "ledger_entry 42, leaf",
    ),
    "when a leaf was recorded": (
        update(_LEAF).where(_LEAF.c.position == _POSITION).values(recorded_at=START - timedelta(days=1)),
        "LeafChanged",
        "ledger_entry 42, leaf",
    ),
    "a leaf is removed": (delete(_LEAF).where(_LEAF.c.position == _POSITION), "LeafRemoved", "ledger_entry 42"),
    "an entry's digest": (
        update(_ENTRY).where(_ENTRY.c.number == 42).values(digest="sha256:" + "0" * 64),
        "LeafChanged",
        "ledger_entry 42, leaf",
    ),
    "an entry is removed": (delete(_ENTRY).where(_ENTRY.c.number == 42), "EntryRemoved", "ledger_entry 42"),
    "two entries are swapped": (_swap, "EntryChanged", "ledger_entry 10"),
    "an entry with its leaf": (_rewrite, "EntryChanged", "ledger_entry 42"),
    "a bit of a tile": (
        _flip(tables.ledger_tile, "content", (tables.ledger_tile.c.level == 0) & (tables.ledger_tile.c.number == 0)),
        "TileChanged",
        "tile/0/000",
    ),
    "a tile is removed": (
        delete(tables.ledger_tile).where(tables.ledger_tile.c.level == 1),
        "TileRemoved",
        "tile/1/000.p/1",
    ),
    "a checkpoint's note": (
        update(tables.ledger_checkpoint).values(note=_note(Checkpoint(SIGNER.name, COUNT, bytes(32)))),
        "RootMismatch",
        f"ledger_checkpoint {COUNT}",
    ),
    "a checkpoint by another key": (
        update(tables.ledger_checkpoint).values(
            note=_note(Checkpoint(SIGNER.name, COUNT, bytes(32)), NoteSigner.of_seed(SIGNER.name, bytes(32)))
        ),
        "CheckpointInvalid",
        f"ledger_checkpoint {COUNT}",
    ),
    "the end is cut off": (
        delete(_ENTRY).where(_ENTRY.c.number >= COUNT - 3),
        "EntryRemoved",
        f"ledger_entry {COUNT - 3}",
    ),
    "the end is cut off, and so it says": (
        _cut_off,
        "LedgerCut",
        f"ledger_checkpoint {COUNT}",
    ),
    "two entries of the last tile are swapped": (
        lambda connection: _swap(connection, 260, 280),
        "EntryChanged",
        "ledger_entry 260",
    ),
    "the newest checkpoint is removed": (
        delete(tables.ledger_checkpoint),
        "CheckpointRemoved",
        f"ledger_checkpoint {COUNT}",
    ),
    "a decision's user": (
        update(_DECISION).where(_DECISION.c.leaf == _POSITION).values(username="somebody"),
        "ProjectionChanged",
        "table decision,",
    ),
    "an image's row is removed": (
        delete(_IMAGE).where(_IMAGE.c.leaf == _POSITION),
        "ProjectionChanged",
        "table decision_image,",
    ),
    "a finding is added": (
        lambda connection: connection.execute(
            insert(tables.verification).values(
                dict(connection.execute(select(tables.verification).limit(1)).mappings().one()) | {"fact": "f" * 64}
            )
        ),
        "ProjectionChanged",
        f"table verification, {'f' * 64}",
    ),
    "since when a policy is known": (
        update(tables.policy_version).values(decided_at=START - timedelta(days=9)),
        "ProjectionChanged",
        "table policy_version,",
    ),
}


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("what", TAMPERING)
def test_guarantee_14_what_was_changed_removed_or_moved_is_named(tampered: Ledger, what: str) -> None:
    tampering, code, where = TAMPERING[what]
    tampered.change(tampering)
    report = tampered.verify()
    found_code, found_where = _first(report)
    assert (found_code, found_where[: len(where)]) == (code, where), report.findings[:3]


@pytest.mark.guarantee(14)
def test_guarantee_14_a_leaf_that_is_slipped_in_is_named(tampered: Ledger) -> None:
    slipped = {"id": "slipped", "decision_key": "k", "verdict": "Allow", "canonical": b"{}", "recorded_at": START}
    tampered.change(insert(_LEAF).values(slipped | {"position": 0}))
    report = tampered.verify()
    assert _first(report) == ("LeafAdded", "leaf slipped")
    assert ("LeafUnreadable", "leaf slipped") in [(finding.code, finding.where) for finding in report.findings]


@pytest.mark.guarantee(14)
def test_guarantee_14_who_makes_all_hashes_anew_lacks_the_signature(tampered: Ledger) -> None:
    """He changes a leaf, and its entry, and every tile above it: what is left to contradict him is what was signed."""
    kept = tampered.store.ledger.checkpoint()
    assert kept is not None
    forged = NoteSigner.of_seed(SIGNER.name, bytes(32))  # the right name, and a key of his own

    def rewrite(connection: Connection) -> None:
        connection.execute(delete(_LEAF).where(_LEAF.c.position == _POSITION))
        for table in (*tables.LEDGER[:3], *tables.PROJECTIONS):
            connection.execute(delete(table))
        connection.execute(update(tables.ledger_state).values(size=0, leaf=0))

    tampered.change(rewrite)
    sequencer = tampered.store.sequencer(tampered.database.settings, signer=forged, clock=tampered.clock)
    sequencer.take_over()
    tampered.sequence(sequencer)
    found = [(finding.code, finding.where) for finding in tampered.verify(kept).findings]
    assert ("CheckpointInvalid", f"ledger_checkpoint {COUNT - 1}") in found
    assert ("LedgerCut", "kept") in found


def _put_back(size: int, note: str) -> Callable[[Connection], None]:
    """A backup that is put back, or somebody with the key: it is what it was (of one tile), and goes on otherwise."""

    def back(connection: Connection) -> None:
        last = connection.execute(select(func.max(_ENTRY.c.leaf)).where(_ENTRY.c.number < size)).scalar_one()
        for table in (_DECISION, _IMAGE, tables.evaluation):
            connection.execute(delete(table).where(table.c.leaf > last))
        connection.execute(delete(_LEAF).where(_LEAF.c.position > last))
        connection.execute(delete(_ENTRY).where(_ENTRY.c.number >= size))
        content = func.substr(tables.ledger_tile.c.content, 1, 32 * size)
        connection.execute(update(tables.ledger_tile).values(content=content))
        connection.execute(delete(tables.ledger_checkpoint))
        checkpoint = {"size": size, "note": note, "signed_at": START}
        connection.execute(insert(tables.ledger_checkpoint).values(checkpoint))
        connection.execute(update(tables.ledger_state).values(size=size, leaf=last))

    return back


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_cut_end_and_a_fork_show_by_a_checkpoint_kept_elsewhere(ledger: Ledger) -> None:
    await ledger.record(10)
    ledger.sequence()
    early = ledger.store.ledger.checkpoint()
    await ledger.record(10)
    ledger.sequence()
    late = ledger.store.ledger.checkpoint()
    assert early is not None
    assert late is not None
    assert ledger.verify(early, late).findings == []
    assert ledger.verify(early, late).kept == 20

    ledger.change(_put_back(10, early))
    assert ledger.verify(early).findings == []  # nothing in the database contradicts it
    (finding,) = ledger.verify(late).findings
    assert (finding.code, finding.where) == ("LedgerCut", "kept")
    successor = ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock)
    successor.take_over()
    with pytest.raises(LedgerError) as caught:
        successor.check(Checkpoint.parse(notes.split(late.encode())[0]))
    assert caught.value.code == "LedgerForked"
    await ledger.record(12)
    successor.sequence()
    (finding,) = ledger.verify(late).findings
    assert (finding.code, finding.where) == ("LedgerForked", "kept")
    with pytest.raises(LedgerError) as caught:
        successor.check(Checkpoint.parse(notes.split(late.encode())[0]))
    assert caught.value.code == "LedgerForked"


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("when", ["while it is written", "before it is written first"])
async def test_guarantee_14_a_ledger_that_was_put_back_under_its_writer_is_not_forked(
    ledger: Ledger, when: str
) -> None:
    await ledger.record(10)
    ledger.sequence()
    early = ledger.sequencer.signed
    await ledger.record(10)
    ledger.sequence()
    late = ledger.sequencer.signed
    writer = ledger.sequencer
    if when == "before it is written first":
        writer = ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock)
        writer.check(Checkpoint.parse(notes.split(late.encode())[0]))
        writer.take_over()
    ledger.change(_put_back(10, early))
    await ledger.record(5)
    for _ in range(2):
        with pytest.raises(LedgerError):
            writer.sequence()
    assert ledger.store.ledger.extent().size == 10
    assert ledger.store.ledger.checkpoint() == early


@pytest.mark.guarantee(14)
async def test_guarantee_14_what_is_kept_outside_of_the_database_is_not_taken_from_it(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who can write the database can have it say that an older checkpoint, truly signed, was the last."""
    monkeypatch.setattr(keeping, "PATIENCE", 0.0)
    monkeypatch.setattr(keeping, "RETRY", 0.05)
    kept = tmp_path / "kept"
    kept.mkdir()

    def keep() -> LedgerKeeper:
        sequencer = ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock)
        return LedgerKeeper(sequencer, ledger.store.ledger, directory=kept, interval=0.1, clock=ledger.clock)

    def until(holds: Callable[[], bool]) -> None:
        end = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.02)

    def size() -> int:
        return Checkpoint.parse(notes.split((kept / CHECKPOINT).read_bytes())[0]).size

    await ledger.record(10)
    keeper = keep()
    until(lambda: (kept / CHECKPOINT).exists() and size() == 10)
    early = (kept / CHECKPOINT).read_text()
    await ledger.record(10)
    until(lambda: size() == 20)
    ledger.change(_put_back(10, early))
    await asyncio.sleep(0.3)
    assert size() == 20
    await ledger.record(5)
    until(lambda: "shorter than it was" in caplog.text)
    keeper.close()
    keeper = keep()
    await asyncio.sleep(0.3)
    keeper.close()
    assert size() == 20
    assert ledger.store.ledger.checkpoint() == early  # nothing else was signed


@pytest.mark.guarantee(14)
async def test_guarantee_14_raw_evidence_is_held_against_its_hash(ledger: Ledger) -> None:
    digest, content = blob(b"evidence")
    value = leaf(0, blobs=[str(digest)])
    await ledger.store.writer.record(value, blobs={digest: content}, deadline=soon())
    ledger.sequence()
    report = ledger.verify()
    assert (report.findings, report.blobs) == ([], 1)
    ledger.change(_flip(tables.blob, "content", tables.blob.c.digest == str(digest)))
    assert _first(ledger.verify()) == ("BlobChanged", f"blob {digest}")
    ledger.change(delete(tables.blob))
    (finding,) = ledger.verify().findings
    assert (finding.code, finding.where) == ("BlobRemoved", f"blob {digest}")
    assert value["id"] in finding.message


async def test_facts_of_many_leaves_are_compared_with_the_earliest_of_their_times(ledger: Ledger) -> None:
    ledger.clock.now = START + timedelta(hours=2)
    await ledger.record(3)
    ledger.clock.now = START + timedelta(hours=1)
    await ledger.record(3, evaluations=[evaluation(policy="another"), evaluation()])
    ledger.sequence()
    assert ledger.verify().findings == []


def _raw(statement: str, **values: Any) -> Callable[[Connection], None]:
    return lambda connection: connection.execute(text(statement), values) and None


def _written(canonical: Any) -> Callable[[Connection], None]:
    """Somebody who can write the database has a leaf of his own numbered."""
    row = {"id": "slipped", "key": "k", "verdict": "Allow", "canonical": canonical, "at": tables.instant(START)}
    into = "INSERT INTO leaf (id, decision_key, verdict, canonical, recorded_at) "
    return _raw(into + "VALUES (:id, :key, :verdict, :canonical, :at)", **row)


@pytest.mark.guarantee(14)
@pytest.mark.parametrize(
    "content",
    [
        b"no JSON",
        b"[]",
        b"[" * 100_000,
        b'"\\ud800"',
        canonical(leaf(1, latencyUs=2**53 - 1)).replace(b"9007199254740991", b"9" * 30),
        canonical(leaf(1)).replace(b"2026-11-22T11:00:01.000000Z", b"0001-01-01T00:00:00+23:00"),
        canonical(leaf(1)).replace(b"2026-11-22T11:00:01.000000Z", b"9999-12-31T23:00:00-23:00"),
    ],
)
async def test_guarantee_14_a_leaf_that_nobody_can_read_is_named_and_the_rest_is_looked_at(
    ledger: Ledger, content: bytes
) -> None:
    await ledger.record(3)
    ledger.change(_written(content))
    ledger.sequence()
    await ledger.record(3)
    ledger.sequence()
    found = [(finding.code, finding.where) for finding in ledger.verify().findings]
    assert ("LeafUnreadable", "leaf slipped") in found
    assert {where[-12:] for _, where in found} == {"leaf slipped"}
    ledger.change(update(_DECISION).where(_DECISION.c.leaf == 6).values(username="somebody"))
    assert ("ProjectionChanged", "table decision, 6") in [(f.code, f.where) for f in ledger.verify().findings]


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_forged_leaf_with_an_entry_of_no_number_is_named(ledger: Ledger) -> None:
    """A whole decision that nobody made, with all its rows, and an entry before the first."""
    await ledger.record(3)
    ledger.sequence()
    forged = canonical(leaf(7, id="forged", decisionKey="k"))
    row = {"position": 0, "id": "forged", "decision_key": "k", "verdict": "Allow", "canonical": forged}
    entry = {"number": -1, "leaf": 0, "digest": str(Digest.of(forged)), "recorded_at": START}
    ledger.change(insert(_LEAF).values(row | {"recorded_at": START}), insert(_ENTRY).values(entry), projections.rebuild)
    assert [(f.code, f.where) for f in ledger.verify().findings] == [("EntryAdded", "ledger_entry -1")]


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_gap_of_any_width_is_told_at_once(ledger: Ledger) -> None:
    await ledger.record(3)
    ledger.sequence()
    ledger.change(update(_ENTRY).where(_ENTRY.c.number == 2).values(number=2**62))
    report = ledger.verify()
    found = [(finding.code, finding.where) for finding in report.findings]
    assert found[:2] == [("EntryRemoved", "ledger_entry 2"), ("EntryAdded", f"ledger_entry {2**62}")]
    ledger.change(update(tables.ledger_state).values(size=1))  # and then nothing vouches for how many there were
    report = ledger.verify()
    assert ("EntryRemoved", "ledger_entry 2") in [(finding.code, finding.where) for finding in report.findings]
    assert report.omitted > 2**61


_OTHERWISE = "2026-11-22 11:00:00.000000Z"  # the same moment, which sorts before all others of that day
STATES: dict[str, tuple[Any, str]] = {
    "a state that is ahead": (update(tables.ledger_state).values(leaf=10**6), "LedgerCut"),
    "a state that is behind": (update(tables.ledger_state).values(leaf=1), "EntryAdded"),
    "no state": (delete(tables.ledger_state), "LedgerCut"),
    "two states": (insert(tables.ledger_state).values(id=2, term=1, size=1, leaf=1), "EntryAdded"),
    "a tile too many": (insert(tables.ledger_tile).values(level=0, number=9, content=bytes(32)), "TileChanged"),
}


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("what", STATES)
async def test_guarantee_14_how_far_the_ledger_goes_is_held_against_its_entries(ledger: Ledger, what: str) -> None:
    await ledger.record(3)
    ledger.sequence()
    tampering, code = STATES[what]
    ledger.change(tampering)
    await ledger.record(2)
    assert [finding.code for finding in ledger.verify().findings] == [code]


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("value", [f"'{_OTHERWISE}'", "'yesterday'", "x'ff'", "CAST(x'32ff' AS TEXT)", "7"])
@pytest.mark.parametrize(
    ("column", "code"),
    [
        ("leaf.recorded_at", "LeafChanged"),
        ("leaf.verdict", "LeafChanged"),
        ("leaf.canonical", "LeafChanged"),
        ("ledger_entry.recorded_at", "LeafChanged"),
        ("ledger_entry.digest", "LeafChanged"),
        ("ledger_entry.leaf", "LeafRemoved"),
        ("ledger_checkpoint.note", "CheckpointInvalid"),
        ("ledger_tile.content", "TileChanged"),
        ("ledger_state.size", "LedgerCut"),
        ("blob.content", "BlobChanged"),
        ("blob.size", "BlobChanged"),
        ("decision.decided_at", "ProjectionChanged"),
        ("decision.username", "ProjectionChanged"),
        ("decision.latency_us", "ProjectionChanged"),
        ("verification.decided_at", "ProjectionChanged"),
        ("verification.fact", "ProjectionChanged"),
        ("exception.break_glass", "ProjectionChanged"),
    ],
)
async def test_guarantee_14_sqlite_keeps_anything_in_any_column_and_each_is_named(
    tmp_path: Path, column: str, code: str, value: str
) -> None:
    """A row of SQLite can hold what its column's type has no word for: no look at it may fail, or take it for right."""
    database = sqlite_database(tmp_path)
    with database.open(Clock()) as store:
        sequencer = store.sequencer(database.settings, signer=SIGNER, clock=Clock())
        sequencer.take_over()
        digest, content = blob(b"evidence")
        value_ = leaf(0, blobs=[str(digest)], evaluations=[excepted()])
        await store.writer.record(value_, blobs={digest: content}, deadline=soon())
        sequencer.sequence()
        assert store.verify(keys=[SIGNER.key()]).findings == []
        table, _, name = column.partition(".")
        with contextlib.closing(sqlite3.connect(tmp_path / "inventory.db")) as connection, connection:
            first = f"SELECT min(rowid) FROM {table}"  # noqa: S608 - the test's own words
            connection.execute(f"UPDATE {table} SET {name} = {value} WHERE rowid = ({first})")  # noqa: S608 - the same
        found = [finding.code for finding in store.verify(keys=[SIGNER.key()]).findings]
        assert code in found, found
