"""What each part of a policy came to in a recorded decision: its requirements and its rules, each with its value. Pure.

A leaf names what did not hold; the policy's bytes, kept by their hash, name all that was asked. What was asked and is
not among the reasons held. A rule is asked only where the requirements are met (`workers.assessment`), and nothing is
asked of an image that could not be judged at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from controller.errors import Unacceptable


class Value(StrEnum):
    """What a part came to. UNASKED: something before it decided, so that it was never looked at."""

    TRUE = "true"
    FALSE = "false"
    ERROR = "error"
    UNASKED = "not asked"


@dataclass(frozen=True, slots=True)
class RuleValue:
    """One part of a policy: `rule` as reasons name it, `expression` what it asks for, `code` and `message` why not."""

    rule: str
    expression: str
    value: Value
    code: str = ""
    message: str = ""


def rule_values(evaluation: Mapping[str, Any], policy: Mapping[str, Any]) -> tuple[RuleValue, ...]:
    """The parts of a policy (its canonical document) and what each came to in an evaluation of a leaf.

    Reasons that are about no part (the image could not be resolved, the policy is not accepted) follow at the end.
    Raises `Unacceptable` (`PolicyVersionUnreadable`) for a document that is not of the form that this version reads.
    """
    try:
        return _rule_values(evaluation, policy["spec"])
    except (LookupError, TypeError, AttributeError, ValueError) as exc:
        message = "the policy's kept text has not the form that this version of Assay reads"
        raise Unacceptable("PolicyVersionUnreadable", message) from exc


def _rule_values(evaluation: Mapping[str, Any], spec: Mapping[str, Any]) -> tuple[RuleValue, ...]:
    reasons: dict[str, Sequence[Mapping[str, Any]]] = {}
    for reason in evaluation["reasons"]:
        reasons[reason["rule"]] = (*reasons.get(reason["rule"], ()), reason)
    requirements = tuple(_requirements(spec))
    rules = tuple((f"validations[{i}]", rule["expression"], rule) for i, rule in enumerate(spec["validations"]))
    known = {rule for rule, _ in requirements} | {rule for rule, _, _ in rules}
    notes = {f"auditAnnotations[{note['key']}]" for note in spec.get("auditAnnotations", ())}
    elsewhere = [rule for rule in reasons if rule not in known | notes]
    unmet = any(rule in reasons for rule, _ in requirements)
    found = [
        _value(rule, expression, reasons.get(rule, ()), evaluation, asked=not elsewhere)
        for rule, expression in requirements
    ]
    found += [
        _value(rule, expression, reasons.get(rule, ()), evaluation, asked=not elsewhere and not unmet, own=part)
        for rule, expression, part in rules
    ]
    found += [_value(rule, "", reasons[rule], evaluation, asked=True) for rule in (*elsewhere, *notes & reasons.keys())]
    return tuple(found)


def _requirements(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    signatures = spec.get("signatures")
    if signatures is not None:
        yield "signatures", f"{signatures['minimum']} of {', '.join(signatures['authorities'])}"
    for attestation in spec["attestations"]:
        asked = f"{attestation['minimum']} {attestation['type']} by {', '.join(attestation['authorities'])}"
        yield f"attestations[{attestation['name']}]", asked


def _value(
    rule: str,
    expression: str,
    reasons: Sequence[Mapping[str, Any]],
    evaluation: Mapping[str, Any],
    *,
    asked: bool,
    own: Mapping[str, Any] | None = None,
) -> RuleValue:
    if not reasons:
        return RuleValue(rule, expression, Value.TRUE if asked else Value.UNASKED)
    reason = reasons[0]
    # Of a rule the policy says with which code it is violated; of other parts the evaluation's outcome tells.
    outcome = evaluation.get("otherwise") or evaluation["outcome"]
    is_violated = reason["code"] == own["reason"] if own is not None else outcome == "Violated"
    value = Value.FALSE if is_violated else Value.ERROR
    return RuleValue(rule, expression, value, reason["code"], reason["message"])
