"""Runs the cases of policy tests: each through the very pipeline that the webhook has, all on one worker pool.

Where a case names its evidence, nothing goes to a network: images and what lies beside them come from an OCI image
layout on disk.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from controller import admission, app, images
from controller.cli import local
from controller.errors import ConfigurationError, InputError
from controller.model.deadline import Deadline
from controller.model.decision import Decision
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest, Workload
from controller.policy.casefiles import CaseFile, CaseLoader, resolved
from controller.policy.cases import Case
from controller.policy.expectations import Found, FoundEvaluation, Subject
from controller.policy.files import read_yaml
from controller.policy.snapshot import Snapshot
from controller.registry.handed import HandedOver, read_bundles
from controller.registry.layout import OciLayout
from controller.review.explanation import Explanation
from controller.review.explanation import explain as explanation_of
from controller.review.pipeline import UNEVALUATED, Pipeline, Reviewed
from controller.review.ports import Registry
from controller.settings import Settings
from controller.workers import WorkerPool

SIDE_BY_SIDE = 8  # cases under way at once: what they wait for is a worker process


@dataclass(frozen=True, slots=True)
class Ran:
    """What a case came to, and in how many seconds.

    `explanation` says why, policy by policy; it is made where the case was to be explained.
    """

    found: Found
    seconds: float
    explanation: tuple[Reviewed, Explanation] | None = None


class Runner:
    """Runs cases; `open_runner` makes it. One worker pool serves all of them."""

    def __init__(self, settings: Settings, workers: WorkerPool, *, online: bool, timeout: float) -> None:
        self._settings = settings
        self._online = online
        self._timeout = timeout
        self._places = asyncio.Semaphore(SIDE_BY_SIDE)
        self._snapshot = lru_cache(maxsize=256)(self._read_snapshot)
        self.workers = workers

    async def run(self, file: CaseFile, case: Case, *, explain: Callable[[Found], bool] = lambda _: False) -> Ran:
        """Run one case. `explain` says whether what was found is to be explained.

        Raises `AssayError` for whatever keeps it from being run at all.
        """
        now = case.now or app.now()
        async with self._places, self._pipeline(file.path, case, now) as (pipeline, snapshot):
            began = time.perf_counter()
            request = request_of(file.path, case)
            deadline = Deadline.after(self._timeout)
            patch = await pipeline.mutate(request, deadline=deadline)
            pinned = admission.pinned_request(request, patch)
            decision = await pipeline.validate(pinned, deadline=deadline)
            found = _found(images.extract(request), decision, snapshot)
            if decision is UNEVALUATED or not explain(found):
                return Ran(found, time.perf_counter() - began)
            reviewed = await pipeline.review(pinned, images.extract(pinned), deadline=deadline)
            seconds = time.perf_counter() - began
            explanation = await explanation_of(reviewed, self.workers, now=now, deadline=deadline)
            return Ran(found, seconds, (reviewed, explanation))

    @asynccontextmanager
    async def _pipeline(self, file: Path, case: Case, now: datetime) -> AsyncIterator[tuple[Pipeline, Snapshot]]:
        if not case.layout and not self._online:
            message = "the case names no evidence.layout and would ask a registry: give one, or run with --online"
            raise InputError("EvidenceMissing", message)
        snapshot = self._snapshot(
            tuple(resolved(file, path) for path in (*case.policies, *case.exceptions)),
            tuple((name, resolved(file, path)) for name, path in case.trust_roots),
        )
        if not len(snapshot.policies):
            raise InputError("NoPolicies", "the case's policies hold no ClusterEvidencePolicy and no EvidencePolicy")
        clock = local.fixed_clock(now)
        layout = resolved(file, case.layout) if case.layout else None
        handed = read_bundles([resolved(file, path) for path in case.bundles], self._settings.registry)

        def through(registry: Registry) -> Registry:
            found = registry if layout is None else OciLayout(layout, self._settings.registry, clock=clock)
            return HandedOver(found, handed, clock=clock) if case.bundles else found

        review = replace(self._settings.review, no_match=str(case.no_match), templates=str(case.templates))
        async with app.open_pipeline(
            replace(self._settings, review=review),
            snapshots=app.fixed(snapshot),
            namespaces=app.LocalNamespaces({case.namespace.name: case.namespace}),
            recorder=app.NoRecorder(),
            clock=clock,
            through=through,
            workers=self.workers,
        ) as pipeline:
            yield pipeline, snapshot

    def _read_snapshot(self, policies: tuple[Path, ...], trust_roots: tuple[tuple[str, Path], ...]) -> Snapshot:
        cluster = replace(self._settings.cluster, trusted_root=tuple(f"{n}={path}" for n, path in trust_roots))
        return app.read_snapshot(*policies, settings=replace(self._settings, cluster=cluster))


@asynccontextmanager
async def open_runner(
    settings: Settings, *, online: bool = False, timeout: float = local.SECONDS
) -> AsyncIterator[Runner]:
    """A runner with its worker processes, warmed up. `timeout`: seconds for one case."""
    async with app.open_workers(settings) as workers:
        yield Runner(settings, workers, online=online, timeout=timeout)


def request_of(file: Path, case: Case) -> AdmissionRequest:
    """The request that the case is about."""
    document = _document(file, case)
    if document.get("kind") == "AdmissionReview":
        return replace(admission.parse_review(json.dumps(document).encode()), dry_run=True)
    return admission.request_for(document, namespace=case.namespace.name, user=case.user, uid=str(uuid.uuid4()))


def _document(file: Path, case: Case) -> Mapping[str, Any]:
    if case.image:
        Reference.parse(case.image)
        return admission.pod_of(case.image, namespace=case.namespace.name)
    if case.object is not None:
        return case.object
    path = resolved(file, case.file)
    found = [document for document in read_yaml(path, CaseLoader) if document is not None]
    if len(found) != 1 or not isinstance(found[0], Mapping):
        raise ConfigurationError("FileUnreadable", f"{path}: expected exactly one Kubernetes object or AdmissionReview")
    return found[0]


def _found(workload: Workload, decision: Decision, snapshot: Snapshot) -> Found:
    """The decision, with each image under the name that it had before it was pinned."""
    subjects = {image.path: Subject(image.text, image.name, image.path) for image in workload.changed}
    evaluations = tuple(FoundEvaluation.of(e, subjects[e.image.path]) for e in decision.evaluations)
    return Found(
        verdict=decision.verdict,
        evaluations=evaluations,
        warnings=decision.warnings,
        policies=tuple(compiled.policy.identity for compiled in snapshot.policies),
        subjects=tuple(subjects.values()),
    )
