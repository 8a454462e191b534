"""The JSON of what scanners found."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from controller.inventory.asking.cursors import MAX_CURSOR
from controller.inventory.asking.documents.findings import FindingFilter
from controller.model.documents import Severity
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Paged, Shown, Text
from controller.reading.wire.sboms import MAX_DAYS


class FindingsAsked(Paged, InNamespace):
    """Filters and paging of the list of findings."""

    severity: Severity | None = Field(None, description="At least so bad.")
    vulnerability: Text | None = Field(None, description="An identifier (CVE-…) or an alias.")
    digest: Text | None = Field(None, description="sha256:… of the image.")
    fixable: bool | None = Field(None, description="Whether the report names a version with a fix.")
    cleared: bool | None = Field(None, description="Whether VEX clears it.")
    min_age_days: int | None = Field(None, ge=0, le=MAX_DAYS, description="Known for so many days at the least.")
    cluster: Text | None = Field(None, description="Only of this cluster.")
    as_of: MomentAsked | None = Field(None, description="What ran then; default: now.")
    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="The last page's cursor.")

    def where(self) -> FindingFilter:
        """The filters, as the inventory takes them."""
        return FindingFilter(
            severity=self.severity,
            vulnerability=self.vulnerability,
            digest=self.digest,
            fixable=self.fixable,
            cleared=self.cleared,
            min_age=timedelta(days=self.min_age_days) if self.min_age_days is not None else None,
            namespace=self.namespace,
            cluster=self.cluster,
        )


class Statement(Shown):
    """A VEX statement that counts for a finding, and the blob of its document."""

    status: str
    justification: str
    impact: str
    author: str
    stated_at: Moment | None
    document: str


class Finding(Shown):
    """One vulnerability in one package of one running image, and what clears it."""

    vulnerability: str
    severity: Severity
    score: float | None
    package: str
    version: str | None
    purl: str
    fixed_versions: list[str]
    fixable: bool | None
    aliases: list[str]
    digest: str
    repositories: list[str]
    runs: int
    namespaces: list[str]
    clusters: list[str]
    first_seen_at: Moment
    reported_at: Moment
    report: str
    scanner: str
    cleared: bool
    statements: list[Statement]


class FindingPage(Shown):
    """Findings, the worst first. `unreported`: running images without a report that says anything (first page only)."""

    items: list[Finding]
    images: int
    unreported: int | None
    cursor: str | None
