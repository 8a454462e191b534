"""The product in one page: *extract -> match -> resolve -> discover -> verify -> evaluate -> decide -> record*.

`mutate` pins what will run; `validate` decides about it and records the proof before the answer leaves. Both walk the
same way through the same steps, each of which is a module of its own or a port:

    extract   controller.images    every image of the workload, and which of them the request changes
    match     review.scope         the policies that are about each image, in this namespace, under this request
    resolve   Registry.resolve     what the reference names now
    discover  Registry.discover    everything that claims to be evidence for exactly that digest
    verify    Assessor.assess      what of it is proven, in a worker process
    evaluate  review.judge         requirements and rules over what was proven, and nothing else
    except    review.exceptions    what an EvidenceException in force names is Exempt
    decide    review.decide        the one place where evaluations become an answer
    record    Recorder.record      one durable leaf, then the answer
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from controller import images, telemetry
from controller.errors import AssayError
from controller.model.deadline import Deadline
from controller.model.decision import Decision, NoMatch, Templates, Verdict
from controller.model.policy import DigestMode
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest, Workload
from controller.policy.compiled import CompiledPolicy
from controller.review import leaf
from controller.review.abreast import abreast
from controller.review.budget import Budget
from controller.review.caches import Configs, Evidences, Resolutions, Verdicts
from controller.review.decide import Subject, decide, unmatched_images
from controller.review.exceptions import excepted
from controller.review.judge import Judge, grace_of, undecided
from controller.review.leaf import Judged
from controller.review.ports import Assessor, Clock, Namespaces, Recorder, Registry, Snapshots
from controller.review.scope import Covered, Scope, scope, softened, untouched
from controller.review.shares import NAMESPACE
from controller.settings import ReviewSettings

log = logging.getLogger(__name__)

UNEVALUATED = Decision(Verdict.ALLOW, message="", warnings=(), audit=(), flags=(), evaluations=())
"""The answer to a request that changes no image: allowed, and nothing to record."""


@dataclass(frozen=True, slots=True)
class Reviewed:
    """A decision, what led to it, the name under which it is recorded, the object's hash, and when that was."""

    decision: Decision
    judged: tuple[Judged, ...]
    scope: Scope
    record: leaf.RecordName
    object_hash: str
    decided_at: datetime


