"""What a policy that is accepted may still not mean: what can never be met, what never applies, what does nothing.

Problems make a policy an Error; these do not. Some are refused all the same where a policy is written (they would only
be met at the first pod), the others are warnings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from controller.model.policy import Action, LabelSelector, PolicySpec, Problem
from controller.model.reference import Reference
from controller.policy.cel.constants import Outcome, outcomes
from controller.policy.compiled import CompiledPolicy
from controller.policy.match import ImagePattern
from controller.policy.regex import compile_pattern

NAMESPACE_NAME = "kubernetes.io/metadata.name"  # the label that the API server itself gives each namespace
NEVER_ASKED = "kube-system"  # beside Assay's own: no webhook configuration of the chart covers it
_ANY, _ANY_PART = "\ue000", "\ue001"  # `**` and `*` as characters that no pattern has


@dataclass(frozen=True, slots=True)
class Advice:
    """One finding; `refused` says that a policy with it is not to be taken."""

    problem: Problem
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Installation:
    """Assay's own place: its namespace, and its image where that is known."""

    namespace: str
    image: Reference | None = None


def advise(compiled: CompiledPolicy, installation: Installation) -> Iterator[Advice]:
    """Everything of this kind about a policy without problems."""
    spec = compiled.policy.spec
    yield from _rules(compiled)
    yield from _conditions(compiled)
    yield from _scope(compiled, installation)
    yield from _selection(compiled)
    yield from map(_warning, _patterns(compiled.images.patterns))
    yield from map(_warning, _unused_authorities(spec))
    yield from map(_warning, _unused_variables(compiled))


def _warning(problem: Problem) -> Advice:
    return Advice(problem)


def _rules(compiled: CompiledPolicy) -> Iterator[Advice]:
    for rule in compiled.rules:
        field = f"spec.validations[{rule.index}].expression"
        found = outcomes(rule.program, compiled.limits)
        if Outcome.TRUE not in found:
            ends = "always fails" if found == {Outcome.FAILS} else "is never true"
            message = (
                f"{ends}, whatever the image, so nothing could satisfy the policy; say what must hold, such as "
                "image.registry != 'docker.io'"
            )
            yield Advice(Problem("RuleNeverTrue", field, message), refused=True)
        elif found == {Outcome.TRUE}:
            message = "is always true, whatever the image, so it demands nothing; remove it or say what must hold"
            yield Advice(Problem("RuleAlwaysTrue", field, message))


def _conditions(compiled: CompiledPolicy) -> Iterator[Advice]:
    places = {condition.name: i for i, condition in enumerate(compiled.policy.spec.match.conditions)}
    for condition in compiled.conditions:
        field = f"spec.match.conditions[{places[condition.name]}].expression"
        found = outcomes(condition.program, compiled.limits)
        if found == {Outcome.FAILS}:
            message = "always fails, so every image would be an Error; say when the policy applies"
            yield Advice(Problem("ConditionFails", field, message), refused=True)
        elif Outcome.TRUE not in found:
            yield Advice(Problem("ConditionNeverTrue", field, "is never true, so the policy applies to nothing"))


def _scope(compiled: CompiledPolicy, installation: Installation) -> Iterator[Advice]:
    """Assay itself, and namespaces of which the API server never asks (docs/design/policies-and-assay-itself.md)."""
    spec, own, namespace = compiled.policy.spec, installation.namespace, compiled.policy.identity.namespace
    denies = Action.DENY in spec.validation_actions
    selected = namespace == own or (not namespace and _names(spec.match.namespace_selector, own))
    field = "metadata.namespace" if namespace else "spec.match.namespaceSelector"
    if denies and selected and _matches_assay(compiled, installation):
        message = (
            f"binds {own}, where Assay itself runs: the API server asks Assay about no pod there, and were it asked, "
            "Assay could not start without Assay; choose other namespaces or other images"
        )
        yield Advice(Problem("AssayItselfMatched", field, message), refused=True)
        return
    if selected or namespace == NEVER_ASKED:
        where = own if selected else NEVER_ASKED
        message = f"binds {where}, where the API server asks Assay about no pod: the policy never applies there"
        yield Advice(Problem("NamespaceNotReviewed", field, message))
    elif denies and not namespace and installation.image is not None and compiled.images.matches(installation.image):
        name = installation.image.name
        message = (
            f"matches Assay's own image {name}: Assay itself is not affected, since pods of {own} are not reviewed, "
            f"but in any other namespace it needs this evidence, too; exclude it with '!{name}' if it has none"
        )
        yield Advice(Problem("AssayImageMatched", "spec.match.images", message))


