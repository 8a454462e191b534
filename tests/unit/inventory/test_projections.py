"""A leaf that cannot be read is refused by name before it is queued; a strange one is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from controller.errors import RecordingFailed
from controller.inventory.projections import project
from tests.support.inventory import evaluation, image, leaf

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
    assert project(leaf(images=[image(digest=None)])).facts == ()


def test_one_fact_has_one_name_whatever_decision_rests_on_it() -> None:
    one, two = project(leaf(1)), project(leaf(2))
    assert [row["fact"] for row in one.facts] == [row["fact"] for row in two.facts]
    assert len({row["fact"] for row in one.facts}) == 3
    other_policy = project(leaf(evaluations=[evaluation(policy="other")]))
    assert not {row["fact"] for row in other_policy.facts} & {row["fact"] for row in one.facts}