class Pipeline:
    """Reviews objects. One instance a serving event loop; everything it needs is handed in by `controller.app`."""

    def __init__(
        self,
        settings: ReviewSettings,
        *,
        registry: Registry,
        assessor: Assessor,
        recorder: Recorder,
        snapshots: Snapshots,
        namespaces: Namespaces,
        clock: Clock,
        budget: Budget | None = None,
    ) -> None:
        self._settings = settings
        self._no_match = NoMatch(settings.no_match)
        self._templates = Templates(settings.templates)
        self._resolutions = Resolutions(registry, settings)
        self._judge = Judge(
            self._resolutions,
            Evidences(registry, settings, budget),
            Configs(registry, settings),
            Verdicts(assessor, settings),
        )
        self._recorder = recorder
        self._snapshots = snapshots
        self._namespaces = namespaces
        self._clock = clock
        self._warming: set[asyncio.Task[None]] = set()

    async def mutate(self, request: AdmissionRequest, *, deadline: Deadline) -> tuple[Mapping[str, Any], ...]:
        """The JSON patch that pins the pod's changed images to digests.

        Never denies and never records: an image that cannot be resolved is left as it is, for `validate` to judge.
        Raises `InputError` for an object that cannot be read, `NotReady`.
        """
        NAMESPACE.set(request.namespace)
        workload = images.extract(request)
        if not workload.is_pod or untouched(request, workload):
            return ()
        deadline = deadline.earlier(self._settings.answer_reserve)  # what is not resolved by then is left as it is
        reviewed = await self._scope(request, workload, deadline)
        pinned = await abreast(self._pin(covered, reviewed, deadline) for covered in reviewed.covered)
        return tuple(operation for operations in pinned for operation in operations)

    async def validate(self, request: AdmissionRequest, *, deadline: Deadline) -> Decision:
        """The decision about the object, recorded before it is returned (unless the request is a dry run).

        Raises `InputError` for an object that cannot be read, `NotReady`, and `RecordingFailed`: none is an allow.
        """
        NAMESPACE.set(request.namespace)
        began = time.perf_counter_ns()
        workload = images.extract(request)
        if untouched(request, workload) or (not workload.is_pod and self._templates is Templates.IGNORE):
            return UNEVALUATED
        reviewed = await self.review(request, workload, deadline=deadline)
        _count(reviewed.decision, workload)
        _tell(reviewed)
        if not request.dry_run:
            await self._record(reviewed, began, deadline)
        return reviewed.decision

    async def review(self, request: AdmissionRequest, workload: Workload, *, deadline: Deadline) -> Reviewed:
        """The decision with everything that led to it, unrecorded: what `validate` and the CLI share."""
        deadline = deadline.earlier(self._settings.answer_reserve)
        # match
        around = await self._scope(request, workload, deadline)
        # resolve, discover, verify, evaluate: each image under each policy, all side by side
        judged = await self._judge_all(around, deadline)
        # except
        now = self._clock()
        evaluations = excepted(
            (one.evaluation for one in judged),
            exceptions=around.snapshot.exceptions,
            namespace=request.namespace,
            now=now,
        )
        judged = tuple(replace(one, evaluation=each) for one, each in zip(judged, evaluations, strict=True))
        # decide
        why = softened(request, workload, self._templates)
        object_hash = leaf.hash_of(request.object)
        setup = f"{self._no_match} {why} {leaf.material(judged)}"
        record = leaf.record_name(request, evaluations, object_hash=object_hash, setup=setup)
        subject = Subject(f"{workload.kind} {workload.namespace}/{workload.name}", record=record.id, softened=why)
        decision = decide(evaluations, images=workload.changed, no_match=self._no_match, subject=subject)
        return Reviewed(decision, judged, around, record, object_hash, now)

    async def close(self) -> None:
        """End what is under way in the background."""
        warming = list(self._warming)
        for task in warming:
            task.cancel()
        await asyncio.gather(*warming, return_exceptions=True)
        await self._judge.close()

    async def _scope(self, request: AdmissionRequest, workload: Workload, deadline: Deadline) -> Scope:
        snapshot = self._snapshots.current()
        return await scope(request, workload, snapshot=snapshot, namespaces=self._namespaces, deadline=deadline)

    async def _judge_all(self, reviewed: Scope, deadline: Deadline) -> tuple[Judged, ...]:
        now = self._clock()
        judged = await abreast(
            self._judge.judge(covered, compiled, scope=reviewed, now=now, deadline=deadline)
            for covered in reviewed.covered
            for compiled in covered.policies
        )
        unclear = (undecided(covered, *pair) for covered in reviewed.covered for pair in covered.undecided)
        return (*(one for each in judged for one in each), *unclear)

    async def _pin(self, covered: Covered, reviewed: Scope, deadline: Deadline) -> tuple[Mapping[str, Any], ...]:
        """Two operations, so that the patch fails rather than pins another image than the one that was resolved."""
        reference = covered.reference
        if (
            reference is None
            or not (covered.policies or covered.undecided)
            or covered.digest_mode is not DigestMode.PIN
        ):
            return ()
        try:
            # Of several policies the one with the least grace says what a tag may still name.
            grace = min(grace_of(compiled) for compiled in covered.deciding)
            resolved = await self._resolutions.get(reference, access=reviewed.access, deadline=deadline, grace=grace)
        except AssayError:
            return ()  # `validate` meets the same error and says it
        pinned = Reference.parse(reference.pinned(resolved.digest))
        self._resolutions.put(replace(resolved, reference=pinned), access=reviewed.access)
        self._warm(pinned, covered.policies, reviewed)
        if reference.digest is not None:
            return ()
        path = covered.image.path
        return (
            {"op": "test", "path": path, "value": covered.image.text},
            {"op": "replace", "path": path, "value": pinned.text},
        )

    def _warm(self, pinned: Reference, policies: Sequence[CompiledPolicy], reviewed: Scope) -> None:
        """Start what `validate` will need. Only a gain: the pinned digest carries the correctness."""
        if len(self._warming) >= self._settings.review_flights:
            return

        async def work() -> None:
            deadline = Deadline.after(self._settings.review_work_timeout)
            now = self._clock()
            for compiled in policies:
                with contextlib.suppress(AssayError):  # `validate` meets the same error and says it
                    await self._judge.prepare(pinned, compiled, scope=reviewed, now=now, deadline=deadline)

        task = asyncio.create_task(work())
        self._warming.add(task)
        task.add_done_callback(self._warming.discard)

    async def _record(self, reviewed: Reviewed, began: int, deadline: Deadline) -> None:
        context = leaf.Context(
            request=reviewed.scope.request,
            workload=reviewed.scope.workload,
            namespace=reviewed.scope.namespace,
            cluster=self._settings.cluster_name,
            decided_at=reviewed.decided_at,
            latency_us=(time.perf_counter_ns() - began) // 1000,
            salt=secrets.token_hex(16),
            record=reviewed.record,
            object_hash=reviewed.object_hash,
        )
        content, blobs = leaf.build(reviewed.decision, reviewed.judged, context)
        try:
            await self._recorder.record(content, blobs=blobs, deadline=deadline)
        except AssayError:
            telemetry.RECORD_FAILURES.inc()
            raise


def _count(decision: Decision, workload: Workload) -> None:
    for evaluation in decision.evaluations:
        telemetry.EVALUATIONS.labels(str(evaluation.policy), str(evaluation.outcome)).inc()
        for exception in evaluation.exceptions:
            telemetry.EXCEPTION_USES.labels(exception.name, str(exception.break_glass).lower()).inc()
    telemetry.UNMATCHED.inc(len(unmatched_images(decision.evaluations, workload.changed)))


def _tell(reviewed: Reviewed) -> None:
    """An emergency is never quiet."""
    request = reviewed.scope.request
    for evaluation in reviewed.decision.evaluations:
        for exception in evaluation.exceptions:
            if exception.break_glass:
                log.warning(
                    "break-glass: %s %s/%s by %s: %s is exempt from %s by %s, approved by %s, record %s%s: %s",
                    request.kind,
                    request.namespace,
                    request.name,
                    request.user.username,
                    evaluation.image.text,
                    evaluation.policy,
                    exception.name,
                    exception.approver,
                    reviewed.record.id,
                    " (dry run)" if request.dry_run else "",
                    exception.reason,
                )
