"""Right verdicts, through the whole pipeline: what is asked, what is said of it, and that nothing is left out."""

from __future__ import annotations

import math
from typing import Any

import pytest

from controller import admission
from controller.errors import Unavailable
from controller.model.deadline import Deadline
from tests.support.review import PROVEN, ProvenWorld, pod, policy, recorded_authority, review

LATER = Deadline(math.inf)
SIGNATURE, OTHER_SIGNATURE, SPDX = "release.none.signature", "stranger.none.signature", "release.none.spdxjson"
APP, WEB = f"ghcr.io/acme/app@{PROVEN}", f"ghcr.io/acme/web@{PROVEN}"
SBOM = {"name": "sbom", "type": "SBOM", "authorities": ["release"]}


def signed(name: str = "signed", **spec: Any) -> dict[str, Any]:
    """A policy that requires the recorded release key's signature."""
    return policy(name, **{"authorities": [recorded_authority()], **spec})


def world(*policies: dict[str, Any], **beside: Any) -> ProvenWorld:
    """A world with these policies and this evidence by the last word of the repository; the app is signed."""
    known = {"app": (SIGNATURE,), "web": (SIGNATURE,)} | beside
    return ProvenWorld(
        policies=list(policies or (signed(),)),
        beside={f"ghcr.io/acme/{name}": found for name, found in known.items()},
    )


async def answer(around: ProvenWorld, *images: str, **changes: Any) -> dict[str, Any]:
    """The webhook's whole response about a pod of these images."""
    pipeline = around.pipeline()
    request = admission.parse_request(review(pod(*images), **changes)["request"])
    decision = await pipeline.validate(request, deadline=LATER)
    await pipeline.close()
    response: dict[str, Any] = admission.decision_response(request.uid, decision)["response"]
    return response


def message(response: dict[str, Any]) -> str:
    return str(response["status"]["message"])


# auditAnnotations


async def test_a_policy_s_annotations_are_answered_and_recorded_whatever_the_verdict() -> None:
    notes = [
        {"key": "signer", "valueExpression": "signatures[0].authority"},
        {"key": "who", "valueExpression": "'for ' + request.userInfo.username + ' ' + container.name"},
        {"key": "none", "valueExpression": "null"},
    ]
    rule = {"expression": "request.userInfo.username == 'alice'", "message": "only alice"}
    around = world(
        signed(auditAnnotations=notes, validations=[rule]),
        policy("own", namespace="shop", authorities=[recorded_authority()], auditAnnotations=notes[:1]),
    )
    expected = {
        "own__signer": "release",
        "signed_signer": "release",
        "signed_who": "for bob c0, for bob c1",
    }
    response = await answer(around, APP, WEB, userInfo={"username": "bob"})
    assert not response["allowed"]
    record = around.records[0]
    assert response["auditAnnotations"] == {
        "record": record["id"],
        "evaluations": "ClusterEvidencePolicy/signed=Violated EvidencePolicy/shop/own=Satisfied",
        **expected,
    }
    assert record["auditAnnotations"] == expected
    allowed = await answer(around, APP, userInfo={"username": "alice"})
    assert allowed["allowed"]
    assert allowed["auditAnnotations"]["signed_who"] == "for alice c0"


async def test_an_annotation_says_nothing_of_evidence_that_is_not_proven() -> None:
    notes = [
        {"key": "signer", "valueExpression": "'signed by ' + signatures[0].authority"},
        {"key": "who", "valueExpression": "request.userInfo.username"},
    ]
    around = world(signed(auditAnnotations=notes), app=(OTHER_SIGNATURE,))
    response = await answer(around, APP)
    assert [reason["code"] for reason in around.records[0]["evaluations"][0]["reasons"]] == ["SignatureNotTrusted"]
    assert set(response["auditAnnotations"]) == {"record", "evaluations"}
    assert "auditAnnotations" not in around.records[0]


