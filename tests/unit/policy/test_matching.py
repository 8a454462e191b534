"""Why a policy is about an image: the words follow the decision of `match` and `review.scope`, and never differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.policy import Namespace
from controller.model.reference import Reference
from controller.policy.compiled import CompiledPolicy, compile_policy
from controller.policy.matching import Check, checks
from controller.policy.parse import parse_policy
from tests.unit.policy.make import compiled, resource

REFERENCE = Reference.parse("ghcr.io/acme/app:1")


def asked(
    made: CompiledPolicy,
    *,
    labels: dict[str, str] | None = None,
    name: str = "shop",
    namespace: Namespace | None = None,
    reference: Reference | None = REFERENCE,
) -> dict[str, Check]:
    found = checks(made, reference=reference, labels=labels or {}, namespace_name=name, namespace=namespace)
    return {check.name: check for check in found}


@pytest.mark.parametrize(
    ("patterns", "holds", "detail"),
    [
        ([], True, "no pattern is given, so every image matches that none excludes"),
        (["ghcr.io/acme/**"], True, "ghcr.io/acme/** matches ghcr.io/acme/app"),
        (["**", "ghcr.io/acme/*", "x.io/**"], True, "**, ghcr.io/acme/* matches ghcr.io/acme/app"),
        (["**", "!ghcr.io/acme/app"], False, "!ghcr.io/acme/app excludes ghcr.io/acme/app"),
        (["x.io/**", "y.io/z"], False, "none of x.io/**, y.io/z matches ghcr.io/acme/app"),
        (["!x.io/**"], True, "no pattern is given, so every image matches that none excludes"),
    ],
)
def test_the_pattern_that_decided_is_named(patterns: list[str], holds: bool, detail: str) -> None:
    check = asked(compiled(match={"images": patterns}))["images"]
    assert (check.holds, check.detail) == (holds, detail)


def test_an_image_that_is_no_reference_is_everybodys_matter() -> None:
    assert asked(compiled(match={"images": ["x.io/**"]}), reference=None)["images"].holds is True


def test_each_label_that_does_not_hold_is_named_with_what_is_there() -> None:
    selector = {
        "matchLabels": {"team": "red"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["a", "b"]},
            {"key": "old", "operator": "DoesNotExist"},
            {"key": "new", "operator": "Exists"},
            {"key": "zone", "operator": "NotIn", "values": ["z"]},
        ],
    }
    made = compiled(match={"objectSelector": selector, "namespaceSelector": {"matchLabels": {"env": "prod"}}})
    found = asked(made, labels={"team": "blue", "old": "1", "zone": "z"}, namespace=Namespace("shop", {"env": "dev"}))
    assert found["objectSelector"].holds is False
    assert found["objectSelector"].detail == (
        "team must be 'red' and is 'blue'; tier must be one of a, b and is not there; "
        "old must not be there and is '1'; new must be there and is not there; zone must be none of z and is 'z'"
    )
    assert found["namespaceSelector"] == Check("namespaceSelector", False, "env must be 'prod' and is 'dev'")
    good = {"team": "red", "tier": "a", "new": ""}
    found = asked(made, labels=good, namespace=Namespace("shop", {"env": "prod"}))
    assert (found["objectSelector"].holds, found["namespaceSelector"].holds) == (True, True)


def test_a_namespace_that_is_not_known_is_neither_yes_nor_no() -> None:
    assert asked(compiled(match={"namespaceSelector": {"matchLabels": {"a": "b"}}}))["namespaceSelector"].holds is None


def test_a_policy_of_another_namespace_says_so() -> None:
    made = compile_policy(parse_policy(resource(namespace="bank")))
    assert asked(made)["namespace"] == Check("namespace", False, "the policy is of 'bank', the object in 'shop'")
    assert asked(made, name="bank")["namespace"].holds is True


parts = st.sampled_from(["ghcr.io/acme/app", "ghcr.io/acme/*", "ghcr.io/**", "**", "x.io/y", "ghcr.io/other/**"])
patterns = st.lists(st.tuples(st.sampled_from(["", "!"]), parts).map("".join), max_size=4, unique=True)


@given(patterns)
def test_the_words_agree_with_the_matcher(written: list[str]) -> None:
    made: Any = compiled(match={"images": written})
    assert asked(made)["images"].holds is made.images.matches(REFERENCE)