def _names(selector: LabelSelector, namespace: str) -> bool:
    """Whether a selector asks for this namespace by its name."""
    return (NAMESPACE_NAME, namespace) in selector.match_labels or any(
        requirement.key == NAMESPACE_NAME and requirement.operator == "In" and namespace in requirement.values
        for requirement in selector.match_expressions
    )


def _matches_assay(compiled: CompiledPolicy, installation: Installation) -> bool:
    if installation.image is not None:
        return compiled.images.matches(installation.image)
    return not any(not pattern.excludes and pattern.text != "**" for pattern in compiled.images.patterns)


def _selection(compiled: CompiledPolicy) -> Iterator[Advice]:
    """A denial that rests on what the pod's author wrote is one that he may write himself out of."""
    spec = compiled.policy.spec
    if Action.DENY not in spec.validation_actions:
        return
    why = "which the pod's author writes: whoever is to be denied can leave it out. Select by namespace or image"
    if spec.match.object_selector != LabelSelector():
        yield Advice(Problem("SelectedByAuthor", "spec.match.objectSelector", f"reads the object's labels, {why}"))
    for i, condition in enumerate(compiled.conditions):
        if "object.metadata" in condition.program.reads:
            field = f"spec.match.conditions[{i}].expression"
            yield Advice(Problem("SelectedByAuthor", field, f"reads the object's metadata, {why}"))


def _patterns(patterns: Sequence[ImagePattern]) -> Iterator[Problem]:
    """Patterns that match nothing that another does not match, and those that an exclusion leaves nothing of."""
    matchers = [compile_pattern(_covering(pattern)) for pattern in patterns]
    for i, pattern in enumerate(patterns):
        subject = pattern.text.replace("***", "**").replace("**", _ANY).replace("*", _ANY_PART)
        covering = [j for j, matcher in enumerate(matchers) if j != i and matcher.fullmatch(subject) is not None]
        field = f"spec.match.images[{i}]"
        excluding = next((j for j in covering if patterns[j].excludes and not pattern.excludes), None)
        if excluding is not None:
            message = f"matches nothing: '!{patterns[excluding].text}' excludes all of it"
            yield Problem("PatternRedundant", field, message)
            continue
        for j in covering:
            # Of two that match the same, the later one is told.
            same = patterns[j].text == pattern.text
            if patterns[j].excludes == pattern.excludes and not (same and j > i):
                shown = f"{'!' * pattern.excludes}{patterns[j].text}"
                verb = "excludes" if pattern.excludes else "matches"
                yield Problem("PatternRedundant", field, f"{verb} nothing more than {shown!r} does; remove it")
                break


def _covering(pattern: ImagePattern) -> str:
    """An expression that matches the text of a pattern (wildcards as characters) only if it covers all that it matches.

    `**` takes any characters, wildcards included; `*` all but `/` and `**`.
    """
    return pattern.expression().replace("[^/]*", f"[^/{_ANY}]*")


def _unused_authorities(spec: PolicySpec) -> Iterator[Problem]:
    used = set(spec.signatures.authorities if spec.signatures is not None else ())
    used.update(name for requirement in spec.attestations for name in requirement.authorities)
    for i, authority in enumerate(spec.authorities):
        if authority.name not in used:
            message = f"{authority.name!r} is in no requirement's authorities, so what it signs counts for nothing"
            yield Problem("AuthorityUnused", f"spec.authorities[{i}]", message)


def _unused_variables(compiled: CompiledPolicy) -> Iterator[Problem]:
    programs = [rule.program for rule in compiled.rules]
    programs += [rule.message for rule in compiled.rules if rule.message is not None]
    programs += [annotation.program for annotation in compiled.annotations]
    programs += [program for _, program in compiled.variables]
    reads = frozenset[str]().union(*(program.reads for program in programs))
    if "variables" in reads:
        return  # read by a name that is only known later
    for i, (name, _) in enumerate(compiled.variables):
        if f"variables.{name}" not in reads:
            yield Problem("VariableUnused", f"spec.variables[{i}]", f"variables.{name} is read by no expression")
