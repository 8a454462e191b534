"""A leaf that cannot be read is refused by name before it is queued; a strange one is not."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.errors import RecordingFailed
from controller.inventory import tables
from controller.inventory.recording.projecting import Projector, project
from controller.inventory.recording.projections import MAX_REMEMBERED, MAX_ROWS, Remembered
from tests.support.inventory import evaluation, image, leaf

NOW = datetime(2026, 11, 22, 11, tzinfo=UTC)

MALFORMED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "another schema": lambda v: v.update(schema="assay.dev/decision/v9"),
    "no verdict": lambda v: v.pop("verdict"),
    "unknown verdict": lambda v: v.update(verdict="Perhaps"),
    "empty id": lambda v: v.update(id=""),
    "empty key": lambda v: v.update(decisionKey=""),
    "number for a name": lambda v: v["object"].update(name=7),
    "no time zone": lambda v: v.update(decidedAt="2026-11-22T11:00:00"),
    "no time": lambda v: v.update(decidedAt="yesterday"),
    "image that is not there": lambda v: v.update(evaluations=[evaluation(3)]),
    "images that are no list": lambda v: v.update(images=None),
    "user that is no map": lambda v: v["request"].update(user="jane"),
    "half a character": lambda v: v.update(message="\ud800"),
    "inexact number": lambda v: v.update(latencyUs=2**60),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_leaf_is_refused(name: str) -> None:
    value = leaf()
    MALFORMED[name](value)
    with pytest.raises(RecordingFailed, match="LeafMalformed"):
        project(value)


def test_a_reference_that_no_one_can_read_is_recorded_as_it_was_written() -> None:
    (row,) = project(leaf(images=[image("NOT/a@reference", None)], evaluations=[])).images
    assert (row["reference"], row["repository"], row["tag"], row["digest"]) == ("NOT/a@reference", "", "", None)


def test_fields_that_a_later_version_adds_do_not_matter() -> None:
    value = leaf()
    value["object"]["labels"] = {"app": "web"}
    value["evaluations"][0]["evidenceSet"] = "sha256:" + "00" * 32
    assert project(value).decision["name"] == "web-0"


@pytest.mark.guarantee(5)
def test_nothing_is_found_about_an_image_that_was_never_resolved() -> None:
    assert project(leaf(images=[image(digest=None)])).of(tables.verification) == ()


def test_one_fact_has_one_name_whatever_decision_rests_on_it() -> None:
    def facts(value: dict[str, Any]) -> list[str]:
        return [row["fact"] for row in project(value).of(tables.verification)]

    assert facts(leaf(1)) == facts(leaf(2))
    assert len(set(facts(leaf(1)))) == 3
    assert not set(facts(leaf(evaluations=[evaluation(policy="other")]))) & set(facts(leaf(1)))


@pytest.mark.guarantee(12)
def test_what_stands_in_a_malformed_leaf_is_not_quoted() -> None:
    with pytest.raises(RecordingFailed) as raised:
        project(leaf(decidedAt="s3cr3t"))
    assert "ValueError" in raised.value.message
    assert "s3cr3t" not in raised.value.message
    value = leaf()
    del value["evaluations"][0]["outcome"]
    with pytest.raises(RecordingFailed, match="KeyError: 'outcome'"):
        project(value)


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_leaf_is_refused_as_well_when_its_judgement_is_known(name: str) -> None:
    projector = Projector()
    projector.project(leaf())
    value = leaf()
    MALFORMED[name](value)
    with pytest.raises(RecordingFailed, match="LeafMalformed"):
        projector.project(value)


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "nothing": lambda v: v.update({}),
    "namespace": lambda v: v["object"].update(namespace="elsewhere"),
    "cluster": lambda v: v.update(cluster="elsewhere"),
    "object without a uid": lambda v: v["object"].update(uid=""),
    "verdict": lambda v: v.update(verdict="Deny"),
    "outcome": lambda v: v["evaluations"][0].update(outcome="Violated", actions=["Deny"]),
    "policy": lambda v: v["evaluations"][0]["policy"].update(hash="sha256:other"),
    "true for one": lambda v: v["evaluations"][0].update(image=False),
    "image": lambda v: v["images"][0].update(digest="sha256:" + "11" * 32),
    "blobs": lambda v: v.update(blobs=["sha256:" + "22" * 32]),
    "flags": lambda v: v.update(flags=["fail-open"]),
    "message": lambda v: v.update(message="\N{SNOWMAN}"),
    "a name beyond ASCII": lambda v: v.update({"\N{SNOWMAN}": 1.5}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_is_remembered_of_another_leaf_changes_nothing(name: str) -> None:
    projector = Projector()
    projector.project(leaf())
    value = leaf(2)
    CHANGES[name](value)
    assert projector.project(value) == project(value)


def test_judgements_that_are_remembered_are_bounded() -> None:
    projector = Projector(max_bytes=50_000)
    for number in range(50):
        projector.project(leaf(evaluations=[evaluation(policy=f"policy-{number}")]))
    assert 2 < len(projector._known) < 20
    assert projector._bytes <= 50_000


def test_judgements_that_are_remembered_are_counted_with_their_rows() -> None:
    projector = Projector()
    texts = [json.dumps(leaf(evaluations=[evaluation(policy=f"policy-{number}")])) for number in range(300)]
    tracemalloc.start()
    for text in texts:
        projector.project(json.loads(text))
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(projector._known) == 300
    assert 0.7 < projector._bytes / held < 1.4


def test_what_is_remembered_of_the_database_is_bounded_and_rows_displace_no_judgement() -> None:
    remembered = Remembered()
    times = (NOW, NOW)
    remembered.add({("judgement", b"first"): times})
    for start in range(0, 3 * MAX_ROWS, 1000):
        remembered.add({("verification", str(number)): times for number in range(start, start + 1000)})
        assert len(remembered._rows) <= MAX_ROWS
    assert remembered.covers(("judgement", b"first"), times)
    assert remembered.covers(("verification", str(3 * MAX_ROWS - 1)), times)
    assert not remembered.covers(("verification", "0"), times)
    for start in range(0, 2 * MAX_REMEMBERED, 1000):
        remembered.add({("blob", str(number)): times for number in range(start, start + 1000)})
        assert len(remembered._whole) <= MAX_REMEMBERED
    assert remembered.is_fresh(("blob", str(2 * MAX_REMEMBERED - 1)), NOW)
    assert not remembered.covers(("judgement", b"first"), times)


def test_what_was_committed_together_keeps_one_pair_of_times() -> None:
    remembered = Remembered()
    remembered.add({("blob", name): (NOW, datetime.fromtimestamp(NOW.timestamp(), UTC)) for name in "ab"})
    assert remembered._known(("blob", "a")) is remembered._known(("blob", "b"))
