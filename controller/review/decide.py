"""The one place that turns evaluations into an answer. Pure, and blind to the order of its input (guarantee 7).

Each (image, policy) evaluation *asks* for something by its outcome; `_acts` is the one function that says whether an
outcome acts at all (Error and failure policy included); actions then sort it into denials, warnings and audit
annotations. The answer is Deny if anything asks for it, whatever else is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controller.model.decision import Decision, ErrorKind, Evaluation, NoMatch, Outcome, Verdict
from controller.model.image import ImageUse
from controller.model.policy import Action, FailurePolicy
from controller.policy.audit import full_key, joined
from controller.review import messages
from controller.review.budget import BUDGET_FULL
from controller.review.flights import DEADLINE_EXCEEDED, WORK_TIMEOUT

CLUSTER_KIND = "ClusterEvidencePolicy"
OWN_DOING = frozenset(
    {DEADLINE_EXCEEDED, WORK_TIMEOUT, BUDGET_FULL, "ShuttingDown", "WorkersStopped"}
    | {"NamespaceUnavailable", "NamespaceUnknown"}
)
"""Reasons that speak of Assay's own time, memory and end, or of the API server, and not of a registry that is away."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is decided about, as far as a message and the rules of section 4 of the design need it.

    `softened` is why a denial is turned into a warning (a template whose verdict is a warning, a mirror pod); empty
    means that nothing is softened.
    """

    title: str
    record: str
    softened: str = ""


def decide(
    evaluations: Iterable[Evaluation], *, images: Sequence[ImageUse], no_match: NoMatch, subject: Subject
) -> Decision:
    """The answer for one object.

    `images` are all images that were to be judged: one without an evaluation by a ClusterEvidencePolicy with Deny is
    *unmatched* and `no_match` says what becomes of it. All reasons are kept, sorted by image and policy.
    """
    ordered = tuple(sorted(evaluations, key=_order))
    denying = tuple(e for e in ordered if _acts(e) and Action.DENY in e.actions)
    warning = tuple(e for e in ordered if _acts(e) and Action.WARN in e.actions)
    auditing = tuple(e for e in ordered if _acts(e) and Action.AUDIT in e.actions)
    unmatched = unmatched_images(ordered, images)

    denied = bool(denying) or (bool(unmatched) and no_match is NoMatch.DENY)
    refused_unmatched = unmatched if no_match is NoMatch.DENY else ()
    message = messages.denial(subject.title, subject.record, denying, refused_unmatched) if denied else ""
    warnings = [messages.warning(e) for e in warning]
    # Whoever is denied is not "let in" by one policy's Ignore, and nobody is let in by one that would only warn.
    let_in = tuple(e for e in ordered if _fails_open(e) and Action.DENY in e.actions and not denied)
    warnings += [messages.fail_open(e, let_in=e in let_in) for e in ordered if _fails_open(e)]
    warnings += [messages.exempt(e) for e in ordered if e.exceptions]
    warnings += [messages.stale(e.image, e.stale) for e in ordered if e.stale is not None]
    if unmatched and no_match is NoMatch.WARN:
        warnings += [messages.unmatched(image) for image in unmatched]
    softened = denied and bool(subject.softened)
    if softened:
        warnings = [*(messages.softened(e, subject.softened) for e in denying), *warnings]
        warnings += [messages.unmatched(image) for image in refused_unmatched]
    flags = {
        "warn": bool(warning) or softened,
        "audit": bool(auditing),
        "exempt": any(e.outcome is Outcome.EXEMPT for e in ordered),
        "break-glass": any(exception.break_glass for e in ordered for exception in e.exceptions),
        "stale": any(e.stale is not None for e in ordered),
        "error": any(e.outcome is Outcome.ERROR for e in ordered),
        "fail-open": bool(let_in),
        "no-match": bool(unmatched),
        "softened": softened,
    }
    return Decision(
        verdict=Verdict.DENY if denied and not softened else Verdict.ALLOW,
        message="" if softened else message,
        warnings=tuple(dict.fromkeys(warnings)),
        audit=(*messages.audit(subject.record, ordered, auditing), *messages.exceptions(ordered)),
        annotations=joined((full_key(e.policy, key), value) for e in ordered for key, value in e.annotations),
        flags=tuple(name for name, holds in flags.items() if holds),
        evaluations=ordered,
    )


def unmatched_images(evaluations: Iterable[Evaluation], images: Iterable[ImageUse]) -> tuple[ImageUse, ...]:
    """The images that no ClusterEvidencePolicy with Deny is about."""
    matched = {e.image for e in evaluations if e.policy.kind == CLUSTER_KIND and Action.DENY in e.actions}
    return tuple(image for image in images if image not in matched)


def _acts(evaluation: Evaluation) -> bool:
    """Whether the outcome makes the policy's actions happen. Nothing but Satisfied and Exempt passes by itself."""
    if evaluation.outcome is Outcome.EXEMPT:
        return not evaluation.exceptions  # guarantee 16: nothing is exempt without saying by whom and until when
    return evaluation.outcome is not Outcome.SATISFIED and not _fails_open(evaluation)


def _fails_open(evaluation: Evaluation) -> bool:
    """`failurePolicy: Ignore` covers an Error that is Unavailable, and nothing else (guarantee 6).

    Not even that where it is Assay that ended or whose time ran out: how much there is to fetch and to verify is in the
    hands of whoever put it beside the image, or a hundred images beside this one.
    """
    return (
        evaluation.outcome is Outcome.ERROR
        and evaluation.error_kind is ErrorKind.UNAVAILABLE
        and evaluation.failure_policy is FailurePolicy.IGNORE
        and not any(reason.code in OWN_DOING for reason in evaluation.reasons)
    )


def _order(evaluation: Evaluation) -> tuple[str, ...]:
    policy, image = evaluation.policy, evaluation.image
    return (policy.kind, policy.namespace, policy.name, image.path, image.text, str(evaluation.child or ""))
