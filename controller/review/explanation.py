"""Everything about one review that its policies' author may want to know: which matched and why, and each rule's parts.

Built of a review that is over: nothing here changes it, and nothing of it is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from controller.errors import AssayError
from controller.model.deadline import Deadline
from controller.policy.compiled import CompiledPolicy
from controller.policy.matching import Check, checks
from controller.policy.trace import Traced, trace_conditions
from controller.review.leaf import Judged
from controller.review.pipeline import Reviewed
from controller.review.platforms import demanded
from controller.review.ports import AssessmentJob, Explained, TraceJob
from controller.review.scope import Covered, Scope


class Tracer(Protocol):
    """Evaluates a policy's rules part by part, off the serving thread."""

    async def trace(self, job: TraceJob, *, deadline: Deadline) -> Explained:
        """What each expression came to. Raises `Unavailable` and `Unacceptable`."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """One evaluation, and what its expressions came to: None, with an error, where that could not be found out."""

    judged: Judged
    explained: Explained | None
    error: AssayError | None = None

    def met(self, rule: str) -> bool | None:
        """Whether a requirement (`signatures`, `attestations[NAME]`) is met; None where evidence was not judged."""
        if self.judged.assessment is None:
            return None
        return all(reason.rule != rule for reason in self.judged.assessment.reasons)


@dataclass(frozen=True, slots=True)
class About:
    """One policy and one image. Without `outcomes` the policy is not about the image."""

    compiled: CompiledPolicy
    checks: tuple[Check, ...]
    conditions: tuple[Traced, ...]
    outcomes: tuple[Outcome, ...]

    @property
    def matched(self) -> bool:
        """Whether the policy is about the image, or it could not be told."""
        return bool(self.outcomes)


Explanation = tuple[tuple[Covered, tuple[About, ...]], ...]
"""Each image with every policy of the snapshot."""


async def explain(reviewed: Reviewed, tracer: Tracer, *, now: datetime, deadline: Deadline) -> Explanation:
    """For each image that was to be judged, all policies of the snapshot. `now` is the time of the review."""
    found = []
    for covered in reviewed.scope.covered:
        policies = [
            await _about(compiled, covered, reviewed=reviewed, tracer=tracer, now=now, deadline=deadline)
            for compiled in reviewed.scope.snapshot.policies
        ]
        found.append((covered, tuple(policies)))
    return tuple(found)


async def _outcome(judged: Judged, scope: Scope, tracer: Tracer, *, now: datetime, deadline: Deadline) -> Outcome:
    """One evaluation with its expressions. Raises nothing: what cannot be found out is the outcome's error."""
    resolved, evidence = judged.resolved, judged.evidence
    if resolved is None or evidence is None or judged.compiled.policy.problems:
        return Outcome(judged, None)
    child = judged.evaluation.child
    try:
        images = demanded(resolved, judged.compiled.policy.spec.platforms, nodes=scope.snapshot.node_platforms)
        image = next((image for image, entry in images if entry == child), resolved)
        job = AssessmentJob(image, evidence, judged.compiled.policy, judged.trust_roots, now, judged.configs)
        traced = TraceJob(job, judged.evaluation.image, scope.request, scope.namespace)
        return Outcome(judged, await tracer.trace(traced, deadline=deadline))
    except AssayError as exc:
        return Outcome(judged, None, exc)


async def _about(
    compiled: CompiledPolicy,
    covered: Covered,
    *,
    reviewed: Reviewed,
    tracer: Tracer,
    now: datetime,
    deadline: Deadline,
) -> About:
    scope = reviewed.scope
    own = list(_of(reviewed, covered, compiled))
    found = checks(
        compiled,
        reference=covered.reference,
        labels=scope.workload.labels,
        namespace_name=scope.request.namespace,
        namespace=scope.namespace,
    )
    conditions = trace_conditions(
        compiled, request=scope.request, namespace=scope.namespace, use=covered.image, reference=covered.reference
    )
    outcomes = [await _outcome(judged, scope, tracer, now=now, deadline=deadline) for judged in own]
    return About(compiled, found, conditions, tuple(outcomes))


def _of(reviewed: Reviewed, covered: Covered, compiled: CompiledPolicy) -> Iterator[Judged]:
    for judged in reviewed.judged:
        if judged.evaluation.image == covered.image and judged.compiled.name == compiled.name:
            yield judged
