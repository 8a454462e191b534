"""Somebody else's witness (litewitness, in Go) cosigns what Assay signs, and refuses another history of it."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controller.inventory.ledger import notes, witnessing
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.notes import COSIGNATURE, NoteKey, NoteSigner
from controller.inventory.ledger.witnessing import Witnessing, witnesses_of
from controller.inventory.store import Store
from controller.registry.addresses import AddressRules
from controller.settings import RegistrySettings
from tests.support.assay import serving
from tests.support.commands import assay
from tests.support.inventory import Database, leaf, soon, sqlite_database
from tests.support.litewitness import Litewitness, litewitness
from tests.support.review import ONLY_ACME, pod, review

NAME, SEED = "witness.example/lite", bytes(range(3, 35))
SIGNER = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
ON_LOOPBACK = AddressRules(RegistrySettings(registry_allow_loopback=True)).check


@pytest.fixture
def witness() -> Iterator[Litewitness]:
    with litewitness(NAME, SEED) as running:
        yield running


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.guarantee(14)
def test_guarantee_14_litewitness_cosigns_what_the_program_signs(tmp_path: Path, witness: Litewitness) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(ONLY_ACME)
    settings = {
        "policies": str(policies),
        "ledger_merge_delay": "100ms",
        "ledger_witnesses": witness.setting,
        "ledger_witness_allow_loopback": "true",
    }
    with serving(tmp_path / "assay", **settings) as running:
        witness.knows(NoteKey.parse((tmp_path / "assay" / "ledger" / "ledger.pub").read_text()))
        for size in (1, 2):  # the second time with a proof that this continues what it has seen
            body = review(pod("ghcr.io/acme/app:1", metadata={"name": f"web-{size}", "uid": f"web-{size}"}))
            assert running.post("/validate", body)[0] == 200
            cosigned = f'assay_ledger_witnessed_entries{{witness="{NAME}"}} {size}.0'
            until(lambda said=cosigned: said in running.get("/metrics")[1])
            assert witness.seen()[0] == size
        checkpoint = running.inventory("/ledger/checkpoint")
        text, _ = notes.split(checkpoint.encode())
        assert witness.seen()[1] == text.splitlines()[2]
        _, signed = notes.open_note(checkpoint.encode(), [NoteKey.parse(witness.key)])
        assert [(each.key.name, each.at is not None) for each in signed] == [(NAME, True)]
        environment = {name: value for name, value in running.environment.items() if name.startswith("ASSAY_")}
        verified = assay("ledger", "verify", folder=running.folder, environment=environment)
        assert verified.returncode == 0
        assert f"  cosigned by the witness {NAME}: 2 of 2 entries, which it saw at 20" in verified.stdout


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(witnessing, "PAUSE", 0.02)
    monkeypatch.setattr(witnessing, "RETRY", 0.05)


@pytest.mark.guarantee(14)
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("size", "why"),
    [
        (3, "it has seen 5 entries, and there are 3"),
        (5, "it does not believe that 5 entries continue the 5 that it has seen"),
        (9, "it does not believe that 9 entries continue the 5 that it has seen"),
    ],
    ids=["cut and gone on with", "of the same size", "longer"],
)
def test_guarantee_14_litewitness_refuses_a_fork(
    tmp_path: Path,
    witness: Litewitness,
    caplog: pytest.LogCaptureFixture,
    size: int,
    why: str,
) -> None:
    """Two ledgers under one key: what somebody makes who has the key and the database, and starts history anew."""
    witness.knows(SIGNER.key())
    assert witness.key == str(NoteSigner.of_seed(NAME, SEED).key(COSIGNATURE))
    shown, forked = (sqlite_database(tmp_path / name) for name in ("shown", "forked"))
    with shown.open() as store:
        with_witness(store, shown, 5, witness, lambda: NAME in (store.ledger.checkpoint() or ""))
        seen = witness.seen()
        root = Checkpoint.parse(notes.split((store.ledger.checkpoint() or "").encode())[0]).root
        assert (seen[0], base64.b64decode(seen[1])) == (5, root)
    assert "ANOTHER HISTORY" not in caplog.text
    with forked.open() as store:
        with_witness(store, forked, size, witness, lambda: "ANOTHER HISTORY" in caplog.text)
        assert why in caplog.text
        assert NAME not in (store.ledger.checkpoint() or "")
    assert witness.seen() == seen


def with_witness(store: Store, database: Database, size: int, witness: Litewitness, holds: Callable[[], bool]) -> None:
    """Record so many decisions, number them, and have the witness asked until this holds."""

    async def record() -> None:
        made = [leaf(number) for number in range(size)]
        await asyncio.gather(*(store.writer.record(each, blobs={}, deadline=soon()) for each in made))

    asyncio.run(record())
    sequencer = store.sequencer(database.settings, signer=SIGNER)
    sequencer.take_over()
    while sequencer.sequence().more:
        pass
    asking = Witnessing(
        witnesses_of([witness.setting], allow_http=True),
        store.ledger,
        store.cosigned(database.settings, sequencer),
        check=ON_LOOPBACK,
        writes=lambda: True,
    )
    try:
        until(holds)
    finally:
        asking.close()
