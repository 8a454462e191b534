"""*resolve, discover, verify, evaluate*: one image under one policy, from a reference to an `Evaluation`.

Everything that can go wrong on the way becomes an Error of its kind (guarantee 6), and a violation that was established
is never hidden behind one.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from datetime import datetime
from functools import partial

from controller.errors import AssayError, LimitExceeded, Unavailable
from controller.model.deadline import Deadline
from controller.model.decision import ErrorKind, Evaluation, Outcome, Reason
from controller.model.evidence import EvidenceSet
from controller.model.image import PlatformManifest, RawConfigs, ResolvedImage
from controller.model.policy import DigestMode, TrustRoot
from controller.model.reference import Reference
from controller.policy.compiled import CompiledPolicy
from controller.policy.evaluation import evaluate_request_rules
from controller.review.abreast import abreast
from controller.review.budget import BUDGET_FULL
from controller.review.caches import Configs, Evidences, Resolutions, Verdicts
from controller.review.flights import WORK_TIMEOUT
from controller.review.leaf import Judged
from controller.review.memory import copy
from controller.review.platforms import demanded, unsigned
from controller.review.ports import Assessment
from controller.review.scope import Covered, Scope
from controller.review.sources import places, together
from controller.review.threads import beside

MAX_MANIFESTS = 512  # images of a request times manifests of one: each is judged and recorded by itself

_NEXT = {
    "NotFound": "check the image's name and tag, and that it was pushed",
    "AccessDenied": "check the imagePullSecrets of the pod and of its service account",
    "RegistryUnavailable": "try again when the registry answers; nothing is wrong with the image itself",
    "RegistryTimeout": "try again when the registry answers; nothing is wrong with the image itself",
    "CircuitOpen": "try again when the registry answers; nothing is wrong with the image itself",
    "RegistryThrottled": "try again after the pause that the registry asks for; nothing is wrong with the image itself",
    "DigestMismatch": "tell the registry's owners: it, or a proxy before it, sends other content than was asked for",
    "AddressForbidden": "use a registry that this cluster may reach, or ask Assay's operators to allow this one",
    "RedirectRefused": "use a registry that this cluster may reach, or ask Assay's operators to allow this one",
    "LimitExceeded": "ask Assay's operators whether the bound that is named may be raised",
    "ManifestUnsupported": "push the image anew with a current tool",
    "PlatformsMissing": "push the image for a platform of the cluster's nodes",
    "PlatformsNested": "push the image as one index of its platforms, or sign the index and ask for platforms: Index",
    "NodesUnknown": "ask the policy's author for platforms: Each, which needs no nodes",
    "SchemaOneUnsupported": "push the image anew with a current tool",
    BUDGET_FULL: "try again; if that does not help, the pod's images have more evidence than fits in memory at once",
    "DeadlineExceeded": "try again: the work goes on and what is fetched by then is remembered",
    WORK_TIMEOUT: "try again; if that does not help, there is more beside the image than can be judged in time",
}


_WEIGHT = (  # what two parts of one policy come to together: the later one (see `Findings`)
    (Outcome.SATISFIED, None),
    (Outcome.ERROR, ErrorKind.UNAVAILABLE),
    (Outcome.ERROR, ErrorKind.UNACCEPTABLE),
    (Outcome.VIOLATED, None),
)
_MEND_POLICY = "this is the policy's own mistake, not the image's: mend the policy"
_MEND = "this is a fault of what the policy refers to, not the image's: mend that"


class Judge:
    """Judges images under policies, with the caches of `controller.review.caches`."""

    def __init__(self, resolutions: Resolutions, evidences: Evidences, configs: Configs, verdicts: Verdicts) -> None:
        self._resolutions = resolutions
        self._evidences = evidences
        self._configs = configs
        self._verdicts = verdicts

    async def judge(
        self, covered: Covered, compiled: CompiledPolicy, *, scope: Scope, now: datetime, deadline: Deadline
    ) -> tuple[Judged, ...]:
        """What this policy says of this image, or of each of its manifests that it asks about; never empty."""
        if compiled.policy.problems:
            return (Judged(_not_accepted(covered, compiled), compiled),)
        if covered.malformed is not None or covered.reference is None:
            error = covered.malformed
            code, message = (error.code, error.message) if error else ("ReferenceMalformed", "no image is named")
            reason = Reason(code, "match", message, fix="write the image as registry/repository:tag or @sha256:…")
            return (Judged(_error(covered, compiled, (reason,), ErrorKind.UNACCEPTABLE), compiled),)
        mode = covered.digest_mode
        if scope.workload.is_pod and mode is DigestMode.REQUIRE and covered.reference.digest is None:
            return (Judged(_violated(covered, compiled, (_digest_required(covered.reference),)), compiled),)
        resolved: ResolvedImage | None = None
        try:
            resolved = await self._resolutions.get(
                covered.reference, access=scope.access, deadline=deadline, grace=grace_of(compiled)
            )
            if scope.workload.is_pod and mode is DigestMode.PIN and covered.reference.digest is None:
                evaluation = _violated(covered, compiled, (_not_pinned(covered.reference),), resolved)
                return (Judged(evaluation, compiled, resolved),)
            manifests = _manifests(resolved, compiled, scope)
        except AssayError as exc:
            evaluation = _error(covered, compiled, (_reason(exc, "image"),), _kind(exc), resolved)
            return (Judged(evaluation, compiled, resolved, trust_roots=trust_roots(compiled, scope)),)
        judging = (
            self._judge_manifest(image, child, resolved, covered, compiled, scope=scope, now=now, deadline=deadline)
            for image, child in manifests
        )
        return tuple(await abreast(judging))

    async def _judge_manifest(
        self,
        image: ResolvedImage,
        child: PlatformManifest | None,
        resolved: ResolvedImage,
        covered: Covered,
        compiled: CompiledPolicy,
        *,
        scope: Scope,
        now: datetime,
        deadline: Deadline,
    ) -> Judged:
        """What the policy says of one manifest of what was resolved."""
        evidence: EvidenceSet | None = None
        assessment: Assessment | None = None
        configs: RawConfigs = ()
        roots = trust_roots(compiled, scope)
        try:
            found, configs = await self._found(compiled, image, resolved, scope=scope, now=now, deadline=deadline)
            evidence = found
            assessment = await self._assess(image, found, configs, compiled, scope=scope, now=now, deadline=deadline)
            whole = await _with_request_rules(
                assessment, compiled, covered=covered, scope=scope, now=now, image=image, deadline=deadline
            )
            away = resolved.stale or found.stale
            if away is not None and not _stands(whole):
                raise copy(away)  # nothing is missing for certain while it cannot be asked for
        except AssayError as exc:
            evaluation = _error(covered, compiled, (_reason(exc, "evidence"),), _kind(exc), resolved)
        else:
            stale = None if away is None else _stale(found, away, tag=resolved.stale is not None)
            evaluation = _evaluation(
                covered,
                compiled,
                outcome=whole.outcome,
                reasons=whole.reasons if stale is None or not whole.reasons else (*whole.reasons, stale),
                kind=whole.error_kind,
                resolved=resolved,
                annotations=whole.annotations,
                stale=stale,
            )
        return Judged(replace(evaluation, child=child), compiled, resolved, evidence, assessment, roots, configs)

    async def prepare(
        self, reference: Reference, compiled: CompiledPolicy, *, scope: Scope, now: datetime, deadline: Deadline
    ) -> None:
        """Have in the caches what `judge` will ask for; what reads the request is judged only there.

        Raises what the ports raise: `judge` meets it again, and says it.
        """
        if compiled.policy.problems:
            return
        resolved = await self._resolutions.get(
            reference, access=scope.access, deadline=deadline, grace=grace_of(compiled)
        )
        for image, _ in _manifests(resolved, compiled, scope):
            evidence, configs = await self._found(compiled, image, resolved, scope=scope, now=now, deadline=deadline)
            await self._assess(image, evidence, configs, compiled, scope=scope, now=now, deadline=deadline)

    async def _assess(
        self,
        resolved: ResolvedImage,
        evidence: EvidenceSet,
        configs: RawConfigs,
        compiled: CompiledPolicy,
        *,
        scope: Scope,
        now: datetime,
        deadline: Deadline,
    ) -> Assessment:
        return await self._verdicts.get(
            resolved,
            evidence=evidence,
            compiled=compiled,
            trust_roots=trust_roots(compiled, scope),
            scope=scope.access.scope(resolved.reference),
            now=now,
            deadline=deadline,
            configs=configs,
        )

    async def _found(
        self,
        compiled: CompiledPolicy,
        image: ResolvedImage,
        resolved: ResolvedImage,
        *,
        scope: Scope,
        now: datetime,
        deadline: Deadline,
    ) -> tuple[EvidenceSet, RawConfigs]:
        """The evidence about one manifest, and its configurations if a rule looks at them."""
        finding = self._evidence(compiled, image, resolved, scope=scope, now=now, deadline=deadline)
        if not compiled.reads_configs:
            return await finding, ()
        return await asyncio.gather(finding, self._read_configs(image, scope=scope, deadline=deadline))

    async def _read_configs(self, image: ResolvedImage, *, scope: Scope, deadline: Deadline) -> RawConfigs:
        """The image's configurations. Why they cannot be had is what the rule that looks at them says then; no other
        is hidden behind it."""
        try:
            return await self._configs.get(image, access=scope.access, deadline=deadline)
        except AssayError as exc:
            return exc

    async def _evidence(
        self,
        compiled: CompiledPolicy,
        image: ResolvedImage,
        resolved: ResolvedImage,
        *,
        scope: Scope,
        now: datetime,
        deadline: Deadline,
    ) -> EvidenceSet:
        """The evidence about `image`, of what was resolved, that the policy asks for.

        Nothing is fetched for a policy that asks for none.
        """
        spec = compiled.policy.spec
        if spec.signatures is None and not spec.attestations:
            found = [EvidenceSet(image.digest, image.reference.name, artifacts=(), fetched_at=now)]
        else:
            found = await abreast(
                self._evidences.get(place, access=access, deadline=deadline, grace=grace_of(compiled))
                for place, access in places(image, spec, access=scope.access, snapshot=scope.snapshot)
            )
        evidence = together(image, found)
        problems = unsigned(resolved, image)
        # The set as it is remembered, where there is nothing to add: it knows its own hash by now.
        return replace(evidence, problems=(*evidence.problems, *problems)) if problems else evidence

    async def close(self) -> None:
        """End what is under way."""
        caches = (self._resolutions, self._evidences, self._configs, self._verdicts)
        await asyncio.gather(*(cache.close() for cache in caches))


def undecided(covered: Covered, compiled: CompiledPolicy, error: AssayError) -> Judged:
    """The Error of a policy of which it could not be told whether it is about the image."""
    return Judged(_error(covered, compiled, (_reason(error, "match"),), _kind(error)), compiled)


def trust_roots(compiled: CompiledPolicy, scope: Scope) -> tuple[TrustRoot, ...]:
    """The trust roots that the policy's authorities name, as far as they are known; verification names the missing."""
    wanted = sorted({a.kind.trust_root for a in compiled.policy.spec.authorities if a.kind is not None})
    return tuple(scope.snapshot.trust_roots[name] for name in wanted if name in scope.snapshot.trust_roots)


