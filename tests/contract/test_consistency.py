"""`assay ledger consistency`: what somebody kept is the beginning of the ledger, or is said not to be."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.cli import EXIT_DENIED, EXIT_ERROR, run
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.store import Store
from tests.support.inventory import Clock, Database, leaf, soon

SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
Say = Callable[..., str]


@pytest.fixture
def kept(opened: Store, database: Database, tmp_path: Path) -> list[Path]:
    """The checkpoints of a ledger of three entries, and of seven."""
    sequencer = opened.sequencer(database.settings, signer=SIGNER, clock=Clock())
    sequencer.take_over()
    files = []

    async def more(count: int) -> None:
        for number in range(count):
            await opened.writer.record(leaf(number), blobs={}, deadline=soon())

    for count in (3, 4):
        asyncio.run(more(count))
        while sequencer.sequence().more:
            pass
        files.append(tmp_path / f"checkpoint-{count}")
        files[-1].write_text(opened.ledger.checkpoint() or "")
    return files


@pytest.fixture
def say(database: Database, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)

    def say(*words: Any, status: int = 0) -> str:
        assert run(["ledger", "consistency", *map(str, words)]) == status
        out, err = capfd.readouterr()
        return out + err

    return say


def root(file: Path) -> bytes:
    return base64.b64decode(file.read_text().splitlines()[2])


def node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_what_was_kept_is_the_beginning_of_the_ledger(kept: list[Path], say: Say) -> None:
    old, new = kept
    told = json.loads(say(old, "-o", "json"))
    assert (told["old"], told["new"], told["holds"], told["checkpoint"]) == (3, 7, True, new.read_text())
    # RFC 6962, 2.1.2: for 3 of 7 the hashes are c, d, g and l of its figure.
    c, d, g, rest = (base64.b64decode(step) for step in told["hashes"])
    assert node(g, c) == root(old)
    assert node(node(g, node(c, d)), rest) == root(new)
    assert "Satisfied" in say(old)
    assert "Satisfied" in say(old, new)
    assert "no hash" in say(new)


def test_sizes_alone_give_the_proof_and_claim_nothing_of_roots(kept: list[Path], say: Say) -> None:
    told = json.loads(say(3, 7, "-o", "json"))
    assert (told["old"], told["new"], told["holds"], len(told["hashes"])) == (3, 7, None, 4)
    assert told["hashes"] == json.loads(say(kept[0], "-o", "json"))["hashes"]
    assert "Satisfied" not in say(3, 7)


@pytest.mark.guarantee(14)
def test_what_is_not_the_beginning_is_named(kept: list[Path], say: Say, tmp_path: Path) -> None:
    forged = tmp_path / "forged"

    def kept_as(checkpoint: Checkpoint) -> Path:
        signer = NoteSigner.of_seed(checkpoint.origin, bytes(range(32)))
        forged.write_text(f"{checkpoint.text()}\n{signer.sign(checkpoint.text())}")
        return forged

    true = root(kept[0])
    assert "the first 3 entries are others" in say(kept_as(Checkpoint(SIGNER.name, 3, bytes(32))), status=EXIT_DENIED)
    assert "the end of the ledger was cut off" in say(kept_as(Checkpoint(SIGNER.name, 8, true)), status=EXIT_DENIED)
    assert "of another ledger" in say(kept_as(Checkpoint("other.example/ledger", 3, true)), status=EXIT_DENIED)
    told = json.loads(say(kept_as(Checkpoint(SIGNER.name, 4, true)), "-o", "json", status=EXIT_DENIED))
    assert (told["holds"], told["hashes"]) == (False, [])


def test_what_is_no_size_and_no_checkpoint_is_refused(kept: list[Path], say: Say, tmp_path: Path) -> None:
    assert kept
    (tmp_path / "notes").write_text("a text\n")
    for words, code in (
        ([tmp_path / "notes"], "CheckpointMalformed"),
        ([tmp_path / "nowhere"], "CheckpointMalformed"),
        ([tmp_path], "CheckpointMalformed"),
        ([0], "SizesOutOfRange"),
        ([5, 3], "SizesOutOfRange"),
        ([3, 8], "SizesOutOfRange"),
    ):
        assert code in say(*words, status=EXIT_ERROR), words


def test_a_verification_tells_how_far_it_has_come(kept: list[Path], opened: Store) -> None:
    told: list[str] = []
    assert kept
    assert opened.verify(keys=[SIGNER.key()], say=told.append).findings == []
    assert told[0] == "the ledger's entries and signatures"
    assert "7 records, what is made of them made anew" in told
    assert "the rows of decision_image" in told
