"""What queries return: plain values that know nothing of a database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

FLAGS = (
    *("warn", "audit", "exempt", "break-glass", "stale", "error"),
    *("fail-open", "no-match", "softened"),
)
"""What a decision may be marked with, beside its verdict."""


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions. Empty fields ask for nothing; all others must hold together.

    `image` is a repository as people write it (`nginx`, `ghcr.io/acme/app`), with a tag or a digest if those matter;
    `policy` is a name, or `namespace/name`; `exception` the name of one that was used; `name` the object's (a pod's).
    Times bound `decided_at`: from `since`, before `until`.
    """

    namespace: str | None = None
    name: str | None = None
    verdict: str | None = None
    digest: str | None = None
    image: str | None = None
    policy: str | None = None
    exception: str | None = None
    flag: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DecisionImage:
    """An image of a decision: what the user wrote, and the digest it was when decided, if it could be resolved."""

    kind: str
    container: str
    reference: str
    digest: str | None


@dataclass(frozen=True, slots=True)
class DecisionSummary:
    """One line of a list of decisions. `reasons` are the codes of all that did not hold, sorted, each once."""

    id: str
    decided_at: datetime
    recorded_at: datetime
    cluster: str
    verdict: str
    flags: tuple[str, ...]
    reasons: tuple[str, ...]
    message: str
    operation: str
    kind: str
    namespace: str
    name: str
    username: str
    images: tuple[DecisionImage, ...]


@dataclass(frozen=True, slots=True)
class DecisionPage:
    """A page, newest first; `cursor` asks for the next, None at the end."""

    items: tuple[DecisionSummary, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """One decision whole: `leaf` is the JSON value of `canonical`, the very bytes that were recorded."""

    id: str
    recorded_at: datetime
    canonical: bytes
    leaf: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """The policy under which something was found, by the hash of its spec."""

    kind: str
    namespace: str
    name: str
    hash: str


class Standing(StrEnum):
    """How a version of a policy or an exception stood at a time.

    UNKNOWN: an exception that was used, and that no operator recorded to be applied.
    """

    IN_FORCE = "InForce"
    REPLACED = "Replaced"
    DELETED = "Deleted"
    EXPIRED = "Expired"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """One version of a policy that was applied, as an operator saw it.

    `manager` is the program that wrote this spec (`metadata.managedFields`), which says nothing of a person; `problem`
    the code of why the policy is broken, as it was seen then. `ended_at` is when it was replaced, or seen to be
    deleted; `unwatched`: that was found later, when somebody watched again. `record` says that it was applied.
    """

    cluster: str
    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    hash: str
    manager: str
    problem: str
    applied_at: datetime
    recorded_at: datetime
    state: Standing
    ended_at: datetime | None
    unwatched: bool
    record: str


@dataclass(frozen=True, slots=True)
class PolicyPage:
    """Versions of policies, the latest applied first; `cursor` asks for the next, None at the end."""

    items: tuple[PolicyRecord, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class ResourceVersion:
    """A policy or an exception that stands, and in which version since when. `life`: how often its uid had been deleted
    before."""

    kind: str
    namespace: str
    name: str
    uid: str
    life: int
    generation: int
    hash: str
    applied_at: datetime


@dataclass(frozen=True, slots=True)
class ExceptionRecord:
    """One version of an exception: what it said, and its uses (one for each image under a policy).

    `approval` is `stamped` (the approver was checked) or `claimed` (read from a file). `reason` is the approver's.
    `applied_at` is None where no operator recorded it, `ended_at` while it is in force, or where nobody knows.
    `unwatched` as of a policy.
    """

    cluster: str
    name: str
    hash: str
    approval: str
    approver: str
    approved_at: datetime | None
    reason: str
    expires: datetime
    break_glass: bool
    applied_at: datetime | None
    state: Standing
    ended_at: datetime | None
    unwatched: bool
    uses: int
    first_used_at: datetime | None
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class ExceptionPage:
    """Exceptions, the last used first; of one that was never used counts when it was applied.

    `cursor` asks for the next, None at the end.
    """

    items: tuple[ExceptionRecord, ...]
    cursor: str | None


class Admission(StrEnum):
    """What the inventory knows of how a run came to be.

    ADMITTED: Assay admitted its pod with this very image. DRIFTED: it admitted the pod with another image. UNADMITTED:
    it was never asked about the pod (a static pod, an excluded namespace, a webhook that was away). UNKNOWN: it cannot
    be compared, since the kubelet reports no manifest's digest, or the admitted reference was never resolved.
    """

    ADMITTED = "Admitted"
    DRIFTED = "Drifted"
    UNADMITTED = "Unadmitted"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class SignerRecord:
    """Who signed an image: a key by its fingerprint, else an identity.

    `statements` says what of theirs was verified: `signature`, and the predicate types of attestations.
    """

    key: str
    issuer: str
    subject: str
    statements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run of one container, as the kubelet told of it, with the decision that admitted its pod.

    `ended_at` is None while it runs. `record` is the decision's id, empty if there is none. `signers` are those of whom
    something was verified when this very image was admitted; of what was not admitted there are none.
    """

    cluster: str
    namespace: str
    pod: str
    pod_uid: str
    node: str
    owner: str
    service_account: str
    kind: str
    container: str
    run: str
    reference: str
    image_id: str
    digest: str | None
    started_at: datetime
    ended_at: datetime | None
    reason: str
    admission: Admission
    record: str
    signers: tuple[SignerRecord, ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """When nobody watched what runs in a cluster."""

    cluster: str
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, the latest started first, with the gaps of the watch that touch the time that was asked about: the latest,
    and whether there are more."""

    items: tuple[RunRecord, ...]
    gaps: tuple[Gap, ...]
    more_gaps: bool
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What verification found about a digest: a `signature`, an `attestation` or a `rejection`.

    The times are those of the first decision that rests on it. `detail` is the leaf's entry: signer, log entry, steps,
    or for a rejection its code and message.
    """

    finding: str
    policy: PolicyVersion
    decided_at: datetime
    recorded_at: datetime
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """All that is known of one digest. `decisions` is its first page; ask `decisions` with the digest for more."""

    digest: str
    references: tuple[str, ...]
    repositories: tuple[str, ...]
    first_decided_at: datetime
    last_decided_at: datetime
    admitted: int
    denied: int
    signatures: tuple[Finding, ...]
    attestations: tuple[Finding, ...]
    rejections: tuple[Finding, ...]
    decisions: DecisionPage
