"""Judges a policy's own rules: conditions before anything is fetched, validations over what was verified.

An error in a rule is an Error of the policy, never *unmatched*, never *violated* and never passed over. A rule whose
input is absent is an Error too (guarantee 17).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from controller.errors import AssayError, Unacceptable, Unavailable
from controller.model.decision import Reason
from controller.model.evidence import VerifiedEvidence
from controller.model.image import ImageConfigs, ImageUse, ResolvedImage
from controller.model.policy import Namespace
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest
from controller.policy import bindings, withholding
from controller.policy.audit import shortened
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.program import Program
from controller.policy.cel.values import Computed
from controller.policy.compiled import CompiledAnnotation, CompiledPolicy, CompiledRule
from controller.policy.findings import Findings

MAX_MESSAGE = 500  # characters of a rule's message; longer ones are cut
MAX_MESSAGE_EXPRESSION = 5 * 1024  # bytes that a messageExpression may give; Kubernetes takes no more either


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
            check_present(condition.program.reads, values)
            if not condition.program.holds(values, Meter(compiled.limits)):
                return False
        except AssayError as exc:
            failure = failure or _named(exc, f"match.conditions[{condition.name}]")
    if failure is not None:
        raise failure
    return True


def evaluate_evidence_rules(
    compiled: CompiledPolicy,
    *,
    evidence: VerifiedEvidence,
    image: ResolvedImage,
    configs: ImageConfigs = (),
    now: datetime,
) -> Findings:
    """Judge the validations and annotations that read nothing but evidence: what `requirements.check` selected.

    `now` is no input of theirs: it says which of the dates in the evidence have come. `configs` are the image's
    configurations, or why they could not be had.
    """
    return _judge(compiled, lambda: _evidence_values(compiled, evidence, image, configs, now), evidence_only=True)


def evaluate_request_rules(
    compiled: CompiledPolicy,
    *,
    evidence: VerifiedEvidence,
    image: ResolvedImage,
    use: ImageUse | None,
    request: AdmissionRequest | None,
    namespace: Namespace | None,
    now: datetime,
    configs: ImageConfigs = (),
) -> Findings:
    """Judge the validations and annotations that read the request, object, tag or clock, beside evidence."""

    values = partial(
        all_values,
        compiled,
        evidence=evidence,
        image=image,
        use=use,
        request=request,
        namespace=namespace,
        now=now,
        configs=configs,
    )
    return _judge(compiled, values, evidence_only=False)


def all_values(
    compiled: CompiledPolicy,
    *,
    evidence: VerifiedEvidence,
    image: ResolvedImage,
    use: ImageUse | None,
    request: AdmissionRequest | None,
    namespace: Namespace | None,
    now: datetime,
    configs: ImageConfigs = (),
) -> dict[str, Any]:
    """What a rule may read: evidence, request, object and clock. Raises `Abort`."""
    of_request = bindings.of_request(request=request, namespace=namespace, use=use, now=now)
    return _evidence_values(compiled, evidence, image, configs, now) | of_request


def _evidence_values(
    compiled: CompiledPolicy, evidence: VerifiedEvidence, image: ResolvedImage, configs: ImageConfigs, now: datetime
) -> dict[str, Any]:
    documents = bindings.of_evidence(compiled.policy.spec, evidence, image=image, now=now)
    return documents | {"image": bindings.of_image(image, configs, now)}


def _judge(compiled: CompiledPolicy, make_values: Callable[[], dict[str, Any]], *, evidence_only: bool) -> Findings:
    rules = [rule for rule in compiled.rules if rule.evidence_only is evidence_only]
    notes = [annotation for annotation in compiled.annotations if annotation.evidence_only is evidence_only]
    if not rules and not notes:
        return Findings()
    try:
        values = make_values()
    except Abort as exc:
        failed: list[CompiledRule | CompiledAnnotation] = [*rules, *notes]
        return Findings.of(_failed(part, exc.error) for part in failed)
    judged = [_judge_rule(compiled, rule, values) for rule in rules]
    return Findings.of([*judged, *(_annotate(compiled, annotation, values) for annotation in notes)])


def _judge_rule(compiled: CompiledPolicy, rule: CompiledRule, values: Mapping[str, Any]) -> Findings:
    meter = Meter(compiled.limits)
    scope = with_variables(compiled, values, meter)
    try:
        check_present(rule.reads, values)
        if rule.program.holds(scope, meter):
            return Findings()
    except AssayError as exc:
        return _failed(rule, exc)
    return Findings(violations=(_violated(compiled, rule, scope),))


def _annotate(compiled: CompiledPolicy, annotation: CompiledAnnotation, values: Mapping[str, Any]) -> Findings:
    """The annotation's value; none for null and for nothing but white space, as in Kubernetes.

    One that cannot be evaluated is an Error of the policy, as it is there with `failurePolicy: Fail`: whoever reads the
    audit log must be able to tell *nothing to say* from *could not say*. Nothing here can make an outcome milder.
    """
    meter = Meter(compiled.limits)
    try:
        check_present(annotation.reads, values)
        text = annotation.program.as_text_or_null(with_variables(compiled, values, meter), meter)
    except AssayError as exc:
        return _failed(annotation, exc)
    text = withholding.annotated((text or "").strip(), annotation.program, compiled, values)
    value = shortened(text)
    return Findings(annotations=((annotation.annotation.key, value),)) if value else Findings()


def with_variables(compiled: CompiledPolicy, values: Mapping[str, Any], meter: Meter) -> dict[str, Any]:
    """The values with `variables`, each computed when a rule first reads it, on that rule's budget."""
    scope = dict(values)

    def compute(program: Program) -> Callable[[], Any]:
        return lambda: program.evaluate(scope, meter)

    scope["variables"] = Computed({name: compute(program) for name, program in compiled.variables})
    return scope


