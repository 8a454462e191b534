"""The ledger as people meet it: the real program records and signs, `assay ledger` checks, and a change is named."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from controller.inventory.ledger.notes import NoteKey, NoteSigner
from tests.support.assay import Assay, serving
from tests.support.commands import assay
from tests.support.review import ONLY_ACME, pod, review
from tests.support.tools import CommandError, run_tool
from tests.support.witness import Witness
from tests.support.witness import running as running_witness

WITNESS = NoteSigner.of_seed("witness.example/w1", bytes(range(1, 33)))
STRANGER = NoteSigner.of_seed("assay/shop", bytes(32))


def ledger(serving: Assay, *arguments: str) -> Any:
    settings = {name: value for name, value in serving.environment.items() if name.startswith("ASSAY_")}
    return assay("ledger", *arguments, folder=serving.folder, environment=settings)


def decided(serving: Assay, name: str) -> str:
    """Have a pod judged, and return the record's id."""
    body = review(pod("ghcr.io/acme/app:1", metadata={"name": name, "uid": name}), uid=name)
    status, _ = serving.post("/validate", body)
    assert status == 200
    return str(serving.decisions()[0]["id"])


def wait_for(serving: Assay, record: str) -> dict[str, Any]:
    """The record's proof, as soon as there is one."""
    end = time.monotonic() + 60
    while (answer := ledger(serving, "proof", record, "-o", "json")).returncode:
        assert "ask again" in answer.stderr
        assert time.monotonic() < end
        time.sleep(0.2)
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


def copied(source: Path, target: Path) -> None:
    """Copy a database as its manual says, log and all."""
    target.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(source)) as one, contextlib.closing(sqlite3.connect(target)) as other:
        one.backup(other)


