"""Conditions as Kubernetes has them: written when they change, and only then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from controller.model.policy import Problem
from controller.operator.status import MAX_MESSAGE, MAX_PROBLEMS, Condition, status_patch, told

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = Condition("Ready", True, "InForce", "In force as written.")
BAD = Condition("Ready", False, "Broken", "spec: broken.")


def _object(status: dict[str, Any] | None = None, generation: int = 3) -> dict[str, Any]:
    return {"metadata": {"name": "p", "generation": generation}, **({"status": status} if status else {})}


def test_a_status_has_times_and_the_generation_that_it_is_about() -> None:
    assert status_patch(_object(), [GOOD], now=NOW, hash="sha256:1") == {
        "status": {
            "hash": "sha256:1",
            "observedGeneration": 3,
            "conditions": [
                {
                    "type": "Ready",
                    "status": "True",
                    "reason": "InForce",
                    "message": "In force as written.",
                    "observedGeneration": 3,
                    "lastTransitionTime": "2026-01-02T03:04:05Z",
                }
            ],
        }
    }


def test_a_status_that_says_it_already_is_not_written_again() -> None:
    patch = status_patch(_object(), [GOOD], now=NOW, hash="sha256:1")
    assert patch is not None
    assert status_patch(_object(patch["status"]), [GOOD], now=NOW + timedelta(days=1), hash="sha256:1") is None
    assert status_patch(_object(patch["status"], generation=4), [GOOD], now=NOW, hash="sha256:1") is not None


def test_the_transition_time_changes_with_the_status_alone() -> None:
    first = status_patch(_object(), [BAD], now=NOW)
    assert first is not None
    later = NOW + timedelta(hours=1)
    same = status_patch(_object(first["status"]), [Condition("Ready", False, "Other", "Other.")], now=later)
    other = status_patch(_object(first["status"]), [GOOD], now=later)
    assert same is not None
    assert other is not None
    assert same["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert other["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-02T04:04:05Z"


def test_conditions_of_others_are_kept() -> None:
    foreign = {"type": "Foreign", "status": "True", "reason": "X", "message": "", "lastTransitionTime": "t"}
    patch = status_patch(_object({"conditions": [foreign]}), [GOOD], now=NOW)
    assert patch is not None
    assert patch["status"]["conditions"][1] == foreign


def test_many_problems_are_told_bounded() -> None:
    text = told([Problem("Code", f"spec.field[{i}]", "x" * 2000) for i in range(50)])
    assert len(text) <= MAX_MESSAGE
    assert told([Problem("C", "spec", "no")] * (MAX_PROBLEMS + 2)).endswith("And 2 more.")
