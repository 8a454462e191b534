"""What an estate is made of: plain facts, which `leaves` writes down and `oracle` answers from.

Nothing here knows of a database, nor of the program under test. A fact has the time when it was true and `recorded_at`,
when the inventory learns it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

CONTAINER, INIT = "container", "initContainer"


@dataclass(frozen=True, slots=True)
class Package:
    """A package of an ecosystem: `path` is its package URL without a version, `qualifiers` as they follow one."""

    number: int
    type: str
    path: str
    name: str
    qualifiers: str
    license: str
    supplier: str


@dataclass(frozen=True, slots=True)
class Component:
    """One package in one version, as an SBOM says it. What a document leaves out is missing here too."""

    name: str
    version: str | None
    purl: str
    license: str
    supplier: str
    cpe: str


@dataclass(frozen=True, slots=True)
class Signer:
    """A key by its fingerprint, or an identity."""

    key: str = ""
    issuer: str = ""
    subject: str = ""

    @property
    def who(self) -> tuple[str, str, str]:
        """Key, issuer and subject."""
        return self.key, self.issuer, self.subject


@dataclass(frozen=True, slots=True)
class Base:
    """One build of a base image, and the packages in it (numbers of `Catalogue.component`)."""

    name: str
    distribution: str
    digest: str
    components: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Evidence:
    """One artefact beside an image, from `since` on.

    `code` is why it never counts (empty: it verifies); `document` makes its content, each time anew, since all of an
    estate's would not fit into memory. `says` is what a document says of itself (`Sbom`, `Report`, …). `artifact` is
    its digest, known once it was written down.
    """

    kind: str  # signature, sbom, provenance, vulnerabilities, vex
    predicate_type: str
    signer: Signer
    log_index: int | None
    since: datetime
    code: str
    document: Callable[[], bytes]
    says: object = None
    artifact: str = ""

    @property
    def statement(self) -> str:
        """What of it was verified, as the inventory says it."""
        return "signature" if self.kind == "signature" else self.predicate_type


@dataclass(frozen=True, slots=True)
class Sbom:
    """What an SBOM says of itself, and its components."""

    format: str
    spec_version: str
    name: str
    created: datetime
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True)
class Vulnerability:
    """One finding of a report."""

    id: str
    severity: str
    score: float
    purl: str
    package: str
    version: str
    fixed: str


@dataclass(frozen=True, slots=True)
class Report:
    """What a scanner said."""

    scanned_at: datetime
    findings: tuple[Vulnerability, ...]


@dataclass(frozen=True, slots=True)
class Vex:
    """That these vulnerabilities do not affect an image."""

    ids: tuple[str, ...]
    status: str
    justification: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who built an image, from what: `base_name` as people write it, `base_uri` as the document does."""

    builder: str
    source: str
    commit: str
    base_name: str
    base_uri: str
    base_digest: str


@dataclass(frozen=True, slots=True)
class Claim:
    """What an image says of its base itself: of which manifest, by an `annotation` or a `label`. One may be empty."""

    manifest: str
    source: str
    name: str
    digest: str


@dataclass(slots=True, eq=False)
class Image:
    """One image that was ever built. `children` are the manifests of an index."""

    number: int
    repository: str
    tag: str
    digest: str
    children: tuple[str, ...]
    built_at: datetime
    base: Base
    sbom_state: str
    signing: str
    claims: tuple[Claim, ...] = ()
    evidence: list[Evidence] = field(default_factory=list)

    @property
    def reference(self) -> str:
        """As pods name it once it is pinned."""
        return f"{self.repository}:{self.tag}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a policy, in force `since` then until the next."""

    kind: str
    namespace: str
    name: str
    hash: str
    content: bytes
    actions: tuple[str, ...]
    requires: str  # signature, sbom, vulnerabilities, provenance
    fails_open: bool
    since: datetime

    @property
    def key(self) -> tuple[str, str, str]:
        """The policy, whatever its version."""
        return self.kind, self.namespace, self.name

    @property
    def reads_configurations(self) -> bool:
        """Whether its rules look at what images' configurations say."""
        return self.requires in {"sbom", "provenance"}


@dataclass(frozen=True, slots=True)
class Exemption:
    """One version of an EvidenceException: for the images of a repository, from one policy, until `expires`."""

    name: str
    hash: str
    content: bytes
    approver: str
    claimed: bool
    approved_at: datetime
    reason: str
    expires: datetime
    break_glass: bool
    policy: str
    repository: str
    clusters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one policy found of one image."""

    image: int  # the place in the decision's images
    policy: Policy
    outcome: str
    otherwise: str
    error: str
    code: str  # the reason's, empty if Satisfied
    counted: tuple[Evidence, ...]
    rejected: tuple[Evidence, ...]
    exemptions: tuple[Exemption, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """One image of a decision: the container, what was written, and what it was resolved to (None: it was not)."""

    kind: str
    container: str
    reference: str
    image: Image | None


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What was decided about some images at a time: the same for every pod that asks the same."""

    images: tuple[Asked, ...]
    verdicts: tuple[Verdict, ...]
    allowed: bool
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a decision is about: a pod, or a workload's template."""

    kind: str
    cluster: str
    namespace: str
    name: str
    uid: str
    service_account: str
    node: str = ""
    owner: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """One decision."""

    id: str
    decided_at: datetime
    recorded_at: datetime
    subject: Subject
    operation: str
    user: str
    judgement: Judgement


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """One run of one container, with its end, if it has ended."""

    id: str
    subject: Subject
    kind: str
    container: str
    run: str
    reference: str
    image_id: str
    repository: str
    digest: str | None
    started_at: datetime
    recorded_at: datetime
    end_id: str = ""
    ended_at: datetime | None = None
    end_recorded_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """When nobody watched a cluster."""

    id: str
    cluster: str
    since: datetime
    until: datetime
    recorded_at: datetime