@pytest.mark.guarantee(14)
def test_a_recorded_decision_is_proven_and_a_changed_one_is_named(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(ONLY_ACME)
    settings = {"policies": str(policies), "ledger_merge_delay": "100ms", "cluster_name": "shop"}
    with serving(tmp_path / "assay", **settings) as running:
        records = [decided(running, f"web-{number}") for number in range(3)]
        proof = wait_for(running, records[-1])
        assert (proof["index"], proof["record"]) == (2, records[-1])
        checkpoint = ledger(running, "checkpoint")
        assert checkpoint.returncode == 0
        assert checkpoint.stdout == proof["checkpoint"]
        assert checkpoint.stdout.startswith("assay/shop\n3\n")
        # Go's own implementation of tiled logs reads the ledger over HTTP and proves every entry of it.
        key = (tmp_path / "assay" / "ledger" / "ledger.pub").read_text().strip()
        prefix = f"http://127.0.0.1:{running.inventory_port}/ledger"
        verified = json.loads(run_tool("tlog-verifier", "-prefix", prefix, "-key", key))
        assert verified == {"size": 3, "root": checkpoint.stdout.splitlines()[2]}
        kept = tmp_path / "kept"
        kept.write_text(checkpoint.stdout)
        with pytest.raises(CommandError, match="no verifiable signatures"):
            run_tool("tlog-verifier", "-prefix", prefix, "-key", str(STRANGER.key()))
        answer = ledger(running, "verify", "--checkpoint", str(kept))
        assert answer.returncode == 0, answer.stderr
        first, *rest = answer.stdout.splitlines()
        assert first.startswith("Satisfied  the inventory is what was recorded: 3 entries,")
        assert rest == [
            "  signed for 3 of 3 entries by assay/shop",
            "  by the key that lies beside the ledger: give --key to be independent of this machine",
            "  and a checkpoint that was kept elsewhere vouches for the first 3",
        ]
    file = tmp_path / "assay" / "inventory.db"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE decision SET username = 'nobody' WHERE id = ?", (records[1],))
        database.execute("DELETE FROM leaf WHERE id = ?", (records[2],))
    answer = ledger(running, "verify", "--key", key, "-o", "json")
    assert answer.returncode == 1
    report = json.loads(answer.stdout)
    assert (report["schema"], report["intact"]) == ("assay.dev/ledger-verification/v1alpha1", False)
    found = [(finding["code"], finding["where"].split(",")[0]) for finding in report["findings"]]
    assert ("LeafRemoved", "ledger_entry 2") in found
    assert ("ProjectionChanged", "table decision") in found
    told = ledger(running, "verify", "--key", key)
    assert told.stdout.startswith("Violated  the inventory is NOT what was recorded: 3 entries")
    assert "LeafRemoved  ledger_entry 2: its leaf, at position 3, is gone" in told.stdout
    assert "no checkpoint that was kept elsewhere was given" in told.stdout


@pytest.mark.guarantee(14)
def test_a_database_that_was_put_back_is_not_continued(tmp_path: Path) -> None:
    """The key signs one history. What the process remembers outside of the database tells it that this is another."""
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(ONLY_ACME)
    settings = {"policies": str(policies), "ledger_merge_delay": "100ms"}
    folder = tmp_path / "assay"
    file = folder / "inventory.db"
    with serving(folder, **settings) as running:
        wait_for(running, decided(running, "first"))
    copied(file, tmp_path / "backup.db")
    with serving(folder, **settings) as running:
        wait_for(running, decided(running, "second"))
    for name in ("inventory.db-wal", "inventory.db-shm"):
        (folder / name).unlink(missing_ok=True)
    copied(tmp_path / "backup.db", file)
    with serving(folder, **settings) as running:
        record = decided(running, "third")  # recording goes on
        answer = ledger(running, "proof", record)
        assert answer.returncode == 2
        end = time.monotonic() + 60
        while "LedgerForked: the ledger is shorter than it was" not in (folder / "assay.log").read_text():
            assert time.monotonic() < end
            time.sleep(0.1)
        _, metrics = running.get("/metrics")
        assert "assay_ledger_failures_total 0.0" not in metrics
        assert ledger(running, "proof", record).returncode == 2
    (folder / "ledger" / "checkpoint").unlink()  # what a person does who knows why
    with serving(folder, **settings) as running:
        assert wait_for(running, record)["index"] == 1


@pytest.mark.guarantee(14)
def test_a_witness_cosigns_what_the_program_signs_and_checkpoints_become_files(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(ONLY_ACME)
    (tmp_path / "bucket").mkdir()
    folder = tmp_path / "assay"
    witness = Witness(WITNESS, None)
    with running_witness(witness):
        settings = {
            "policies": str(policies),
            "ledger_merge_delay": "100ms",
            "cluster_name": "shop",
            "ledger_witnesses": witness.setting,
            "ledger_witness_allow_loopback": "true",
            "ledger_checkpoint_dir": str(tmp_path / "bucket"),
        }
        with serving(folder, **settings) as running:
            witness.log = NoteKey.parse((folder / "ledger" / "ledger.pub").read_text())
            wait_for(running, decided(running, "web"))
            cosigned = "  cosigned by the witness witness.example/w1: 1 of 1 entries, which it saw at 20"
            end = time.monotonic() + 60
            while cosigned not in (answer := ledger(running, "verify")).stdout:
                assert time.monotonic() < end, answer.stdout + answer.stderr
                time.sleep(0.3)
            assert answer.returncode == 0
            _, served = running.get("/metrics")
            assert 'assay_ledger_witnessed_entries{witness="witness.example/w1"} 1.0' in served
            checkpoint = ledger(running, "checkpoint").stdout
            assert WITNESS.name in checkpoint
            kept = tmp_path / "bucket" / f"{1:019}.checkpoint"
            assert kept.read_text().partition("\n\n")[0] == checkpoint.partition("\n\n")[0]
            assert ledger(running, "verify", "--checkpoint", str(kept)).returncode == 0
            report = json.loads(ledger(running, "verify", "-o", "json").stdout)
            (seen,) = report["cosignedEntries"]
            assert (seen["witness"], seen["entries"]) == (WITNESS.name, 1)
    answer = ledger(running, "verify")  # of what is stored; the witness itself need not be there
    assert cosigned in answer.stdout


def test_what_cannot_be_told_is_said_and_is_no_good_news(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(ONLY_ACME)
    with serving(tmp_path / "assay", policies=str(policies), ledger_merge_delay="10m") as running:
        empty = ledger(running, "checkpoint")
        assert (empty.returncode, empty.stdout) == (2, "")
        assert "LedgerEmpty: no checkpoint was signed yet" in empty.stderr
        unknown = ledger(running, "proof", "nothing")
        assert (unknown.returncode, "there is no such record" in unknown.stderr) == (2, True)
        for key in ("nobody+12345678+AAAA", str(tmp_path / "missing")):
            answer = ledger(running, "verify", "--key", key)
            assert (answer.returncode, "LedgerKeyUnreadable" in answer.stderr) == (2, True), answer.stderr
