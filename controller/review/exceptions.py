"""Where exceptions apply, and the only place: between what policies say of images and what is decided. Pure.

    1. An evaluation that is Satisfied uses no exception.
    2. One that is Violated or an Error becomes Exempt if an exception in force names its policy, its namespace and its
       image. What it would have been, and its reasons, stay in it.
    3. By *pattern* an image is meant whatever its evidence, so that Errors are covered too: who excepts an image while
       its registry or its signing is down must not be let down by just that.
    4. By *digest* exactly the content is meant that will run: the digest that was resolved and pinned, or that the
       reference itself names (then it is known while the registry is away), or that of the manifest in question. A tag
       that was not pinned is not shown to name it, so such an image is not excepted.
    5. An image whose reference cannot be read is meant by nothing.

The object is not looked at: no annotation or label of a pod or template has any say in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from controller.errors import InputError
from controller.model.decision import Evaluation, Outcome
from controller.model.reference import Digest, Reference
from controller.policy.exception_index import ExceptionIndex

NOT_PINNED = frozenset({"DigestRequired", "DigestNotPinned"})
"""Reasons of the rule `digest` that say that the image has none although it needs one: what will run is not known."""


def excepted(
    evaluations: Iterable[Evaluation], *, exceptions: ExceptionIndex, namespace: str, now: datetime
) -> tuple[Evaluation, ...]:
    """The evaluations, one for one and in their order, with every exception applied that is in force `now`."""
    return tuple(_excepted(evaluation, exceptions, namespace, now) for evaluation in evaluations)


def _excepted(evaluation: Evaluation, exceptions: ExceptionIndex, namespace: str, now: datetime) -> Evaluation:
    if evaluation.outcome not in {Outcome.VIOLATED, Outcome.ERROR} or not len(exceptions):
        return evaluation
    try:
        name = Reference.parse(evaluation.image.text).name
    except InputError:
        return evaluation
    policy = evaluation.policy
    key, digests = (policy.kind, policy.namespace, policy.name), _digests(evaluation)
    applying = exceptions.applying(key, name=name, digests=digests, namespace=namespace, now=now)
    if not applying:
        lapsed = exceptions.lapsed(key, name=name, digests=digests, namespace=namespace, now=now)
        return replace(evaluation, lapsed=lapsed) if lapsed else evaluation
    return replace(evaluation, outcome=Outcome.EXEMPT, otherwise=evaluation.outcome, exceptions=applying)


def _digests(evaluation: Evaluation) -> frozenset[Digest]:
    child = evaluation.child.digest if evaluation.child is not None else None
    causes = ((reason.rule, reason.code) for reason in evaluation.reasons)
    return known_to_run(evaluation.digest, child, causes=causes)


def known_to_run(*digests: Digest | None, causes: Iterable[tuple[str, str]]) -> frozenset[Digest]:
    """Those of the digests that are known to be what runs; `causes` are rule and code of what does not hold."""
    if any(rule == "digest" and code in NOT_PINNED for rule, code in causes):
        return frozenset()
    return frozenset(digest for digest in digests if digest is not None)
