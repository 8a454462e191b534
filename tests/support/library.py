"""Runs the cases of `policies/` as the webhook and the operator do, each with the parts that it has in a cluster."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controller import admission, app, images, settings
from controller.cli import local
from controller.cli.policy.running import request_of
from controller.model.deadline import Deadline
from controller.model.decision import Evaluation
from controller.model.reference import Digest
from controller.operator.keeper import Keeper, make_picture
from controller.operator.resources import CLUSTER_POLICIES, EXCEPTIONS, POLICIES, TRUST_ROOTS
from controller.policy.casefiles import CaseFile, read_case_files, resolved
from controller.policy.cases import Case
from controller.policy.files import load_objects
from controller.policy.snapshot import Snapshot
from controller.registry.layout import OciLayout
from controller.settings import Settings
from controller.webhook.app import create_app
from controller.workers import WorkerPool
from tests.support.asgi import call
from tests.support.fixtures import POLICIES as LIBRARY

SECONDS = 30.0

Outcomes = tuple[tuple[str, str, str, str, tuple[tuple[str, str], ...]], ...]
"""Policy, container, platform, outcome and reasons (code and rule) of each evaluation, sorted."""


@dataclass(frozen=True, slots=True)
class Said:
    """What one of the three ways says of a case."""

    verdict: str
    outcomes: Outcomes


def cases() -> list[tuple[CaseFile, Case]]:
    """Every case of the library."""
    return [(file, case) for file in read_case_files(LIBRARY) for case in file.cases]


@dataclass(slots=True)
class Leaves:
    """Implements `review.ports.Recorder`: keeps what is to be recorded."""

    kept: list[Mapping[str, Any]] = field(default_factory=list)

    async def record(self, leaf: Mapping[str, Any], *, blobs: Mapping[Digest, bytes], deadline: Deadline) -> None:
        """Keep it."""
        del blobs, deadline
        self.kept.append(json.loads(json.dumps(leaf)))


class Always:
    """A replica that is ready."""

    def check(self) -> None:
        """Nothing is missing."""


async def by_webhook(file: Path, case: Case, workers: WorkerPool) -> Said:
    """What an API server gets from `/mutate` and then `/validate`, and what the leaf keeps of it."""
    leaves = Leaves()
    chosen = _settings(case)
    snapshot = app.read_snapshot(*_policies(file, case), settings=chosen(file))
    async with _pipeline(file, case, snapshot, workers, leaves) as pipeline:
        webhook = create_app(chosen(file).webhook, pipeline=pipeline, readiness=Always())
        request = request_of(file, case)
        review: dict[str, Any] = {
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": copy.deepcopy(dict(request.raw)),
        }
        mutated = (await call(webhook, "POST", "/mutate", json.dumps(review).encode(), query="timeout=30s")).response
        if "patch" in mutated:
            patch = json.loads(base64.b64decode(mutated["patch"]))
            review["request"]["object"] = admission.apply_pins(review["request"]["object"], patch)
        answer = (await call(webhook, "POST", "/validate", json.dumps(review).encode(), query="timeout=30s")).response
    verdict = "Allow" if answer["allowed"] else "Deny"
    if not leaves.kept:
        return Said(verdict, ())
    (leaf,) = leaves.kept
    assert leaf["verdict"] == verdict
    return Said(verdict, tuple(sorted(_of_leaf(leaf, evaluation) for evaluation in leaf["evaluations"])))


async def by_operator(file: Path, case: Case, workers: WorkerPool) -> Said:
    """What a re-scan says: objects taken in as events of a cluster, and the review of the object as it is stored."""
    made = {(obj["kind"], obj["metadata"]["name"]): obj for obj in load_objects(*_policies(file, case))}
    given = app.read_trust_roots(f"{name}={resolved(file, path)}" for name, path in case.trust_roots)
    keeper = Keeper(trust_roots=given)
    for number, obj in enumerate(made.values()):
        about = {"uid": f"u-{number}", "generation": 1, "resourceVersion": str(100 + number)}
        stored = {**obj, "metadata": {**obj["metadata"], **about}}
        keeper.put(_RESOURCES[obj["kind"]], stored)
    picture = make_picture(
        keeper.objects(CLUSTER_POLICIES, POLICIES),
        keeper.objects(TRUST_ROOTS),
        keeper.objects(EXCEPTIONS),
        given=keeper.given_trust_roots(),
        previous=None,
    )
    snapshot = Snapshot(policies=picture.policies, exceptions=picture.exceptions, trust_roots=picture.trust_roots)
    async with _pipeline(file, case, snapshot, workers, app.NoRecorder()) as pipeline:
        request = request_of(file, case)
        stored_object = admission.pinned_request(request, await pipeline.mutate(request, deadline=_deadline()))
        workload = images.extract(stored_object)
        reviewed = await pipeline.review(stored_object, workload, deadline=_deadline())
    decision = reviewed.decision
    return Said(str(decision.verdict), tuple(sorted(_of_evaluation(e) for e in decision.evaluations)))


def by_command_line(result: Mapping[str, Any]) -> Said:
    """One result of `assay policy test -o json`."""
    found = result["found"]
    return Said(
        found["verdict"],
        tuple(
            sorted(
                (
                    e["policy"],
                    e["container"],
                    e["platform"] or "",
                    e["outcome"],
                    tuple(sorted((r["code"], r["rule"]) for r in e["reasons"])),
                )
                for e in found["evaluations"]
            )
        ),
    )


_RESOURCES = {resource.kind: resource for resource in (CLUSTER_POLICIES, POLICIES, TRUST_ROOTS, EXCEPTIONS)}


def _policies(file: Path, case: Case) -> list[Path]:
    return [resolved(file, path) for path in (*case.policies, *case.exceptions)]


def _settings(case: Case) -> Any:
    def load(file: Path) -> Settings:
        roots = [f"{name}={resolved(file, path)}" for name, path in case.trust_roots]
        flags = {"no_match": str(case.no_match), "templates": str(case.templates), "trusted_root": roots}
        return settings.load(flags=flags, environment={})

    return load


def _pipeline(file: Path, case: Case, snapshot: Snapshot, workers: WorkerPool, recorder: Any) -> Any:
    chosen = _settings(case)(file)
    clock = app.now if case.now is None else local.fixed_clock(case.now)
    known = snapshot.with_namespaces({case.namespace.name: case.namespace})
    return app.open_pipeline(
        replace(chosen, workers=replace(chosen.workers, worker_processes=1)),
        snapshots=app.fixed(known),
        namespaces=app.LocalNamespaces(),
        recorder=recorder,
        clock=clock,
        through=lambda _: OciLayout(resolved(file, case.layout), chosen.registry, clock=clock),
        workers=workers,
    )


def _deadline() -> Deadline:
    return Deadline.after(SECONDS)


def _of_leaf(leaf: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Any:
    policy = evaluation["policy"]
    parts = [policy["kind"], *([policy["namespace"]] if policy["namespace"] else []), policy["name"]]
    child = evaluation.get("child") or {}
    return (
        "/".join(parts),
        leaf["images"][evaluation["image"]]["container"],
        child.get("platform") or child.get("digest") or "",
        evaluation["outcome"],
        tuple(sorted((r["code"], r["rule"]) for r in evaluation["reasons"])),
    )


def _of_evaluation(evaluation: Evaluation) -> Any:
    child = evaluation.child
    return (
        str(evaluation.policy),
        evaluation.image.name,
        str(child.platform or child.digest) if child else "",
        str(evaluation.outcome),
        tuple(sorted((r.code, r.rule) for r in evaluation.reasons)),
    )
