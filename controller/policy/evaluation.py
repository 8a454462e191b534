"""Judges a policy's own rules: conditions before anything is fetched, validations over what was verified.

An error in a rule is an Error of the policy, never *unmatched*, never *violated* and never passed over. A rule whose
input is absent is an Error too (guarantee 17).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from controller.errors import AssayError, Unacceptable, Unavailable
from controller.model.decision import Reason
from controller.model.evidence import VerifiedEvidence
from controller.model.image import ImageUse, ResolvedImage
from controller.model.policy import Namespace
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest
from controller.policy import bindings
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.program import Program
from controller.policy.cel.values import Computed
from controller.policy.compiled import CompiledPolicy, CompiledRule
from controller.policy.findings import Findings

MAX_MESSAGE = 500  # characters of a rule's message; longer ones are cut


def conditions_hold(
    compiled: CompiledPolicy,
    *,
    request: AdmissionRequest | None,
    namespace: Namespace | None,
    image: ImageUse | None,
    reference: Reference | None,
) -> bool:
    """Whether all `match.conditions` are true, so that the policy is about this image of this request.

    Raises `Unacceptable` for a condition that cannot be judged: the policy is then an Error, never *unmatched*. As in
    Kubernetes' match conditions, one that is certainly false decides before one that fails. A policy that is not
    accepted is about every image that its patterns match.
    """
    if compiled.policy.problems:
        return True
    values = bindings.of_request(request=request, namespace=namespace, use=image, now=None)
    if reference is not None:
        values["image"] = bindings.of_reference(reference)
    failure: AssayError | None = None
    for condition in compiled.conditions:
        try:
            _check_present(condition.program.reads, values)
            if not condition.program.holds(values, Meter(compiled.limits)):
                return False
        except AssayError as exc:
            failure = failure or _named(exc, f"match.conditions[{condition.name}]")
    if failure is not None:
        raise failure
    return True


def evaluate_evidence_rules(compiled: CompiledPolicy, *, evidence: VerifiedEvidence, image: ResolvedImage) -> Findings:
    """Judge the validations that read nothing but evidence. `evidence` is what `requirements.check` selected."""
    rules = [rule for rule in compiled.rules if rule.evidence_only]
    return _judge(compiled, rules, lambda: _evidence_values(compiled, evidence, image))


def evaluate_request_rules(
    compiled: CompiledPolicy,
    *,
    evidence: VerifiedEvidence,
    image: ResolvedImage,
    use: ImageUse | None,
    request: AdmissionRequest | None,
    namespace: Namespace | None,
    now: datetime,
) -> Findings:
    """Judge the validations that read the request, the object, the tag or the clock, beside evidence."""
    rules = [rule for rule in compiled.rules if not rule.evidence_only]

    def values() -> dict[str, Any]:
        of_request = bindings.of_request(request=request, namespace=namespace, use=use, now=now)
        return _evidence_values(compiled, evidence, image) | of_request

    return _judge(compiled, rules, values)


def _evidence_values(compiled: CompiledPolicy, evidence: VerifiedEvidence, image: ResolvedImage) -> dict[str, Any]:
    return bindings.of_evidence(compiled.policy.spec, evidence) | {"image": bindings.of_image(image)}


def _judge(
    compiled: CompiledPolicy, rules: Iterable[CompiledRule], make_values: Callable[[], dict[str, Any]]
) -> Findings:
    rules = list(rules)
    if not rules:
        return Findings()
    try:
        values = make_values()
    except Abort as exc:
        return Findings.of(_failed(rule, exc.error) for rule in rules)
    return Findings.of(_judge_rule(compiled, rule, values) for rule in rules)


def _judge_rule(compiled: CompiledPolicy, rule: CompiledRule, values: Mapping[str, Any]) -> Findings:
    meter = Meter(compiled.limits)
    scope = _with_variables(compiled, values, meter)
    try:
        _check_present(rule.reads, values)
        if rule.program.holds(scope, meter):
            return Findings()
    except AssayError as exc:
        return _failed(rule, exc)
    return Findings(violations=(_violated(compiled, rule, scope),))


def _with_variables(compiled: CompiledPolicy, values: Mapping[str, Any], meter: Meter) -> dict[str, Any]:
    """The values with `variables`, each computed when a rule first reads it, on that rule's budget."""
    scope = dict(values)

    def compute(program: Program) -> Callable[[], Any]:
        return lambda: program.evaluate(scope, meter)

    scope["variables"] = Computed({name: compute(program) for name, program in compiled.variables})
    return scope


def _check_present(reads: Iterable[str], values: Mapping[str, Any]) -> None:
    absent = sorted({name.partition(".")[0] for name in reads} - set(values) - {"variables"})
    if absent:
        raise Unacceptable("InputAbsent", f"the rule reads {', '.join(absent)}, which is not known here")


def _violated(compiled: CompiledPolicy, rule: CompiledRule, scope: Mapping[str, Any]) -> Reason:
    return Reason(
        code=rule.validation.reason,
        rule=rule.name,
        message=_message(compiled, rule, scope),
        expected=f"{_shortened(rule.validation.expression)} is true",
        fix=f"deploy an image that meets this rule, or ask the owner of {compiled.policy.identity}",
    )


def _message(compiled: CompiledPolicy, rule: CompiledRule, scope: Mapping[str, Any]) -> str:
    """`messageExpression` if it gives a text, else `message`, else a sentence of our own."""
    text = ""
    if rule.message is not None:
        try:
            text = rule.message.as_text(scope, Meter(compiled.limits))
        except AssayError:
            text = ""  # the rule is violated all the same; Kubernetes falls back to `message` too
    text = " ".join((text or rule.validation.message).split())
    return _shortened(text) if text else f"the rule is not met: {_shortened(rule.validation.expression)}"


def _failed(rule: CompiledRule, error: AssayError) -> Findings:
    reason = Reason(
        code=error.code,
        rule=rule.name,
        message=f"the rule could not be judged: {error.message}",
        expected=f"{_shortened(rule.validation.expression)} is true",
        fix="correct the rule, or give it what it reads; an image is not admitted on a rule that cannot be judged",
    )
    if isinstance(error, Unavailable):
        return Findings(unavailable=(reason,))
    return Findings(unacceptable=(reason,))


def _named(error: AssayError, rule: str) -> AssayError:
    kind = Unavailable if isinstance(error, Unavailable) else Unacceptable
    return kind(error.code, f"{rule} could not be judged: {error.message}")


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
