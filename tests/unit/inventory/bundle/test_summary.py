"""A summary says of an image what its decision says, and never more."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.inventory.bundle.summary import Summary, summarise
from tests.support.inventory import ARTIFACT, DIGEST, evaluation, excepted, image, leaf

PATHS = {ARTIFACT: "evidence/file.sigstore.json"}


def summary(*evaluations: dict[str, Any], **changes: Any) -> Summary | str:
    return summarise(leaf(evaluations=list(evaluations), **changes), DIGEST, PATHS)


def warned(outcome: str) -> dict[str, Any]:
    return evaluation(policy="advice", outcome=outcome) | {"actions": ["Warn"]}


@pytest.mark.parametrize(
    ("evaluations", "result"),
    [
        ([evaluation()], "PASSED"),
        ([evaluation(), evaluation(policy="other")], "PASSED"),
        ([evaluation(), warned("Violated")], "PASSED"),
        ([evaluation(outcome="Violated")], "FAILED"),
        ([evaluation(), evaluation(policy="other", outcome="Violated")], "FAILED"),
        ([evaluation(outcome="Violated"), evaluation(policy="other", outcome="Error")], "FAILED"),
        ([excepted()], "FAILED"),  # let in, and yet it did not pass
        ([evaluation(outcome="Error")], "could not be judged"),
        ([evaluation(), evaluation(policy="other", outcome="Error")], "could not be judged"),
        ([excepted() | {"otherwise": "Error"}], "could not be judged"),
        ([warned("Satisfied")], "no policy that denies"),
        ([], "no policy that denies"),
    ],
)
@pytest.mark.guarantee(6)
def test_passed_is_only_what_every_denying_policy_was_satisfied_with(
    evaluations: list[dict[str, Any]], result: str
) -> None:
    made = summary(*evaluations)
    if isinstance(made, str):
        assert result in made
        return
    predicate = made.statement["predicate"]
    assert (made.result, predicate["verificationResult"]) == (result, result)
    assert predicate["verifiedLevels"] == (["SLSA_BUILD_LEVEL_UNEVALUATED"] if result == "PASSED" else ["FAILED"])


def test_the_whole_statement() -> None:
    value = leaf(evaluations=[evaluation()])
    made = summarise(value, DIGEST, PATHS)
    assert isinstance(made, Summary)
    assert made.statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "ghcr.io/acme/app", "digest": {"sha256": "a1" * 32}}],
        "predicateType": "https://slsa.dev/verification_summary/v1",
        "predicate": {
            "verifier": {"id": "https://assay.dev/verifier/local", "version": value["verifier"]},
            "timeVerified": "2026-11-22T11:00:00.000000Z",
            "resourceUri": f"pkg:oci/app@sha256%3A{'a1' * 32}?repository_url=ghcr.io/acme/app",
            "policy": {"uri": made.policies_path, "digest": {"sha256": made.policies_path[12:-5]}},
            "inputAttestations": [{"uri": PATHS[ARTIFACT], "digest": {"sha256": "c3" * 32}}],
            "verificationResult": "PASSED",
            "verifiedLevels": ["SLSA_BUILD_LEVEL_UNEVALUATED"],
            "slsaVersion": "1.0",
        },
    }
    assert json.loads(made.policies) == [value["evaluations"][0]["policy"]]


def test_another_image_of_the_same_pod_has_its_own() -> None:
    other = "sha256:" + "99" * 32
    value = leaf(
        images=[image(), image(digest=other)],
        evaluations=[evaluation(), evaluation(1, outcome="Violated")],
        verdict="Deny",
    )
    results = [summarise(value, digest, PATHS) for digest in (DIGEST, other)]
    assert [made.result for made in results if isinstance(made, Summary)] == ["PASSED", "FAILED"]