@pytest.mark.parametrize("failure_policy", ["Fail", "Ignore"])
@pytest.mark.parametrize("expression", ["signatures[9].authority", "object.spec.nothing"])
async def test_an_annotation_that_fails_denies_and_is_never_a_way_in(failure_policy: str, expression: str) -> None:
    notes = [{"key": "broken", "valueExpression": expression}, {"key": "good", "valueExpression": "'said'"}]
    spec = {"failurePolicy": failure_policy, "match": {"images": ["ghcr.io/acme/**"]}}
    response = await answer(world(signed(auditAnnotations=notes, **spec)), APP)
    assert not response["allowed"]
    assert "auditAnnotations[broken]: cannot be judged, ExpressionFailed: the annotation could not be" in message(
        response
    )
    assert response["auditAnnotations"]["signed_good"] == "said"


async def test_a_policy_may_do_nothing_but_annotate() -> None:
    notes = [{"key": "repository", "valueExpression": "image.repository"}]
    around = world(
        policy("notes", authorities=[], signatures=None, validationActions=["Audit"], auditAnnotations=notes)
    )
    response = await answer(around, APP, WEB)
    assert response["allowed"]
    assert response["auditAnnotations"]["notes_repository"] == "acme/app, acme/web"
    assert not [call for call in around.calls if call.startswith("discover")]


async def test_an_annotation_over_evidence_is_evaluated_once_and_one_over_the_request_each_time() -> None:
    notes = [
        {"key": "signer", "valueExpression": "signatures[0].authority"},
        {"key": "who", "valueExpression": "request.userInfo.username"},
    ]
    around = world(signed(auditAnnotations=notes))
    pipeline = around.pipeline()
    for user in ("alice", "bob"):
        request = admission.parse_request(review(pod(APP), userInfo={"username": user})["request"])
        decision = await pipeline.validate(request, deadline=LATER)
        assert dict(decision.annotations) == {"signed_signer": "release", "signed_who": user}
    assert sum(call.startswith("assess") for call in around.calls) == 1
    await pipeline.close()


# all reasons


async def test_every_reason_of_every_policy_is_told_at_once() -> None:
    rules = [
        {"expression": "size(signatures) == 2", "message": "two are needed"},
        {"expression": "request.userInfo.username == 'bob'", "message": "only bob"},
        {"expression": "object.spec.nothing == 1"},
        {"expression": "signatures[9].authority == 'x'"},
    ]
    around = world(
        signed("a", validations=rules),
        signed("b", attestations=[SBOM], signatures={"authorities": ["stranger"]},
               authorities=[recorded_authority(), recorded_authority("stranger")]),
    )  # fmt: skip
    response = await answer(around, APP)
    told = [line.strip() for line in message(response).splitlines() if line.startswith("  ClusterEvidencePolicy")]
    assert [line.partition(": ")[0].removeprefix("ClusterEvidencePolicy ") for line in told] == [
        "a, validations[0]",
        "a, validations[3]",
        "a, validations[1]",
        "a, validations[2]",
        "b, signatures",
        "b, attestations[sbom]",
    ]
    assert [len(e["reasons"]) for e in around.records[0]["evaluations"]] == [4, 2]


async def test_a_rule_of_the_request_that_is_broken_outranks_one_of_evidence_that_cannot_be_judged() -> None:
    rules = [{"expression": "signatures[9].authority == 'x'"}, {"expression": "request.userInfo.username == 'bob'"}]
    around = world(signed(validations=rules))
    await answer(around, APP)
    (evaluation,) = around.records[0]["evaluations"]
    assert (evaluation["outcome"], evaluation["errorKind"]) == ("Violated", None)
    assert [reason["rule"] for reason in evaluation["reasons"]] == ["validations[1]", "validations[0]"]


# actions


