"""Which records an export holds, on both databases, held against what was put in; and that it proves each of them."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controller.cli import EXIT_DENIED, EXIT_ERROR, run
from controller.errors import InputError
from controller.inventory.asking import gathering
from controller.inventory.bundle import archive, assembling, checking
from controller.inventory.bundle.archive import Archive
from controller.inventory.bundle.signing import ExportKey
from controller.inventory.bundle.source import Circumstances, Selection
from controller.inventory.ledger.notes import NoteKey, NoteSigner
from controller.inventory.store import Store
from controller.model.reference import Digest
from tests.support.inventory import (
    DIGEST,
    START,
    Clock,
    Database,
    evaluation,
    image,
    leaf,
    sighting,
    soon,
)

OTHER = "sha256:" + "99" * 32
EVIDENCE = b"what proved it"
KEY = ExportKey(Ed25519PrivateKey.from_private_bytes(bytes(32)))
SIGNER = NoteSigner.of_seed("assay/test", bytes(32))
MUCH_LATER = datetime(2027, 1, 1, tzinfo=UTC)


def decided(number: int, *, pod: str, namespace: str = "shop", digest: str = DIGEST, **changes: Any) -> dict[str, Any]:
    judged = evaluation()
    name = str(Digest.of(EVIDENCE))
    for part in ("signatures", "attestations"):
        judged[part] = [{**proof, "artifact": name} for proof in judged[part]]
    judged["used"] = {}
    value = leaf(number, images=[image(digest=digest)], evaluations=[judged], blobs=[name], **changes)
    value["object"] = {**value["object"], "namespace": namespace, "uid": pod}
    return value


def put(opened: Store, *values: dict[str, Any]) -> None:
    async def fill() -> None:
        for value in values:
            blobs = {Digest.of(EVIDENCE): EVIDENCE} if value["blobs"] else {}
            await opened.writer.record(value, blobs=blobs, deadline=soon())

    asyncio.run(fill())


def number(opened: Store, database: Database) -> None:
    sequencer = opened.sequencer(database.settings, signer=SIGNER, clock=Clock())
    sequencer.take_over()
    while sequencer.sequence().more:
        pass


def ids(opened: Store, *, known_at: datetime = MUCH_LATER, **chosen: Any) -> set[str]:
    """The records that are found, read back from the export's own source."""
    found = opened.questions.gatherer.gather(Selection(**chosen), known_at=known_at)
    return {item["id"] for item in found.leaves()} if found is not None else set()


@pytest.fixture
def story(opened: Store) -> dict[str, dict[str, Any]]:
    """Two pods in shop and one in bank; one run ended; another image; a gap while one of them ran, and one before."""
    same = {"container": "app"}
    values = {
        "web": decided(0, pod="web"),
        "web ran": sighting("Started", 10, uid="web", id="containerd://web", **same),
        "web ended": sighting("Ended", 100, uid="web", id="containerd://web", **same),
        "denied": decided(200, pod="nobody", verdict="Deny"),
        "api": decided(300, pod="api", digest=OTHER),
        "api ran": sighting("Started", 310, uid="api", id="containerd://api", digest=OTHER, **same),
        "bank": decided(400, pod="bank", namespace="bank"),
        "bank ran": sighting("Started", 410, uid="bank", namespace="bank", id="containerd://bank", **same),
        "gap": sighting("Gap", 90),
    }
    at = (START + timedelta(seconds=50)).isoformat(timespec="microseconds").replace("+00:00", "Z")
    values["gap"]["gap"]["since"] = at
    put(opened, *values.values())
    return values


def named(story: dict[str, dict[str, Any]], *names: str) -> set[str]:
    return {story[name]["id"] for name in names}


def test_an_image_comes_with_its_decisions_its_runs_their_ends_and_the_gaps(
    opened: Store, story: dict[str, dict[str, Any]]
) -> None:
    everywhere = named(story, "web", "web ran", "web ended", "denied", "bank", "bank ran", "gap")
    assert ids(opened, digest=DIGEST) == everywhere
    assert ids(opened, digest=OTHER) == named(story, "api", "api ran")
    assert ids(opened, digest="sha256:" + "77" * 32) == set()


def test_no_gap_is_left_out_however_many_there_are(opened: Store) -> None:
    ran = sighting("Started", 0, uid="web", id="containerd://web")
    many = [sighting("Gap", number) for number in range(1, 1101)]
    put(opened, ran, *many)
    assert ids(opened, run="containerd://web") == {one["id"] for one in (ran, *many)}


def test_a_run_comes_with_what_admitted_it_and_a_decision_with_the_runs_of_its_pod(
    opened: Store, story: dict[str, dict[str, Any]]
) -> None:
    whole = named(story, "web", "web ran", "web ended", "gap")
    assert ids(opened, run="containerd://web") == whole
    assert ids(opened, record=story["web ran"]["id"]) == whole
    assert ids(opened, record=story["web ended"]["id"]) == whole
    assert ids(opened, record=story["web"]["id"]) == whole
    assert ids(opened, record=story["denied"]["id"]) == named(story, "denied")
    assert ids(opened, record="nothing") == ids(opened, run="nothing") == set()