def grace_of(compiled: CompiledPolicy) -> float:
    """The most that remembered evidence may be old under this policy while its registry is away; the setting bounds it.

    A policy that is not accepted gives none.
    """
    if compiled.policy.problems:
        return 0.0
    grace = compiled.policy.spec.grace
    return math.inf if grace is None else grace


def _stands(assessment: Assessment) -> bool:
    """Whether a judgement by evidence that could not be asked for anew may be given at all.

    What is proven stays proven, and a rule that is broken by it stays broken: it must not become an Error that
    `failurePolicy: Ignore` covers. Everything else may hang on what lies in the registry by now.
    """
    if assessment.outcome is Outcome.VIOLATED:
        return assessment.complete
    return assessment.outcome is Outcome.SATISFIED


def _stale(evidence: EvidenceSet, away: AssayError, *, tag: bool) -> Reason:
    last = ["as the digest that its tag named last"] if tag else []
    if evidence.stale is not None:
        last.append(f"by evidence of {evidence.fetched_at:%Y-%m-%d %H:%M} UTC")
    return Reason(
        "EvidenceStale",
        "evidence",
        f"judged {' and '.join(last)}, since nothing newer can be had: {away.message}",
        fix="nothing is wrong with the image; what is new in the registry counts once it answers again",
    )