def check_present(reads: Iterable[str], values: Mapping[str, Any]) -> None:
    """Raise `Unacceptable` (`InputAbsent`) for a name that is read and not there (guarantee 17)."""
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
    """`messageExpression` if it gives a message, else `message`, else a sentence of our own."""
    text = _computed_message(compiled, rule.message, scope) if rule.message is not None else ""
    text = _shortened(text or rule.validation.message)
    return text or f"the rule is not met: {_shortened(rule.validation.expression)}"


def _computed_message(compiled: CompiledPolicy, message: Program, scope: Mapping[str, Any]) -> str:
    """What a `messageExpression` gives; nothing where Kubernetes does not take it as a message either.

    That is: it fails, is no string, is white space, has a line break, or is longer than `MAX_MESSAGE_EXPRESSION`. Nor
    does Assay take one that quotes an environment value or a command. The rule is violated all the same.
    """
    try:
        text = message.as_text(scope, Meter(compiled.limits)).strip()
    except AssayError:
        return ""
    if withholding.told(text, message, compiled, scope) is None:
        return ""
    return "" if "\n" in text or len(text.encode(errors="replace")) > MAX_MESSAGE_EXPRESSION else text


def _failed(part: CompiledRule | CompiledAnnotation, error: AssayError) -> Findings:
    fix = "or give it what it reads; an image is not admitted on"
    if isinstance(part, CompiledRule):
        reason = Reason(
            code=error.code,
            rule=part.name,
            message=f"the rule could not be judged: {error.message}",
            expected=f"{_shortened(part.validation.expression)} is true",
            fix=f"correct the rule, {fix} a rule that cannot be judged",
        )
    else:
        reason = Reason(
            code=error.code,
            rule=part.name,
            message=f"the annotation could not be evaluated: {error.message}",
            expected=f"{_shortened(part.annotation.value_expression)} is a string or null",
            fix=f"correct the annotation, {fix} a policy of which a part cannot be evaluated",
        )
    if isinstance(error, Unavailable):
        fix = "try again when the registry answers; nothing is wrong with the policy or the image itself"
        return Findings(unavailable=(dataclasses.replace(reason, fix=fix),))
    return Findings(unacceptable=(reason,))


def _named(error: AssayError, rule: str) -> AssayError:
    kind = Unavailable if isinstance(error, Unavailable) else Unacceptable
    return kind(error.code, f"{rule} could not be judged: {error.message}")


def _shortened(text: str) -> str:
    """One line of bounded length, without halves of surrogate pairs: they could not be recorded."""
    text = " ".join(text.split()).encode(errors="replace").decode()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"
