"""Witnesses cosign what the ledger signs, on both databases; checkpoints become files that nothing overwrites."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import delete

from controller.errors import ConfigurationError, Unacceptable
from controller.inventory import tables
from controller.inventory.audit.verifying import Report
from controller.inventory.ledger import keeping, notes, witnessing
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.checkpoint_files import CheckpointFiles
from controller.inventory.ledger.keeping import LedgerKeeper
from controller.inventory.ledger.notes import COSIGNATURE, NoteSigner
from controller.inventory.ledger.posting import post
from controller.inventory.ledger.sequencing import Sequencer
from controller.inventory.ledger.witnessing import Witnessing, witnesses_of
from controller.inventory.store import Store
from controller.registry.addresses import AddressRules
from controller.settings import RegistrySettings
from tests.support.inventory import Clock, Database, leaf, soon
from tests.support.witness import Witness, running

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
WITNESS = NoteSigner.of_seed("witness.example/w1", bytes(range(1, 33)))
OTHER = NoteSigner.of_seed("witness.example/w2", bytes(range(2, 34)))
ON_LOOPBACK = AddressRules(RegistrySettings(registry_allow_loopback=True)).check


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessing, "PAUSE", 0.02)
    monkeypatch.setattr(witnessing, "RETRY", 0.05)


@pytest.fixture
def witness() -> Iterator[Witness]:
    with running(Witness(WITNESS, SIGNER.key())) as one:
        yield one


@dataclasses.dataclass
class Ledger:
    """An inventory whose ledger asks witnesses."""

    database: Database
    store: Store
    sequencer: Sequencer
    cosigned: witnessing.Cosigned
    clock: Clock
    open: list[Witnessing]

    async def record(self, count: int) -> None:
        values = [leaf(number) for number in range(count)]
        await asyncio.gather(*(self.store.writer.record(each, blobs={}, deadline=soon()) for each in values))
        while self.sequencer.sequence().more:
            pass

    def ask(self, *witnesses: Witness, writes: Callable[[], bool] = lambda: True) -> Witnessing:
        found = witnesses_of([each.setting for each in witnesses], allow_http=True)
        asking = Witnessing(found, self.store.ledger, self.cosigned, check=ON_LOOPBACK, writes=writes)
        self.open.append(asking)
        return asking

    def cosigners(self) -> set[str]:
        """Who of the two has cosigned the checkpoint that is served now."""
        note = (self.store.ledger.checkpoint() or "").encode()
        keys = [SIGNER.key(), WITNESS.key(COSIGNATURE), OTHER.key(COSIGNATURE)]
        return {each.key.name for each in notes.open_note(note, keys)[1] if each.at is not None}

    def verify(self) -> Report:
        return self.store.verify(keys=[SIGNER.key(), WITNESS.key(COSIGNATURE), OTHER.key(COSIGNATURE)])


@pytest.fixture
def ledger(database: Database) -> Iterator[Ledger]:
    clock = Clock()
    with database.open(clock) as store:
        sequencer = store.sequencer(database.settings, signer=SIGNER, clock=clock)
        cosigned = store.cosigned(database.settings, sequencer)
        sequencer.take_over()
        made = Ledger(database, store, sequencer, cosigned, clock, [])
        yield made
        for asking in made.open:
            asking.close()


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.guarantee(14)
async def test_guarantee_14_each_checkpoint_is_cosigned_and_says_so(ledger: Ledger, witness: Witness) -> None:
    with running(Witness(OTHER, SIGNER.key())) as other:
        await ledger.record(5)
        ledger.ask(witness, other)
        until(lambda: ledger.cosigners() == {WITNESS.name, OTHER.name})
        await ledger.record(300)
        until(lambda: ledger.cosigners() == {WITNESS.name, OTHER.name})
    assert witness.asked[0] == (0, 5)
    assert [old for old, _ in witness.asked[1:]] == [size for _, size in witness.asked[:-1]]  # each from the one before
    assert witness.asked[-1][1] == 305
    report = ledger.verify()
    assert report.findings == []
    assert {name: seen.size for name, seen in report.cosigned.items()} == {WITNESS.name: 305, OTHER.name: 305}
    assert Checkpoint.parse(notes.split((ledger.store.ledger.checkpoint() or "").encode())[0]).size == 305


async def test_a_witness_that_knows_the_ledger_is_asked_from_the_size_that_it_says(
    ledger: Ledger, witness: Witness
) -> None:
    await ledger.record(5)
    ledger.ask(witness).close()
    until(lambda: witness.last is not None)
    await ledger.record(7)
    ledger.ask(witness)  # another process, which knows nothing of that
    until(lambda: ledger.cosigners() == {WITNESS.name})
    assert witness.asked[-2:] == [(0, 12), (5, 12)]


async def test_the_newest_cosigned_checkpoint_stays_when_a_newer_one_is_signed(
    ledger: Ledger, witness: Witness
) -> None:
    await ledger.record(5)
    asking = ledger.ask(witness)
    until(lambda: ledger.cosigners() == {WITNESS.name})
    asking.close()
    await ledger.record(2)
    await ledger.record(2)
    report = ledger.verify()
    assert report.findings == []
    assert (report.signed, report.cosigned[WITNESS.name].size) == (9, 5)


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_ledger_that_was_cut_is_shouted_about_when_a_witness_has_seen_more(
    ledger: Ledger, witness: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    await ledger.record(5)
    witness.last = Checkpoint(SIGNER.name, 9, bytes(32))
    ledger.ask(witness)
    until(lambda: "ANOTHER HISTORY" in caplog.text)
    assert "it has seen 9 entries, and there are 5" in caplog.text
    assert ledger.cosigners() == set()


@pytest.mark.guarantee(14)
@pytest.mark.parametrize("size", [3, 5])
async def test_guarantee_14_a_fork_is_shouted_about_when_a_witness_has_seen_another_root(
    ledger: Ledger, witness: Witness, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    await ledger.record(5)
    witness.last = Checkpoint(SIGNER.name, size, bytes(32))
    ledger.ask(witness)
    until(lambda: "ANOTHER HISTORY" in caplog.text)
    assert ledger.cosigners() == set()


FORGED = NoteSigner.of_seed(WITNESS.name, bytes(32))
ANSWERS = {
    "an error": (500, "text/plain", b"no\n"),
    "a redirect": (302, "text/plain", b""),
    "nothing": (200, "text/plain", b""),
    "no text": (200, "text/plain", b"\xff\n"),
    "another's signature": (200, "text/plain", OTHER.cosign("x\n", Clock()()).encode()),
    "its signature of something else": (200, "text/plain", WITNESS.cosign("x\n", Clock()()).encode()),
    "no size": (409, "text/x.tlog.size", b"-1\n"),
    "too much": (200, "text/plain", b"x" * 100_000),
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_an_answer_that_is_none_is_not_stored_and_the_witness_is_asked_again(
    ledger: Ledger, witness: Witness, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    await ledger.record(5)
    witness.answers.append(ANSWERS[what])
    ledger.ask(witness)
    until(lambda: ledger.cosigners() == {WITNESS.name})
    assert "did not cosign" in caplog.text
    assert ledger.verify().findings == []
    assert ledger.store.ledger.checkpoint() is not None


async def test_a_cosignature_by_a_forger_of_the_witnesss_name_does_not_count(ledger: Ledger) -> None:
    with running(Witness(FORGED, SIGNER.key())) as forger:
        await ledger.record(5)
        setting = f"{forger.url}={WITNESS.key(COSIGNATURE)}"
        asking = Witnessing(
            witnesses_of([setting], allow_http=True),
            ledger.store.ledger,
            ledger.cosigned,
            check=ON_LOOPBACK,
            writes=lambda: True,
        )
        until(lambda: len(forger.asked) >= 2)
        asking.close()
    assert ledger.cosigners() == set()


async def test_who_does_not_write_the_ledger_asks_nobody_and_who_lost_it_stores_nothing(
    ledger: Ledger, witness: Witness
) -> None:
    await ledger.record(5)
    ledger.ask(witness, writes=lambda: False)
    await asyncio.sleep(0.3)
    assert witness.asked == []
    ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock).take_over()
    note = ledger.store.ledger.checkpoint() or ""
    line = WITNESS.cosign(notes.split(note.encode())[0], Clock()())
    assert not ledger.cosigned.add(5, line)
    assert ledger.store.ledger.checkpoint() == note


async def test_a_witness_that_hangs_delays_neither_the_ledger_nor_another_witness(
    ledger: Ledger, witness: Witness
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hanging = Witness(OTHER, SIGNER.key(), url=f"http://127.0.0.1:{silent.getsockname()[1]}")
        await ledger.record(5)
        asking = ledger.ask(hanging, witness)
        until(lambda: ledger.cosigners() == {WITNESS.name})
        await ledger.record(5)
        until(lambda: ledger.cosigners() == {WITNESS.name})
        before = time.monotonic()
        asking.close()
        assert time.monotonic() - before < 10 * witnessing.CLOSING


@pytest.mark.guarantee(11)
def test_guarantee_11_a_witness_is_reached_only_where_addresses_allow(witness: Witness) -> None:
    rules = AddressRules(RegistrySettings())
    with pytest.raises(OSError, match="loopback"):
        post(f"{witness.url}/add-checkpoint", b"", check=rules.check, timeout=5, limit=100)
    assert witness.asked == []
    with pytest.raises(OSError, match="metadata"):
        post("https://169.254.169.254/add-checkpoint", b"", check=ON_LOOPBACK, timeout=5, limit=100)


@pytest.mark.guarantee(11)
async def test_guarantee_11_plain_http_is_spoken_on_loopback_alone(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever the name says: what it resolves to is judged."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.1.2.3", 80))]
    await ledger.record(1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    ledger.ask(Witness(WITNESS, SIGNER.key(), url="http://localhost:80"))
    until(lambda: "plain HTTP is spoken on loopback alone" in caplog.text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "witness.example",
        f"http://127.0.0.1={WITNESS.key(COSIGNATURE)}",
        f"ftp://127.0.0.1={WITNESS.key(COSIGNATURE)}",
        f"https://user:password@witness.example={WITNESS.key(COSIGNATURE)}",
        f"https://witness.example?a={WITNESS.key(COSIGNATURE)}",
        f"https://witness.example={WITNESS.key()}",
        "https://witness.example=witness.example+12345678+AAAA",
    ],
)
def test_a_witness_that_cannot_be_one_is_refused_where_it_is_set(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        witnesses_of([text], allow_http=False)
    assert caught.value.code == "SettingInvalid"


def _note(size: int, root: bytes = bytes(32)) -> str:
    text = Checkpoint(SIGNER.name, size, root).text()
    return notes.note(text, [SIGNER.sign(text)])


@pytest.mark.guarantee(14)
def test_guarantee_14_a_checkpoint_that_is_kept_is_never_overwritten(tmp_path: Path) -> None:
    files = CheckpointFiles(tmp_path)
    assert files.newest() is None
    assert files.keep(_note(9))
    assert files.keep(_note(10))
    assert not files.keep(_note(10))
    with pytest.raises(Unacceptable, match="something else of 10 entries") as caught:
        files.keep(_note(10, bytes([1]) * 32))
    assert caught.value.code == "LedgerForked"
    assert files.newest() == Checkpoint(SIGNER.name, 10, bytes(32))
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{size:019}.checkpoint" for size in (9, 10)]
    assert (tmp_path / f"{10:019}.checkpoint").read_text() == _note(10)


def test_of_many_who_keep_the_same_checkpoint_one_writes_it(tmp_path: Path) -> None:
    made: list[bool] = []
    threads = [threading.Thread(target=lambda: made.append(CheckpointFiles(tmp_path).keep(_note(7)))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [False] * 7 + [True]
    assert [path.name for path in tmp_path.iterdir()] == [f"{7:019}.checkpoint"]


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_ledger_that_does_not_continue_what_is_kept_elsewhere_is_not_written(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process's own folder is lost with its pod; the bucket is not."""
    monkeypatch.setattr(keeping, "RETRY", 0.05)
    caplog.set_level(logging.INFO)
    bucket, first, second = (tmp_path / name for name in ("bucket", "first", "second"))
    for folder in (bucket, first, second):
        folder.mkdir()

    def keep(folder: Path) -> LedgerKeeper:
        return LedgerKeeper(
            ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock),
            ledger.store.ledger,
            directory=folder,
            interval=0.1,
            clock=ledger.clock,
            files=CheckpointFiles(bucket),
        )

    await ledger.record(10)
    keeper = keep(first)
    values = [leaf(number) for number in range(5)]
    await asyncio.gather(*(ledger.store.writer.record(each, blobs={}, deadline=soon()) for each in values))
    until(lambda: ledger.store.ledger.extent().size == 15)
    keeper.close()
    assert max(path.name for path in bucket.iterdir()) == f"{15:019}.checkpoint"
    (bucket / f"{99:019}.checkpoint").write_text(_note(99))  # as if more had been there
    keeper = keep(second)
    await ledger.store.writer.record(leaf(99), blobs={}, deadline=soon())
    until(lambda: "the ledger is shorter than it was" in caplog.text)
    keeper.close()
    assert ledger.store.ledger.extent().size == 15