def _manifests(
    resolved: ResolvedImage, compiled: CompiledPolicy, scope: Scope
) -> tuple[tuple[ResolvedImage, PlatformManifest | None], ...]:
    found = demanded(resolved, compiled.policy.spec.platforms, nodes=scope.snapshot.node_platforms)
    if len(found) > 1 and len(found) * len(scope.covered) > MAX_MANIFESTS:
        message = (
            f"{len(scope.covered)} images, and {len(found)} manifests of this one, are more than one review judges"
        )
        raise LimitExceeded("MAX_MANIFESTS", message)
    return found


async def _with_request_rules(
    assessment: Assessment,
    compiled: CompiledPolicy,
    *,
    covered: Covered,
    scope: Scope,
    now: datetime,
    image: ResolvedImage,
    deadline: Deadline,
) -> Assessment:
    """The assessment together with the rules and annotations that read the request, the object or the clock.

    They are asked only where the evidence is there: over evidence that is missing they could only mislead. A rule over
    evidence that is broken hides none of them. They are judged in a thread: an expression may take its whole
    budget, and other reviews must go on meanwhile.
    """
    asked = assessment.complete or assessment.outcome is Outcome.SATISFIED
    if not asked or not compiled.has_request_rules:
        return assessment
    judging = partial(
        evaluate_request_rules,
        compiled,
        evidence=assessment.evidence,
        image=image,
        use=covered.image,
        request=scope.request,
        namespace=scope.namespace,
        now=now,
        configs=assessment.configs,
    )
    findings = await beside(judging, deadline=deadline)
    of_evidence = (assessment.outcome, assessment.error_kind)
    of_request = (findings.outcome, findings.error_kind)
    outcome, kind = max(of_evidence, of_request, key=_WEIGHT.index)
    parts = (assessment.reasons, findings.reasons)
    first, second = parts if of_evidence == (outcome, kind) else reversed(parts)
    return replace(
        assessment,
        outcome=outcome,
        error_kind=kind,
        reasons=(*first, *second),
        annotations=(*assessment.annotations, *findings.annotations),
    )