def test_times_bound_what_was_decided_and_what_ran(opened: Store, story: dict[str, dict[str, Any]]) -> None:
    def at(seconds: int) -> datetime:
        return START + timedelta(seconds=seconds)

    shop = named(story, "web", "web ran", "web ended", "denied", "api", "api ran", "gap")
    assert ids(opened, namespace="shop") == shop
    assert ids(opened, namespace="shop", since=at(150)) == named(story, "denied", "api", "api ran")
    # What still ran then comes whole, with the decision from before.
    assert ids(opened, namespace="shop", since=at(95), until=at(150)) == named(story, "web", "web ran", "web ended")
    assert ids(opened, namespace="shop", until=at(5)) == named(story, "web")
    assert ids(opened, digest=DIGEST, since=at(399), until=at(405)) == named(story, "bank")


def test_what_was_learnt_later_is_left_out(opened: Store, clock: Clock) -> None:
    early, late = decided(0, pod="web"), sighting("Started", 1, uid="web", id="containerd://web")
    put(opened, early)
    clock.now = START + timedelta(hours=1)
    put(opened, late)
    assert ids(opened, digest=DIGEST, known_at=START) == {early["id"]}
    assert ids(opened, digest=DIGEST, known_at=START + timedelta(hours=1)) == {early["id"], late["id"]}
    assert ids(opened, record=late["id"], known_at=START) == set()


@pytest.mark.guarantee(20)
def test_a_namespace_gets_what_is_its_own_whatever_is_selected(opened: Store, story: dict[str, dict[str, Any]]) -> None:
    bank = named(story, "bank", "bank ran")
    assert ids(opened, digest=DIGEST, namespace="bank") == bank
    assert ids(opened, namespace="bank") == bank
    assert ids(opened, run="containerd://web", namespace="bank") == set()
    for name in ("web", "web ran", "web ended", "denied", "gap"):
        assert ids(opened, record=story[name]["id"], namespace="bank") == set(), name
    assert ids(opened, digest=OTHER, namespace="bank") == set()


def test_of_an_image_that_runs_everywhere_only_the_newest_are_looked_at_for_a_proof(opened: Store) -> None:
    decisions = [decided(10 * number, pod=f"pod-{number}") for number in range(9)]
    runs = [sighting("Started", 10 * number + 1, uid=f"pod-{number}", id=f"c://{number}") for number in range(9)]
    put(opened, *decisions, *runs)
    found = opened.questions.gatherer.gather(Selection(digest=DIGEST), known_at=MUCH_LATER, newest=2)
    assert found is not None
    assert {item["id"] for item in found.leaves()} == {item["id"] for item in (*decisions[-2:], *runs[-2:])}


def test_runs_of_a_manifest_belong_to_the_index_that_was_admitted(opened: Store) -> None:
    """A kubelet names either; who asks for the index gets both, and no other container of the pod."""
    index = "sha256:" + "1d" * 32
    decision = decided(0, pod="web", digest=index)
    decision["images"][0]["manifests"] = [DIGEST]
    child = sighting("Started", 1, uid="web", id="c://child")
    sidecar = sighting("Started", 2, uid="web", id="c://sidecar", digest=OTHER, container="sidecar")
    put(opened, decision, child, sidecar)
    assert ids(opened, digest=index) == {decision["id"], child["id"]}
    assert ids(opened, digest=DIGEST) == {decision["id"], child["id"]}