async def test_a_bucket_that_is_away_stops_nothing_and_is_told_of(
    ledger: Ledger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "own"
    folder.mkdir()
    keeper = LedgerKeeper(
        ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock),
        ledger.store.ledger,
        directory=folder,
        interval=0.1,
        clock=ledger.clock,
        files=CheckpointFiles(tmp_path / "not mounted"),
    )
    await ledger.store.writer.record(leaf(1), blobs={}, deadline=soon())
    until(lambda: ledger.store.ledger.extent().size == 1 and "is not kept in ledger_checkpoint_dir" in caplog.text)
    keeper.close()
    assert (folder / keeping.CHECKPOINT).exists()


async def test_a_cosignature_that_was_changed_is_named(ledger: Ledger, witness: Witness) -> None:
    await ledger.record(5)
    ledger.ask(witness).close()
    until(lambda: ledger.cosigners() == {WITNESS.name})
    note = ledger.store.ledger.checkpoint() or ""
    text, lines = notes.split(note.encode())
    broken = next(line for line in lines if WITNESS.name in line)
    at = len(broken) - 10
    changed = broken[:at] + ("A" if broken[at] != "A" else "B") + broken[at + 1 :]
    with ledger.cosigned._writing.begin() as connection:
        connection.execute(delete(tables.ledger_checkpoint))
        row = {"size": 5, "note": note.replace(broken, changed), "signed_at": ledger.clock()}
        connection.execute(tables.ledger_checkpoint.insert().values(row))
    assert text in note
    (finding,) = [each for each in ledger.verify().findings if each.code == "CheckpointInvalid"]
    assert finding.where == "ledger_checkpoint 5"


@pytest.mark.guarantee(14)
async def test_guarantee_14_a_replica_that_does_not_write_keeps_what_the_writer_signed_and_notices_a_fork(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeping, "RETRY", 0.05)
    standby = LedgerKeeper(
        ledger.store.sequencer(ledger.database.settings, signer=SIGNER, clock=ledger.clock),
        ledger.store.ledger,
        directory=tmp_path,
        interval=0.1,
        clock=ledger.clock,
        leads=lambda: False,
    )
    file = tmp_path / keeping.CHECKPOINT
    await ledger.record(5)
    until(lambda: file.exists() and file.read_text() == ledger.store.ledger.checkpoint())
    await ledger.record(3)
    until(lambda: file.read_text() == ledger.store.ledger.checkpoint())
    kept = file.read_text()
    forged = _note(9)  # signed by the key, of another history
    with ledger.cosigned._writing.begin() as connection:
        connection.execute(tables.ledger_checkpoint.insert().values(size=9, note=forged, signed_at=ledger.clock()))
    until(lambda: "LedgerForked" in caplog.text)
    standby.close()
    assert file.read_text() == kept