def _kind(error: AssayError) -> ErrorKind:
    return ErrorKind.UNAVAILABLE if isinstance(error, Unavailable) else ErrorKind.UNACCEPTABLE


def _reason(error: AssayError, rule: str) -> Reason:
    fix = next((text for name, text in _NEXT.items() if name in {error.code, type(error).__name__}), "")
    return Reason(error.code, rule, error.message, fix=fix)


def _digest_required(reference: Reference) -> Reason:
    return Reason(
        "DigestRequired",
        "digest",
        "the image is named without a digest",
        expected=f"{reference.name}@sha256:…, since this image's policies say digest: Require",
        found=(f"{reference.text}",),
        fix=f"name the image by digest, for example as `crane digest {reference}` prints it",
    )


def _not_pinned(reference: Reference) -> Reason:
    return Reason(
        "DigestNotPinned",
        "digest",
        "the image has no digest although Assay pins tags before it judges",
        expected=f"{reference.name}@sha256:…",
        found=(f"{reference.text}: another webhook changed it after Assay, or it could not be pinned in time",),
        fix="create the pod again; if that does not help, name the image by digest",
    )


def _not_accepted(covered: Covered, compiled: CompiledPolicy) -> Evaluation:
    reasons = tuple(
        Reason(p.code, p.field, p.message, fix=_MEND if p in compiled.source.unresolved else _MEND_POLICY)
        for p in compiled.policy.problems
    )
    return _error(covered, compiled, reasons, ErrorKind.UNACCEPTABLE)


def _error(
    covered: Covered,
    compiled: CompiledPolicy,
    reasons: tuple[Reason, ...],
    kind: ErrorKind,
    resolved: ResolvedImage | None = None,
) -> Evaluation:
    return _evaluation(covered, compiled, outcome=Outcome.ERROR, reasons=reasons, kind=kind, resolved=resolved)


def _violated(
    covered: Covered,
    compiled: CompiledPolicy,
    reasons: tuple[Reason, ...],
    resolved: ResolvedImage | None = None,
) -> Evaluation:
    return _evaluation(covered, compiled, outcome=Outcome.VIOLATED, reasons=reasons, resolved=resolved)


def _evaluation(
    covered: Covered,
    compiled: CompiledPolicy,
    *,
    outcome: Outcome,
    reasons: tuple[Reason, ...],
    kind: ErrorKind | None = None,
    resolved: ResolvedImage | None = None,
    annotations: tuple[tuple[str, str], ...] = (),
    stale: Reason | None = None,
) -> Evaluation:
    return Evaluation(
        image=covered.image,
        digest=resolved.digest if resolved else covered.reference.digest if covered.reference else None,
        policy=compiled.policy.identity,
        actions=compiled.policy.spec.validation_actions,
        failure_policy=compiled.policy.spec.failure_policy,
        digest_mode=covered.digest_mode,
        outcome=outcome,
        reasons=reasons,
        error_kind=kind,
        annotations=annotations,
        stale=stale,
    )
