"""The interface's JSON: what goes in as query parameters, and what comes out. camelCase, times in UTC (RFC 3339)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from controller.inventory.asking.asker import DEFAULT_LIMIT, MAX_LIMIT
from controller.inventory.ledger import reading as ledger
from controller.inventory.records import FLAGS, Admission, DecisionFilter, Standing
from controller.reading.wire.base import Asked as Asked
from controller.reading.wire.base import BaseAsked as BaseAsked
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Paged, Shown, Text


class BlobAsked(InNamespace):
    """Parameters of a question about raw bytes."""


class ImageAsked(InNamespace):
    """Parameters of a question about one image."""

    as_of: MomentAsked | None = Field(None, description="What had been decided and found by then; default: now.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description="Decisions on the first page.")


class ExceptionsAsked(Paged):
    """Parameters of the list of exceptions."""

    as_of: MomentAsked | None = Field(None, description="What had been applied and used by then; default: now.")
    name: Text | None = Field(None, description="Only the versions of this one.")
    in_force: bool = Field(False, description="Only those that are known to have been in force then.")


class DecisionsAsked(Paged):
    """Filters and paging of the list of decisions."""

    as_of: MomentAsked | None = Field(None, description="What had been decided by then; default: now.")
    namespace: Text | None = Field(None, description="Namespace of the object.")
    name: Text | None = Field(None, description="Name of the object (a pod's).")
    verdict: Text | None = Field(None, description="Allow or Deny.")
    digest: Text | None = Field(None, description="sha256:… of one of its images.")
    image: Text | None = Field(None, description="Name of one of its images, with a tag or digest if those matter.")
    policy: Text | None = Field(None, description="A policy that judged it: name, or namespace/name.")
    exception: Text | None = Field(None, description="An EvidenceException that was used in it.")
    flag: Text | None = Field(None, description=f"How it came about: {', '.join(FLAGS)}.")
    since: MomentAsked | None = Field(None, description="Decided then or later.")
    until: MomentAsked | None = Field(None, description="Decided before then.")

    def where(self) -> DecisionFilter:
        """The filters, as the inventory takes them."""
        return DecisionFilter(
            namespace=self.namespace,
            name=self.name,
            verdict=self.verdict,
            digest=self.digest,
            image=self.image,
            policy=self.policy,
            exception=self.exception,
            flag=self.flag,
            since=self.since,
            until=self.until,
        )


class ConsistencyAsked(BaseModel):
    """Two sizes of the ledger."""

    model_config = ConfigDict(extra="forbid")

    old: int = Field(ge=1, lt=1 << 63, description="The earlier size.")
    new: int = Field(ge=1, lt=1 << 63, description="The later size.")


class Image(Shown):
    """An image of a decision."""

    kind: str
    container: str
    reference: str
    digest: str | None


class Decision(Shown):
    """One line of a list of decisions."""

    id: str
    decided_at: Moment
    recorded_at: Moment
    cluster: str
    verdict: str
    flags: list[str]
    reasons: list[str]
    message: str
    operation: str
    kind: str
    namespace: str
    name: str
    username: str
    images: list[Image]


class DecisionPage(Shown):
    """A page of decisions, newest first. `cursor` is null on the last one."""

    items: list[Decision]
    cursor: str | None


class DecisionRecord(Shown):
    """One decision whole. `leaf` is what was recorded, to the byte once it is made canonical (RFC 8785)."""

    id: str
    recorded_at: Moment
    leaf: dict[str, Any]


class Policy(Shown):
    """One version of one policy."""

    kind: str
    namespace: str
    name: str
    hash: str


class ExceptionRecord(Shown):
    """One version of an exception. `approval`: stamped (Assay checked who approved it), or claimed."""

    cluster: str
    name: str
    hash: str
    approval: str
    approver: str
    approved_at: Moment | None
    reason: str
    expires: Moment
    break_glass: bool
    applied_at: Moment | None
    state: Standing
    ended_at: Moment | None
    unwatched: bool
    uses: int
    first_used_at: Moment | None
    last_used_at: Moment | None


class ExceptionPage(Shown):
    """Exceptions, the last used (or, never used, the last applied) first. `cursor` is null on the last page."""

    items: list[ExceptionRecord]
    cursor: str | None


class PoliciesAsked(Paged):
    """Parameters of the list of versions of policies."""

    as_of: MomentAsked | None = Field(None, description="What had been applied by then; default: now.")
    name: Text | None = Field(None, description="Only of this one: name, or namespace/name.")
    cluster: Text | None = Field(None, description="Only of this cluster.")
    in_force: bool = Field(False, description="Only the versions that were in force then.")


class PolicyRecord(Shown):
    """One version of a policy that was applied. `manager` is the program that wrote it, and no person."""

    cluster: str
    kind: str
    namespace: str
    name: str
    uid: str
    generation: int
    hash: str
    manager: str
    problem: str
    applied_at: Moment
    recorded_at: Moment
    state: Standing
    ended_at: Moment | None
    unwatched: bool
    record: str


class PolicyPage(Shown):
    """Versions of policies, the latest applied first. `cursor` is null on the last page."""

    items: list[PolicyRecord]
    cursor: str | None


class Finding(Shown):
    """Something that verification found, dated by the first decision that rests on it."""

    policy: Policy
    decided_at: Moment
    recorded_at: Moment
    detail: dict[str, Any]


class ImageRecord(Shown):
    """All that is known of one digest."""

    digest: str
    references: list[str]
    repositories: list[str]
    first_decided_at: Moment
    last_decided_at: Moment
    admitted: int
    denied: int
    signatures: list[Finding]
    attestations: list[Finding]
    rejections: list[Finding]
    decisions: DecisionPage


class RunsAsked(InNamespace, Paged):
    """Filters and paging of the list of runs."""

    as_of: MomentAsked | None = Field(None, description="What ran then; default: now.")
    ever: bool = Field(False, description="Whatever ran at any time, not only then.")
    cluster: Text | None = Field(None, description="Only of this cluster.")
    digest: Text | None = Field(None, description="sha256:… of the image.")
    admission: Admission | None = Field(None, description="Only runs that came to be so.")
    signed: bool | None = Field(None, description="Only what somebody signed, or (false) what nobody did.")
    signer: Text | None = Field(None, description="Only what this one signed: a key's fingerprint, or a whole subject.")


class Signer(Shown):
    """Of whom something was verified: `signature`, and predicate types of attestations."""

    key: str
    issuer: str
    subject: str
    statements: list[str]


class Run(Shown):
    """One run of one container, whether Assay admitted it (Admitted, Drifted, Unadmitted, Unknown), and who signed."""

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
    started_at: Moment
    ended_at: Moment | None
    reason: str
    admission: str
    record: str
    signers: list[Signer]


class Gap(Shown):
    """When nobody watched a cluster."""

    cluster: str
    since: Moment
    until: Moment


class RunPage(Shown):
    """Runs, the latest started first.

    `gaps`: when nobody watched, the latest (`moreGaps`: there are others); where a namespace is asked about, of the
    clusters in which it was met.
    """

    items: list[Run]
    gaps: list[Gap]
    more_gaps: bool
    cursor: str | None


class InclusionProof(Shown):
    """That a record is an entry of the ledger: `hashes` (base64) lead from the entry to the checkpoint's root."""

    record: str
    entry: str
    index: int
    size: int
    hashes: list[str]
    checkpoint: str

    @classmethod
    def of(cls, proof: ledger.InclusionProof) -> Self:
        """As JSON has it."""
        return cls(
            record=proof.record,
            entry=proof.entry.decode(),
            index=proof.index,
            size=proof.size,
            hashes=_base64(proof.hashes),
            checkpoint=proof.checkpoint,
        )


class ConsistencyProof(Shown):
    """That the ledger of `old` entries is the beginning of that of `new`."""

    old: int
    new: int
    hashes: list[str]

    @classmethod
    def of(cls, old: int, new: int, hashes: Iterable[bytes]) -> Self:
        """As JSON has it."""
        return cls(old=old, new=new, hashes=_base64(hashes))


def _base64(hashes: Iterable[bytes]) -> list[str]:
    return [base64.b64encode(step).decode() for step in hashes]
