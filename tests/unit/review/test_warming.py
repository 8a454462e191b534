"""What mutation starts for the validation that follows: everything that can be looked up, and no judgement."""

from __future__ import annotations

import asyncio
import base64
import json
import math
from typing import Any

import pytest

from controller import admission
from controller.errors import Unavailable
from controller.model.deadline import Deadline
from controller.model.decision import Verdict
from controller.review import judge
from controller.review.pipeline import Pipeline
from tests.support.review import World, pod, policy, review

LATER = Deadline(math.inf)
RULE = {"validations": [{"expression": "request.userInfo.username == 'alice'"}]}


async def _mutated(pipeline: Pipeline, image: str) -> dict[str, Any]:
    """The pod as `/mutate` leaves it, once nothing is under way in the background any more."""
    obj = pod(image)
    answer = admission.patch_response(
        "uid", await pipeline.mutate(admission.parse_request(review(obj)["request"]), deadline=LATER)
    )
    await asyncio.gather(*pipeline._warming)
    return admission.apply_pins(obj, json.loads(base64.b64decode(answer["response"]["patch"])))


async def test_validation_finds_everything_that_mutation_started() -> None:
    world = World(policies=[policy(**RULE)])
    pipeline = world.pipeline()
    pinned = await _mutated(pipeline, "ghcr.io/acme/app:1")
    world.calls.clear()

    decision = await pipeline.validate(admission.parse_request(review(pinned)["request"]), deadline=LATER)

    assert decision.verdict is Verdict.ALLOW
    assert not [call for call in world.calls if call.split()[0] in {"resolve", "discover", "assess"}]
    await pipeline.close()


async def test_mutation_judges_no_rule_that_reads_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    real = judge.evaluate_request_rules

    def spy(*arguments: Any, **named: Any) -> Any:
        judged.append(named["use"].text)
        return real(*arguments, **named)

    monkeypatch.setattr(judge, "evaluate_request_rules", spy)
    pipeline = World(policies=[policy(**RULE)]).pipeline()

    pinned = await _mutated(pipeline, "ghcr.io/acme/app:1")
    assert judged == []
    await pipeline.validate(admission.parse_request(review(pinned)["request"]), deadline=LATER)

    assert len(judged) == 1
    await pipeline.close()


async def test_what_mutation_could_not_make_ready_is_no_fault_of_its_own() -> None:
    world = World(fail={"discover": _away})
    pipeline = world.pipeline()

    pinned = await _mutated(pipeline, "ghcr.io/acme/app:1")
    decision = await pipeline.validate(admission.parse_request(review(pinned)["request"]), deadline=LATER)

    assert decision.verdict is Verdict.DENY
    assert "the registry does not answer" in decision.message
    await pipeline.close()


def _away() -> None:
    raise Unavailable("RegistryUnavailable", "the registry does not answer")
