"""Image patterns see normal forms only; selectors are Kubernetes' own."""

from __future__ import annotations

import pytest

from controller.errors import PolicyError
from controller.model.policy import LabelRequirement, LabelSelector
from controller.model.reference import Reference
from controller.policy.match import ImageMatcher, ImagePattern, selects


def matches(patterns: list[str], image: str) -> bool:
    return ImageMatcher(ImagePattern.parse(text) for text in patterns).matches(Reference.parse(image))


@pytest.mark.parametrize(
    ("patterns", "image", "expected"),
    [
        ([], "nginx", True),
        (["**"], "nginx", True),
        (["ghcr.io/acme/**"], "ghcr.io/acme/team/app:1", True),
        (["ghcr.io/acme/**"], "ghcr.io/acmeevil/app", False),
        (["ghcr.io/acme/**"], "ghcr.io/acme", False),
        (["ghcr.io/acme/*"], "ghcr.io/acme/team/app", False),
        (["ghcr.io/acme/*"], "ghcr.io/acme/app", True),
        (["ghcr.io/*/app"], "ghcr.io/acme/app", True),
        (["ghcr.io/**/app"], "ghcr.io/a/b/app", True),
        (["GHCR.io/acme/app"], "ghcr.io/acme/app@sha256:" + "a" * 64, True),
        (["ghcr.io/acme/app"], "GHCR.IO:443/acme/app:1", True),
        (["ghcr.io:443/acme/app"], "ghcr.io/acme/app", True),
        (["docker.io/nginx"], "nginx", True),
        (["docker.io/library/nginx"], "index.docker.io/nginx", True),
        (["index.docker.io/**"], "acme/app", True),
        (["docker.io/*"], "nginx", True),
        (["docker.io/*"], "acme/app", False),
        (["*.dkr.ecr.*.amazonaws.com/**"], "1.dkr.ecr.eu-west-1.amazonaws.com/app", True),
        (["**/app"], "localhost:5000/team/app", True),
        (["localhost:5000/**"], "localhost:5000/app", True),
        (["ghcr.io/acme/a.p"], "ghcr.io/acme/axp", False),
        (["ghcr.io/acme/**", "!ghcr.io/acme/sandbox/**"], "ghcr.io/acme/sandbox/x", False),
        (["!ghcr.io/acme/sandbox/**", "ghcr.io/acme/**"], "ghcr.io/acme/sandbox/x", False),
        (["!ghcr.io/acme/sandbox/**"], "quay.io/x/y", True),
        (["!docker.io/*"], "nginx", False),
    ],
)
def test_patterns_match_the_normal_form_of_a_reference(patterns: list[str], image: str, *, expected: bool) -> None:
    assert matches(patterns, image) is expected


@pytest.mark.parametrize(
    ("pattern", "fix"),
    [
        ("nginx", "docker.io/library/nginx"),
        ("acme/app", "docker.io/acme/app"),
        ("ghcr.io", "ghcr.io/**"),
        ("*", "**"),
        ("ghcr.io/", "ghcr.io/**"),
        ("ghcr.io/acme/", "ghcr.io/acme/**"),
        ("ghcr.io/acme/*/", "ghcr.io/acme/*/**"),
        ("!ghcr.io/acme/sandbox/", "!ghcr.io/acme/sandbox/**"),
        ("**/", "**"),
        ("ghcr.io//acme/**", "ghcr.io/acme/**"),
        ("ghcr.io/acme/app:1", "tag or digest"),
        ("ghcr.io/acme/app@sha256:" + "a" * 64, "tag or digest"),
        ("ghcr.io/Acme/app", "allowed are"),
        ("ghcr.io/acme/ap?", "allowed are"),
        ("ghcr.io/" + "a" * 600, "512"),
        ("!", "1 to 512"),
    ],
)
def test_a_pattern_that_could_never_match_is_refused_with_the_fix(pattern: str, fix: str) -> None:
    with pytest.raises(PolicyError, match="image pattern") as raised:
        ImagePattern.parse(pattern)
    assert fix in raised.value.message


def test_many_wildcards_cost_no_more_than_their_length() -> None:
    assert not matches(["ghcr.io/" + "**a" * 60], "ghcr.io/" + "a" * 240 + "b")


@pytest.mark.parametrize(
    ("requirement", "labels", "expected"),
    [
        (("a", "In", ("x", "y")), {"a": "y"}, True),
        (("a", "In", ("x",)), {"a": "z"}, False),
        (("a", "In", ("x",)), {}, False),
        (("a", "NotIn", ("x",)), {"a": "x"}, False),
        (("a", "NotIn", ("x",)), {"a": "z"}, True),
        (("a", "NotIn", ("x",)), {}, True),
        (("a", "Exists", ()), {"a": ""}, True),
        (("a", "Exists", ()), {}, False),
        (("a", "DoesNotExist", ()), {}, True),
        (("a", "DoesNotExist", ()), {"a": ""}, False),
    ],
)
def test_selectors_are_those_of_kubernetes(
    requirement: tuple[str, str, tuple[str, ...]], labels: dict[str, str], *, expected: bool
) -> None:
    selector = LabelSelector(match_expressions=(LabelRequirement(*requirement),))
    assert selects(selector, labels) is expected
    assert (
        selects(LabelSelector(match_labels=(("b", "1"),), match_expressions=selector.match_expressions), labels)
        is False
    )
    assert selects(LabelSelector(), labels) is True
