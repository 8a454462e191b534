"""The normal forms of attested documents: one shape whatever the producer.

What a document does not say stays missing (an empty string, None or an empty tuple): nothing here was guessed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

Digests = tuple[tuple[str, str], ...]
"""Hashes by algorithm, as the document writes them, sorted. Nothing was compared with them."""


@dataclass(frozen=True, slots=True)
class Component:
    """One package of an SBOM. `purl` is canonical (package-url spec); empty where the document gives none.

    `version` is None where the document gives none: it stays missing, it is never guessed. `licenses` are as written;
    `supplier` is who supplies it, or else who made it; `cpe` is the first of its CPE names.
    """

    name: str
    version: str | None
    purl: str = ""
    licenses: tuple[str, ...] = ()
    supplier: str = ""
    cpe: str = ""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Sbom:
    """A software bill of materials. `format` is `SPDX` or `CycloneDX`, with its `spec_version`.

    `authors` are the people and organisations that it names as its own, `tools` what it says that it was made with.
    `relationships` is how many relations between packages it states (contains, depends on).
    """

    format: str
    spec_version: str
    name: str
    created: datetime | None
    components: tuple[Component, ...]
    tools: tuple[str, ...] = ()
    authors: tuple[str, ...] = ()
    relationships: int = 0


@dataclass(frozen=True, slots=True)
class Resource:
    """An in-toto ResourceDescriptor: something that the document is about, by URI, name or digest."""

    uri: str = ""
    name: str = ""
    digests: Digests = ()
    media_type: str = ""
    download_location: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """What was built. `repository` is the URI as written, without `git+` and user; `ref` is a full Git reference.

    `commit` is the object name that the provenance binds to that repository.
    """

    repository: str
    ref: str = ""
    commit: str = ""


@dataclass(frozen=True, slots=True)
class Provenance:
    """SLSA provenance of any version. `source` is None where the build type does not say where to find it.

    `parameters` is the JSON value that the build's user controlled (v1 `externalParameters`); `materials` are the
    dependencies that the builder resolved. `slsa_level` is the build level that the document alone proves (0 or 1).
    """

    spec_version: str
    builder_id: str
    build_type: str
    source: Source | None
    parameters: Any
    materials: tuple[Resource, ...]
    invocation_id: str
    started_at: datetime | None
    finished_at: datetime | None
    slsa_level: int


class Severity(StrEnum):
    """How bad a scanner calls a vulnerability, from worst to least; UNKNOWN where it does not say."""

    CRITICAL = "CRITICAL"
    HIGH = "HIGH"
    MEDIUM = "MEDIUM"
    LOW = "LOW"
    NEGLIGIBLE = "NEGLIGIBLE"
    UNKNOWN = "UNKNOWN"


@dataclass(frozen=True, slots=True)
class Finding:
    """One vulnerability in one package. `score` is the highest CVSS base score (0 to 10) that the report gives.

    `fixed_versions` are those that the report names; empty means that it names none, not that there is none. Only where
    `fix_told` does the report say by it that there is no fix: the form of some has no place for one.
    """

    id: str
    severity: Severity
    package: str = ""
    version: str | None = None
    purl: str = ""
    fixed_versions: tuple[str, ...] = ()
    score: float | None = None
    aliases: tuple[str, ...] = ()
    fix_told: bool = True

    @property
    def fixable(self) -> bool | None:
        """Whether a version with a fix is known; None where the report cannot tell."""
        return True if self.fixed_versions else False if self.fix_told else None


@dataclass(frozen=True, slots=True)
class VulnerabilityReport:
    """What a scanner found. `format` is `Trivy`, `Grype`, `SARIF` or `in-toto`.

    `targets` are what the scanner says it looked at: a report that names none and finds nothing says nothing
    (`says_nothing`).
    """

    format: str
    scanner: str
    scanner_version: str
    database_updated: datetime | None
    scanned_at: datetime | None
    targets: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def says_nothing(self) -> bool:
        """Whether nothing follows from it: a scanner that understood nothing of the image finds nothing either.

        By the specifications of in-toto's list and of SARIF, which have no targets, an empty list is the answer.
        """
        return not self.findings and not self.targets and self.format not in {"in-toto", "SARIF"}


class VexStatus(StrEnum):
    """What a VEX statement says of a vulnerability in a product."""

    NOT_AFFECTED = "not_affected"
    AFFECTED = "affected"
    FIXED = "fixed"
    UNDER_INVESTIGATION = "under_investigation"


@dataclass(frozen=True, slots=True)
class VexProduct:
    """A product, or a component of one, by identifier. `purl` is canonical; empty where there is none.

    Without `subcomponents` a statement is about the whole product. One without any identifier is the subject of the
    attestation that the document stands in.
    """

    id: str
    purl: str = ""
    digests: Digests = ()
    subcomponents: tuple[VexProduct, ...] = ()


@dataclass(frozen=True, slots=True)
class VexStatement:
    """One assertion: a vulnerability, the products that it is about, and their status at a time.

    Without products it is about the subject of the attestation that it stands in.
    """

    vulnerability: str
    aliases: tuple[str, ...]
    products: tuple[VexProduct, ...]
    status: VexStatus
    justification: str
    impact: str
    action: str
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Vex:
    """An OpenVEX document. Of two statements about the same, the later one counts.

    `version` is the document's own number: of two with one `id`, the higher replaces the other.
    """

    id: str
    author: str
    timestamp: datetime | None
    statements: tuple[VexStatement, ...]
    version: int = 0


@dataclass(frozen=True, slots=True)
class VerificationSummary:
    """A SLSA VSA: what someone else verified (`passed`), by which policy, to which levels."""

    verifier: str
    verified_at: datetime | None
    resource_uri: str
    policy: Resource
    inputs: tuple[Resource, ...]
    passed: bool
    levels: tuple[str, ...]
    dependency_levels: tuple[tuple[str, int], ...]
    slsa_version: str


@dataclass(frozen=True, slots=True)
class Attribute:
    """One SCAI assertion: an attribute of `target` (the subject where None), backed by `evidence` if any."""

    name: str
    target: Resource | None
    conditions: Mapping[str, Any]
    evidence: Resource | None


@dataclass(frozen=True, slots=True)
class AttributeReport:
    """A SCAI attribute report."""

    attributes: tuple[Attribute, ...]
    producer: Resource | None


@dataclass(frozen=True, slots=True)
class Release:
    """That the subject belongs to a release. `purl` is canonical and has a version.

    `repository` and `tag` are what GitHub adds for its immutable releases.
    """

    purl: str
    package_id: str
    repository: str
    tag: str


class Outcome(StrEnum):
    """How a test run ended."""

    PASSED = "PASSED"
    WARNED = "WARNED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class SuiteResult:
    """The outcome of one run of a test suite, with the names of its tests."""

    outcome: Outcome
    configuration: tuple[Resource, ...]
    url: str
    passed: tuple[str, ...]
    warned: tuple[str, ...]
    failed: tuple[str, ...]


Document = Sbom | Provenance | VulnerabilityReport | Vex | VerificationSummary | AttributeReport | Release | SuiteResult
"""A document in its normal form."""
