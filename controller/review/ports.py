"""What a review needs of the world, as Protocols. Adapters implement them and never import each other.

`controller.app` injects: registry -> `Registry`, workers (verification, documents, policy) -> `Assessor`,
inventory -> `Recorder`, operator and cluster -> `Snapshots` and `Namespaces`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from controller.model.access import RegistryAccess
from controller.model.deadline import Deadline
from controller.model.decision import ErrorKind, Outcome, Reason
from controller.model.evidence import EvidenceSet, VerifiedEvidence
from controller.model.image import ConfigBlob, ImageConfigs, ImageUse, RawConfigs, ResolvedImage
from controller.model.policy import Namespace, Policy, TrustRoot
from controller.model.reference import Digest, Reference
from controller.model.workload import AdmissionRequest
from controller.policy.snapshot import Snapshot
from controller.policy.trace import Traced

Clock = Callable[[], datetime]
"""The time in UTC. Injected, so that a replay can ask for a verdict of another day."""


class Registry(Protocol):
    """The OCI distribution protocol, as much of it as a review needs."""

    async def resolve(self, reference: Reference, *, access: RegistryAccess, deadline: Deadline) -> ResolvedImage:
        """What the reference names now. A reference with a digest is fetched by it and hashed.

        Raises `Unavailable`, `NotFound`, `AccessDenied` or another `Unacceptable`.
        """
        ...

    async def discover(self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline) -> EvidenceSet:
        """All signatures and attestations of the image, unverified.

        Raises `Unavailable` when a source could not be asked: half an answer is none.
        """
        ...

    async def configs(
        self, image: ResolvedImage, *, access: RegistryAccess, deadline: Deadline
    ) -> tuple[ConfigBlob, ...]:
        """The configuration of the image, or of each of its platforms; never empty, each bound by the image's digest.

        Raises as `resolve` does, and `Unacceptable` (`ConfigUnsupported`, `ConfigsMissing`, `PlatformsNested`).
        """
        ...


@dataclass(frozen=True, slots=True)
class AssessmentJob:
    """One image under one policy: everything that a worker process needs, as plain picklable values.

    `configs` are there where the policy's rules look at them.
    """

    image: ResolvedImage
    evidence: EvidenceSet
    policy: Policy
    trust_roots: tuple[TrustRoot, ...]
    now: datetime
    configs: RawConfigs = ()


@dataclass(frozen=True, slots=True)
class Assessment:
    """What evidence alone says: requirements and the rules that read nothing but evidence.

    `reasons` are empty exactly when `outcome` is SATISFIED. `evidence` has what was verified (documents included only
    when the policy has rules that read the request or the clock, so that those can be evaluated from it).
    `used` names every input by hash, for the ledger: artefacts, trust roots, keys, verifier version.
    `valid_until` is the first time at which a date that was read could change the outcome; None if there is none.
    `complete` says that the requirements were met and the documents read, so that rules were asked at all;
    `annotations` are keys and values for the audit log. `configs` are the image's configurations, read, where the
    policy's rules look at them.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    error_kind: ErrorKind | None
    evidence: VerifiedEvidence
    used: Mapping[str, Any]
    valid_until: datetime | None = None
    complete: bool = False
    annotations: tuple[tuple[str, str], ...] = ()
    configs: ImageConfigs = ()


@dataclass(frozen=True, slots=True)
class TraceJob:
    """An assessment's job and what belongs to the request: for who asks why (`assay policy explain`)."""

    assessment: AssessmentJob
    use: ImageUse
    request: AdmissionRequest
    namespace: Namespace | None


@dataclass(frozen=True, slots=True)
class Explained:
    """What the expressions of a policy came to, part by part.

    `asked` says whether the rules were asked at all: not where a requirement is not met or a document unreadable.
    """

    asked: bool
    expressions: tuple[Traced, ...]


class Assessor(Protocol):
    """Verification, document parsing and evidence rules: what costs CPU, off the serving thread."""

    async def assess(self, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        """Judge. An unverifiable input is in the result; raised are only `Unavailable` and `Unacceptable`
        (worker lost, deadline, memory limit)."""
        ...


class Recorder(Protocol):
    """The acknowledged write."""

    async def record(self, leaf: Mapping[str, Any], *, blobs: Mapping[Digest, bytes], deadline: Deadline) -> None:
        """Return only once the leaf and the blobs it names are durable.

        A leaf whose id is already recorded is not recorded twice (`leaf.record_name` says which are one record).
        Raises `RecordingFailed`.
        """
        ...


class Snapshots(Protocol):
    """The last whole picture of policies, trust roots, namespaces and pull secrets."""

    def current(self) -> Snapshot:
        """The snapshot in force. Raises `NotReady` before the first whole one."""
        ...


class Namespaces(Protocol):
    """Asked for a namespace that the snapshot does not know yet."""

    async def fetch(self, name: str, *, deadline: Deadline) -> Namespace:
        """The namespace itself. Raises `Unavailable`; an unknown namespace is never *unmatched*."""
        ...
