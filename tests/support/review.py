"""The ports of a review in memory: small and honest implementations, so that the pipeline itself is never replaced.

`World` holds what they answer: images by reference, evidence by digest, what an assessment finds, what was recorded.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import rfc8785

from controller.errors import AssayError, NotFound, NotReady
from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.decision import ErrorKind, Evaluation, Outcome, Reason
from controller.model.evidence import Artifact, ArtifactKind, EvidenceSet, VerifiedEvidence
from controller.model.exception import EvidenceException
from controller.model.image import ConfigBlob, ContainerKind, ImageUse, ResolvedImage
from controller.model.policy import Action, DigestMode, FailurePolicy, Namespace, PolicyIdentity
from controller.model.reference import Digest, Reference
from controller.policy.exception_index import build_exceptions
from controller.policy.exceptions import parse_exception
from controller.policy.snapshot import Snapshot, build_policies
from controller.review.pipeline import Pipeline
from controller.review.ports import Assessment, AssessmentJob
from controller.settings import DocumentSettings, PolicySettings, ReviewSettings
from controller.workers.assessment import assess as really_assess
from tests.support.exceptions import NOW, exception
from tests.support.fixtures import recorded_bundle, recorded_key, recorded_manifest

ONLY_ACME = """\
apiVersion: assay.dev/v1alpha1
kind: ClusterEvidencePolicy
metadata: {name: only-acme}
spec:
  digest: Require
  validations: [{expression: "image.registry == 'ghcr.io'"}]
"""
"""What a server is started with whose verdicts do not matter much: images of one registry, by digest."""

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def policy(
    name: str = "signed", *, namespace: str = "", metadata: Mapping[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """A policy object that requires a signature by one identity, with these fields of its spec changed."""
    authority = {
        "name": "release",
        "keyless": {"identities": [{"issuer": "https://issuer.example", "subject": "release@acme.example"}]},
    }
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "EvidencePolicy" if namespace else "ClusterEvidencePolicy",
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {}), **(metadata or {})},
        "spec": {"authorities": [authority], "signatures": {"authorities": ["release"]}} | spec,
    }


def pod(*containers: str, name: str = "web", metadata: Mapping[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod with these images in containers `c0`, `c1`, …"""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": "pod-1", **(metadata or {})},
        "spec": {"containers": [{"name": f"c{i}", "image": image} for i, image in enumerate(containers)], **spec},
    }


def review(
    obj: Mapping[str, Any] | None,
    old: Mapping[str, Any] | None = None,
    *,
    kind: str = "Pod",
    group: str = "",
    **changes: Any,
) -> dict[str, Any]:
    """An AdmissionReview about the object."""
    request = {
        "uid": "request-1",
        "kind": {"group": group, "version": "v1", "kind": kind},
        "resource": {"group": group, "version": "v1", "resource": f"{kind.lower()}s"},
        "operation": "CREATE" if old is None else "UPDATE",
        "namespace": "shop",
        "name": "web",
        "userInfo": {"username": "alice", "groups": ["dev"]},
        "object": obj,
        "oldObject": old,
        "dryRun": False,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | changes}


def digest(text: str) -> Digest:
    """The digest that the world's registry gives an image of this name."""
    return Digest.of(text.encode(errors="backslashreplace"))


def image_use(text: str = "ghcr.io/acme/app:1", *, name: str = "app", index: int = 0) -> ImageUse:
    """A regular container's image."""
    return ImageUse(
        ContainerKind.REGULAR, name, text, f"/spec/containers/{index}/image", f"spec.containers[{index}].image"
    )


def evaluation(
    outcome: Outcome = Outcome.SATISFIED,
    *,
    image: ImageUse | None = None,
    name: str = "signed",
    kind: str = "ClusterEvidencePolicy",
    actions: tuple[Action, ...] = (Action.DENY,),
    failure_policy: FailurePolicy = FailurePolicy.FAIL,
    error_kind: ErrorKind | None = None,
    reasons: tuple[Reason, ...] | None = None,
) -> Evaluation:
    """What one policy says of one image; with a reason unless it is satisfied."""
    if outcome is Outcome.ERROR and error_kind is None:
        error_kind = ErrorKind.UNACCEPTABLE
    why = (
        ()
        if outcome is Outcome.SATISFIED
        else (Reason("SignatureMissing", "signatures", "the image has no signature"),)
    )
    return Evaluation(
        image=image or image_use(),
        digest=digest("app"),
        policy=PolicyIdentity(kind, "" if kind.startswith("Cluster") else "shop", name, str(digest(name))),
        actions=actions,
        failure_policy=failure_policy,
        digest_mode=DigestMode.PIN,
        outcome=outcome,
        reasons=why if reasons is None else reasons,
        error_kind=error_kind,
        otherwise=Outcome.VIOLATED if outcome is Outcome.EXEMPT else None,
        exceptions=(granted(),) if outcome is Outcome.EXEMPT else (),
    )


def granted(name: str = "hotfix", *, claimed: bool = False, **spec: Any) -> EvidenceException:
    """An exception as it was parsed."""
    found = parse_exception(exception(name, **spec), claimed=claimed)
    assert isinstance(found, EvidenceException), found
    return found


def evidence(image: Digest, *contents: bytes, repository: str = "ghcr.io/acme/app") -> EvidenceSet:
    """Artefacts with these contents."""
    artifacts = tuple(Artifact(ArtifactKind.BUNDLE, "application/json", c, Digest.of(c), "referrer") for c in contents)
    return EvidenceSet(image=image, repository=repository, artifacts=artifacts, fetched_at=NOW)