@pytest.mark.parametrize(
    ("actions", "allowed", "warned", "audited"),
    [
        (["Deny"], False, "", False),
        (["Warn"], True, "ClusterEvidencePolicy signed (warns only): ", False),
        (["Audit"], True, "", True),
        (["Deny", "Audit"], False, "", True),
        (["Warn", "Audit"], True, "ClusterEvidencePolicy signed (warns only): ", True),
        (["Deny", "Warn"], False, "ClusterEvidencePolicy signed: ", False),
        (["Deny", "Warn", "Audit"], False, "ClusterEvidencePolicy signed: ", True),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
async def test_each_of_several_actions_is_carried_out_and_nothing_else(
    actions: list[str], allowed: bool, warned: str, audited: bool, order: int
) -> None:
    around = world(signed(validationActions=actions[::order]), app=())
    response = await answer(around, APP)
    cause = "ghcr.io/acme/app@sha256:54431b46c876…: SignatureMissing: the image has no signature"
    assert response["allowed"] is allowed
    assert response.get("warnings", []) == ([f"{warned}{cause}"] if warned else [])
    assert ("audited" in response["auditAnnotations"]) is audited
    assert around.records[0]["evaluations"][0]["actions"] == actions
    assert around.records[0]["verdict"] == ("Allow" if allowed else "Deny")


# of several digest modes


@pytest.mark.guarantee(7)
@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("modes", "image", "allowed"),
    [
        ([("Deny", "Pin"), ("Deny", "Require")], "ghcr.io/acme/app:1", False),
        ([("Deny", "Pin"), ("Deny", "Require")], APP, True),
        ([("Deny", "Pin"), ("Audit", "Require")], f"ghcr.io/acme/app:1@{PROVEN}", True),
        ([("Deny", "Pin"), ("Warn", "Resolve")], f"ghcr.io/acme/app:1@{PROVEN}", True),
        ([("Deny", "Require"), ("Warn", "Resolve")], "ghcr.io/acme/app:1", False),
        ([("Audit", "Resolve"), ("Warn", "Pin")], f"ghcr.io/acme/app:1@{PROVEN}", True),
        ([("Audit", "Resolve"), ("Warn", "Resolve")], "ghcr.io/acme/app:1", True),
        ([("Audit", "Pin"), ("Warn", "Require")], "ghcr.io/acme/app:1", True),
    ],
)
async def test_of_several_digest_modes_the_strictest_of_those_that_deny_decides(
    modes: list[tuple[str, str]], image: str, allowed: bool, order: int
) -> None:
    policies = [signed(f"p{i}", validationActions=[action], digest=mode) for i, (action, mode) in enumerate(modes)]
    around = world(*policies[::order])
    pipeline = around.pipeline()
    obj = pod("ghcr.io/acme/app:1" if image != APP else APP)
    request = admission.parse_request(review(obj)["request"])
    pinned = admission.apply_pins(obj, list(await pipeline.mutate(request, deadline=LATER)))
    await pipeline.close()
    assert pinned["spec"]["containers"][0]["image"] == image
    response = await answer(around, image)
    assert response["allowed"] is allowed
    assert allowed or message(response).count("DigestRequired") == sum(action == "Deny" for action, _ in modes)


# one decision a pod, each image judged on its own


async def test_a_pod_gets_one_decision_whatever_the_number_of_its_images() -> None:
    images = [f"ghcr.io/acme/i{number}@{PROVEN}" for number in range(12)]
    around = world(**{f"i{number}": (SIGNATURE,) if number % 3 else () for number in range(12)})
    response = await answer(around, *images)
    assert not response["allowed"]
    (record,) = around.records
    outcomes = {record["images"][e["image"]]["container"]: e["outcome"] for e in record["evaluations"]}
    assert outcomes == {f"c{number}": "Satisfied" if number % 3 else "Violated" for number in range(12)}
    assert "4 images lack" in message(response)
    assert message(response).count("SignatureMissing") == 4


async def test_one_image_s_fault_is_not_another_s() -> None:
    away = Unavailable("RegistryUnavailable", "ghcr.io could not be reached")
    around = world(web=away, bad=())
    response = await answer(around, APP, WEB, f"ghcr.io/acme/bad@{PROVEN}")
    assert not response["allowed"]
    outcomes = [(e["outcome"], e["errorKind"]) for e in around.records[0]["evaluations"]]
    assert outcomes == [("Satisfied", None), ("Error", "Unavailable"), ("Violated", None)]