@pytest.mark.parametrize(
    ("chosen", "code"),
    [
        ({}, "SelectionMissing"),
        ({"digest": DIGEST, "run": "x"}, "SelectionAmbiguous"),
        ({"record": "x", "run": "x"}, "SelectionAmbiguous"),
        ({"namespace": "shop", "since": START, "until": START}, "PeriodEmpty"),
        ({"digest": "sha256:12"}, "DigestMalformed"),
    ],
)
def test_a_selection_that_makes_no_sense_is_refused(opened: Store, chosen: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as raised:
        ids(opened, **chosen)
    assert raised.value.code == code


@pytest.mark.guarantee(10)
def test_too_much_is_refused_before_anything_is_written(
    opened: Store, story: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "MAX_RECORDS", 3)
    with pytest.raises(InputError, match="ExportTooLarge"):
        ids(opened, namespace="shop")
    monkeypatch.undo()
    found = opened.questions.gatherer.gather(Selection(record=story["denied"]["id"]), known_at=MUCH_LATER)
    assert found is not None
    monkeypatch.setattr(assembling, "MAX_BYTES", len(EVIDENCE) - 1)
    about = Circumstances(Selection(record="x"), MUCH_LATER, MUCH_LATER, None, "0")
    with pytest.raises(InputError, match="ExportTooLarge"):
        assembling.assemble(found, about, KEY)
    monkeypatch.setattr(assembling, "MAX_BYTES", len(EVIDENCE))
    assert assembling.assemble(found, about, KEY)


def bundle(opened: Store, ledger_key: NoteKey | None = SIGNER.key(), **chosen: Any) -> bytes:  # noqa: B008 - frozen
    selection = Selection(**chosen)
    found = opened.questions.gatherer.gather(selection, known_at=MUCH_LATER)
    assert found is not None
    about = Circumstances(selection, MUCH_LATER, START, ledger_key, "0.1.0")
    return b"".join(archive.write(assembling.assemble(found, about, KEY)))


def checked(content: bytes, *keys: NoteKey) -> checking.BundleReport:
    return checking.verify(
        Archive(io.BytesIO(content)),
        export_key=KEY.private.public_key(),
        ledger_keys=keys or [SIGNER.key()],
        replay=lambda *_: (),
    )


@pytest.mark.guarantee(14)
def test_every_record_with_a_number_is_proven_to_one_checkpoint_and_the_others_are_told(
    opened: Store, database: Database, story: dict[str, dict[str, Any]]
) -> None:
    number(opened, database)
    late = decided(500, pod="late")
    put(opened, late)
    content = bundle(opened, namespace="shop")
    report = checked(content)
    assert report.findings == []
    assert (report.records, report.proven) == (8, 7)
    assert (report.checkpoint and report.checkpoint.size) == len(story)
    read = Archive(io.BytesIO(content))
    index = json.loads(read.read("index.json"))
    assert [item["id"] for item in index["records"] if item["index"] is None] == [late["id"]]
    for item in index["records"]:
        value = next(value for value in (*story.values(), late) if value["id"] == item["id"])
        assert json.loads(read.read(item["file"])) == value
    assert read.read(f"other/{hashlib.sha256(EVIDENCE).hexdigest()}.bin") == EVIDENCE


def test_the_same_question_gives_the_same_bytes_on_both_databases(
    opened: Store, database: Database, story: dict[str, dict[str, Any]]
) -> None:
    number(opened, database)
    assert bundle(opened, namespace="shop") == bundle(opened, namespace="shop")
    assert story


def test_without_a_ledger_nothing_is_claimed_of_it(
    opened: Store, story: dict[str, dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = checked(bundle(opened, record=story["web"]["id"]))
    assert (report.findings, report.records, report.proven, report.checkpoint) == ([], 4, 0, None)
    lone = leaf(evaluations=[])
    put(opened, lone)
    file = tmp_path / "unnumbered.tar"
    file.write_bytes(bundle(opened, None, record=lone["id"]))
    command = ["inventory", "export", "--verify", str(file)]
    assert run(command) == 0
    assert run([*command, "--ledger-key", str(SIGNER.key())]) == EXIT_ERROR  # he knows that there is one
    assert "the bundle has no checkpoint" in capfd.readouterr().out


def test_without_the_ledgers_key_nothing_fails_and_nothing_is_said_to_be_proven(
    opened: Store, database: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """That a key is not at hand is no finding about the bundle; a key that did not sign it is one."""
    lone = leaf(evaluations=[])
    put(opened, lone)
    number(opened, database)
    file = tmp_path / "keyless.tar"
    file.write_bytes(bundle(opened, None, record=lone["id"]))
    command = ["inventory", "export", "--verify", str(file)]
    assert run(command) == EXIT_ERROR
    out = capfd.readouterr().out
    assert "InclusionFails" not in out
    assert "does NOT hold" not in out
    assert "give it with --ledger-key" in out
    assert run([*command, "-o", "json"]) == EXIT_ERROR
    told = json.loads(capfd.readouterr().out)
    assert (told["holds"], told["ledgerKeyKnown"], told["findings"], told["recordsInLedger"]) == (False, False, [], 0)
    assert run([*command, "--ledger-key", str(SIGNER.key())]) == 0
    assert "1 of 1 records are proven" in capfd.readouterr().out
    other = NoteSigner.of_seed(SIGNER.key().name, b"\x09" * 32).key()
    assert run([*command, "--ledger-key", str(other)]) == EXIT_DENIED
    assert "CheckpointInvalid" in capfd.readouterr().out


def test_a_proof_that_this_version_cannot_make_again_is_not_one_that_fails(
    opened: Store, story: dict[str, dict[str, Any]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.tar"
    file.write_bytes(bundle(opened, record=story["denied"]["id"]))  # it does not say as what its evidence was found
    assert run(["inventory", "export", "--verify", str(file), "-o", "json"]) == EXIT_ERROR
    told = json.loads(capfd.readouterr().out)
    assert (told["holds"], told["impossible"], told["proofs"], told["findings"]) == (False, 2, 0, [])
    assert run(["inventory", "export", "--verify", str(file)]) == EXIT_ERROR
    out = capfd.readouterr().out
    assert "2 cannot be made again by this version of Assay: ReplayImpossible: the record does not say" in out
    assert "does NOT hold" not in out