def assessment(outcome: Outcome = Outcome.SATISFIED, **changes: Any) -> Assessment:
    """What evidence alone says."""
    reason = Reason(
        "SignatureMissing", "signatures", "the image has no signature", "1 signature", ("nothing",), "sign it"
    )
    fields: dict[str, Any] = {
        "outcome": outcome,
        "reasons": () if outcome is Outcome.SATISFIED else (reason,),
        "error_kind": ErrorKind.UNACCEPTABLE if outcome is Outcome.ERROR else None,
        "evidence": VerifiedEvidence(digest("app")),
        "used": {"verifier": "test"},
    }
    return Assessment(**(fields | changes))


@dataclass(slots=True)
class World:
    """Registry, Assessor, Recorder, Snapshots, Namespaces and Readiness in one, with everything that they were asked.

    A repository's last word decides what its image is: `unsigned…` is violated, `broken…` an error. `fail` maps a
    port's method to what it does instead: it is called, and may raise, wait or return.
    """

    policies: list[dict[str, Any]] = field(default_factory=lambda: [policy()])
    exceptions: list[dict[str, Any]] = field(default_factory=list)
    namespaces: dict[str, Namespace] = field(default_factory=lambda: {"shop": Namespace("shop", {"team": "shop"})})
    fail: dict[str, Callable[[], Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    blobs: dict[Digest, bytes] = field(default_factory=dict)
    ready: bool = True
    now: datetime = NOW

    async def _called(self, method: str, about: str) -> None:
        self.calls.append(f"{method} {about}")
        if method in self.fail:
            found = self.fail[method]()
            if asyncio.iscoroutine(found):
                await found

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        del access, deadline
        await self._called("resolve", str(reference))
        if reference.repository.endswith("missing"):
            raise NotFound("NotFound", f"{reference.registry} has no {reference.repository}")
        return ResolvedImage(reference, reference.digest or digest(reference.name), MANIFEST, 7)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        del access, deadline
        await self._called("discover", image.reference.name)
        return evidence(image.digest, b"evidence of " + image.reference.name.encode())

    async def assess(self, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        del deadline
        await self._called("assess", job.image.reference.name)
        last = job.image.reference.repository.rpartition("/")[2]
        if last.startswith("unsigned"):
            return assessment(Outcome.VIOLATED)
        return assessment(Outcome.ERROR if last.startswith("broken") else Outcome.SATISFIED)

    async def configs(
        self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline
    ) -> tuple[ConfigBlob, ...]:
        del access, deadline
        await self._called("configs", image.reference.name)
        content = b'{"config": {"User": "1"}}'
        return (ConfigBlob(None, image.digest, Digest.of(content), content),)

    async def record(self, leaf: Mapping[str, Any], *, blobs: Mapping[Digest, bytes], deadline: Deadline) -> None:
        del deadline
        await self._called("record", leaf["object"]["name"])
        rfc8785.dumps(dict(leaf))
        self.records.append(json.loads(json.dumps(leaf)))
        self.blobs.update(blobs)

    def current(self) -> Snapshot:
        self.calls.append("current")
        if "current" in self.fail:
            self.fail["current"]()
        return Snapshot(
            policies=build_policies(self.policies),
            exceptions=build_exceptions(self.exceptions),
            namespaces=self.namespaces,
        )

    async def fetch(self, name: str, *, deadline: Deadline) -> Namespace:
        del deadline
        await self._called("fetch", name)
        return Namespace(name, {"kubernetes.io/metadata.name": name})

    def check(self) -> None:
        if not self.ready:
            raise NotReady("NotReady", "policies were not loaded yet")

    def pipeline(self, settings: ReviewSettings | None = None) -> Pipeline:
        """The real pipeline over this world."""
        return Pipeline(
            settings or ReviewSettings(),
            registry=self,
            assessor=self,
            recorder=self,
            snapshots=self,
            namespaces=self,
            clock=lambda: self.now,
        )


PROVEN = Digest.of(recorded_manifest())  # the image that the recorded evidence is about


def recorded_authority(key: str = "release") -> dict[str, Any]:
    """An authority that is one of the recorded keys, needing no log."""
    return {"name": key, "key": {"pem": recorded_key(key)}, "transparencyLog": "Optional"}


@dataclass(slots=True)
class ProvenWorld(World):
    """A world whose assessor is the real one: every image is the recorded one, with recorded bundles beside it.

    `beside` names the bundles by repository, in the order in which the registry lists them; an error there is raised
    instead.
    """

    beside: dict[str, tuple[str, ...] | AssayError] = field(default_factory=dict)

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        found = await World.resolve(self, reference, access=access, deadline=deadline)
        return replace(found, digest=reference.digest or PROVEN)

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        found = await World.discover(self, image, access=access, deadline=deadline)
        named = self.beside.get(image.reference.name, ())
        if isinstance(named, AssayError):
            raise type(named)(*named.args)
        bundles = [(name, recorded_bundle(name).raw) for name in named]
        return replace(
            found,
            artifacts=tuple(
                Artifact(ArtifactKind.BUNDLE, "application/json", raw, Digest.of(raw), f"referrer {name}")
                for name, raw in bundles
            ),
        )

    async def assess(self, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        del deadline
        await self._called("assess", job.image.reference.name)
        return really_assess(job, documents=DocumentSettings(), policy=PolicySettings())
