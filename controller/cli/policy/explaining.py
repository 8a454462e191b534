"""How explanations are told: lines for people, JSON with a schema for programs (docs/reference/explanations.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from controller.cli import render
from controller.policy.cel.tracing import Part, Shown
from controller.policy.matching import Check
from controller.policy.trace import Traced
from controller.review.explanation import About, Explanation, Outcome
from controller.review.leaf import evaluation_record, exception_record
from controller.review.pipeline import Reviewed

SCHEMA = "assay.dev/policy-explanation/v1alpha1"
_WIDTH = 60  # characters of an expression before its value stands on a line of its own


def as_json(reviewed: Reviewed, explanation: Explanation) -> dict[str, Any]:
    """Schema `assay.dev/policy-explanation/v1alpha1`."""
    workload, decision = reviewed.scope.workload, reviewed.decision
    return {
        "schema": SCHEMA,
        "object": {"kind": workload.kind, "namespace": workload.namespace, "name": workload.name},
        "verdict": str(decision.verdict),
        "message": decision.message,
        "warnings": list(decision.warnings),
        "flags": list(decision.flags),
        "images": [
            {
                "container": covered.image.name,
                "kind": str(covered.image.kind),
                "field": covered.image.field,
                "image": covered.image.text,
                "policies": [about_json(about) for about in policies],
            }
            for covered, policies in explanation
        ],
    }


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """One evaluation: as in a leaf, with requirements and expressions."""
    record = evaluation_record(outcome.judged)
    explained, error = outcome.explained, outcome.error
    return {
        **record,
        "requirements": [{"rule": rule, "met": outcome.met(rule)} for rule in requirements(outcome)],
        "rulesAsked": explained.asked if explained is not None else False,
        "expressions": [_traced(one) for one in (explained.expressions if explained is not None else ())],
        "error": {"code": error.code, "message": error.message} if error is not None else None,
    }


def lines(reviewed: Reviewed, explanation: Explanation) -> Iterator[str]:
    """The whole explanation for people: what matched first, then what did not and why."""
    workload, decision = reviewed.scope.workload, reviewed.decision
    yield f"{render.coloured(str(decision.verdict))}  {workload.kind} {workload.namespace}/{workload.name}"
    for covered, policies in explanation:
        yield ""
        yield f"{covered.image.kind} {covered.image.name}: {covered.image.text}"
        for about in sorted(policies, key=lambda about: not about.matched):
            yield from (f"  {line}" for line in about_lines(about))


def about_lines(about: About) -> Iterator[str]:
    """One policy and one image."""
    identity = about.compiled.policy.identity
    if not about.matched:
        yield f"{identity} is not about it"
        yield from _why(about)
        return
    yield f"{identity} ({', '.join(about.compiled.policy.spec.validation_actions)})"
    yield from _why(about)
    for outcome in about.outcomes:
        yield from (f"  {line}" for line in outcome_lines(outcome))


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """One evaluation: outcome, requirements, what counted and what did not, and each expression."""
    evaluation, assessment = outcome.judged.evaluation, outcome.judged.assessment
    child = f"  {evaluation.child}" if evaluation.child is not None else ""
    yield f"{render.coloured(str(evaluation.outcome))}{child}"
    for exception in evaluation.exceptions:
        yield f"  exempt by {render.exception(exception_record(exception))} (else {evaluation.otherwise})"
    for rule in requirements(outcome):
        met = {True: "met", False: "not met", None: "not judged"}[outcome.met(rule)]
        yield f"  {rule}: {met}"
    evidence = assessment.evidence if assessment is not None else None
    for signature in evidence.signatures if evidence else ():
        yield f"  verified: signature by {signature.proof.signer.identity}, for {signature.proof.authority}"
    for attestation in evidence.attestations if evidence else ():
        what = f"{attestation.name} ({attestation.predicate_type})"
        yield f"  verified: {what} by {attestation.proof.signer.identity}, for {attestation.proof.authority}"
    for rejection in evidence.rejections if evidence else ():
        yield f"  did not count: {rejection.location}: {rejection.code}: {rejection.message}"
    for reason in evaluation.reasons:
        yield f"  {reason.rule}: {reason.code}: {reason.message}"
    if outcome.error is not None:
        yield f"  the rules' parts could not be found out: {outcome.error}"
    if outcome.explained is not None and not outcome.explained.asked and _has_rules(outcome):
        yield "  rules were not asked: a requirement is not met, or a document could not be read"
    for traced in outcome.explained.expressions if outcome.explained is not None else ():
        yield from (f"  {line}" for line in traced_lines(traced))


def traced_lines(traced: Traced) -> Iterator[str]:
    """One expression with the value of each of its parts."""
    yield f"{traced.name} is {_value(traced.value)}"
    for part in traced.parts:
        text, found = f"{'  ' * part.depth}{part.text}", _values(part)
        if len(text) <= _WIDTH:
            yield f"  {text:{_WIDTH}}  {found}"
        else:
            yield f"  {text}"
            yield f"  {'  ' * part.depth}    = {found}"


def requirements(outcome: Outcome) -> Sequence[str]:
    """The rules' names of the policy's requirements of evidence."""
    spec = outcome.judged.compiled.policy.spec
    signatures = ["signatures"] if spec.signatures is not None else []
    return [*signatures, *(f"attestations[{entry.name}]" for entry in spec.attestations)]


def _has_rules(outcome: Outcome) -> bool:
    compiled = outcome.judged.compiled
    return bool(compiled.rules or compiled.annotations)


def _why(about: About) -> Iterator[str]:
    for check in about.checks:
        if about.matched or check.holds is not True:
            yield f"  {'' if check.holds else 'not '}{check.name}: {check.detail}"
    if about.matched or all(check.holds for check in about.checks):
        for condition in about.conditions:
            yield from (f"  {line}" for line in traced_lines(condition))


def about_json(about: About) -> dict[str, Any]:
    """One policy and one image."""
    identity = about.compiled.policy.identity
    return {
        "policy": {
            "kind": identity.kind,
            "namespace": identity.namespace,
            "name": identity.name,
            "hash": identity.hash,
        },
        "matched": about.matched,
        "checks": [_check(check) for check in about.checks],
        "conditions": [_traced(condition) for condition in about.conditions],
        "evaluations": [outcome_json(outcome) for outcome in about.outcomes],
    }


def _check(check: Check) -> dict[str, Any]:
    return {"name": check.name, "holds": check.holds, "detail": check.detail}


def _traced(traced: Traced) -> dict[str, Any]:
    return {
        "name": traced.name,
        "expression": traced.expression,
        "value": _shown(traced.value),
        "parts": [
            {
                "text": part.text,
                "line": part.line,
                "column": part.column,
                "depth": part.depth,
                "times": part.times,
                "values": [_shown(value) for value in part.values],
            }
            for part in traced.parts
        ],
    }


def _shown(value: Shown) -> dict[str, str]:
    return {"type": value.type, "text": value.text}


def _value(value: Shown) -> str:
    return f"an error: {value.text}" if value.type == "error" else value.text


def _values(part: Part) -> str:
    if part.times == 0:
        return "not evaluated"
    shown = [_value(value) for value in part.values]
    if part.times > len(shown):
        shown.insert(-1, f"… {part.times} in all")
    return ", ".join(shown)
