"""Why a policy is about an image, or is not: each thing that it selects by, in words. Pure.

`review.scope` decides; this says the same for its author (a test holds the two together).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controller.model.policy import LabelRequirement, LabelSelector, Namespace
from controller.model.reference import Reference
from controller.policy.compiled import CompiledPolicy
from controller.policy.match import ImageMatcher, selects


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a policy selects by (`namespace`, `images`, `objectSelector`, `namespaceSelector`).

    `holds` is None where it could not be told: the policy's evaluation is an Error then.
    """

    name: str
    holds: bool | None
    detail: str


def checks(
    compiled: CompiledPolicy,
    *,
    reference: Reference | None,
    labels: Mapping[str, str],
    namespace_name: str,
    namespace: Namespace | None,
) -> tuple[Check, ...]:
    """Everything that the policy selects by, but for its conditions.

    `labels` are the pod's or the template's; `reference` is None for an image that is no reference; `namespace` for one
    that is not known.
    """
    return tuple(_checks(compiled, reference, labels, namespace_name, namespace))


def _checks(
    compiled: CompiledPolicy,
    reference: Reference | None,
    labels: Mapping[str, str],
    namespace_name: str,
    namespace: Namespace | None,
) -> Iterator[Check]:
    match, own = compiled.policy.spec.match, compiled.policy.identity.namespace
    if own:
        yield Check("namespace", own == namespace_name, f"the policy is of {own!r}, the object in {namespace_name!r}")
    yield _images(compiled.images, reference)
    if _asks(match.object_selector):
        holds = selects(match.object_selector, labels)
        yield Check("objectSelector", holds, _unmet(match.object_selector, labels) or "all of it holds")
    selector = match.namespace_selector
    if _asks(selector) and namespace is None:
        yield Check("namespaceSelector", None, f"the namespace {namespace_name!r} is not known")
    elif _asks(selector) and namespace is not None:
        yield Check(
            "namespaceSelector",
            selects(selector, namespace.labels),
            _unmet(selector, namespace.labels) or "all of it holds",
        )


def _images(matcher: ImageMatcher, reference: Reference | None) -> Check:
    if reference is None:
        return Check("images", True, "the image is no reference, and cannot be shown to be outside of any pattern")
    name = reference.name
    excluding, including = matcher.matching(name)
    if excluding:
        return Check("images", False, f"{_listed(excluding)} excludes {name}")
    if including:
        return Check("images", True, f"{_listed(including)} matches {name}")
    patterns = [pattern.text for pattern in matcher.patterns if not pattern.excludes]
    if not patterns:
        return Check("images", True, "no pattern is given, so every image matches that none excludes")
    return Check("images", False, f"none of {', '.join(patterns)} matches {name}")


def _listed(patterns: tuple[str, ...]) -> str:
    return ", ".join(patterns)


def _asks(selector: LabelSelector) -> bool:
    return bool(selector.match_labels or selector.match_expressions)


def _unmet(selector: LabelSelector, labels: Mapping[str, str]) -> str:
    """Each requirement that does not hold, with the label that is there."""
    wanted = [
        (LabelRequirement(key, "In", (value,)), f"{key} must be {value!r}") for key, value in selector.match_labels
    ]
    wanted += [(requirement, _asked(requirement)) for requirement in selector.match_expressions]
    unmet = []
    for requirement, text in wanted:
        if not selects(LabelSelector(match_expressions=(requirement,)), labels):
            there = labels.get(requirement.key)
            unmet.append(f"{text} and is {'not there' if there is None else repr(there)}")
    return "; ".join(unmet)


def _asked(requirement: LabelRequirement) -> str:
    values = ", ".join(requirement.values)
    words = {
        "In": f"must be one of {values}",
        "NotIn": f"must be none of {values}",
        "Exists": "must be there",
        "DoesNotExist": "must not be there",
    }
    return f"{requirement.key} {words.get(requirement.operator, requirement.operator)}"
