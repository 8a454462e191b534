"""Trivy's JSON report, schema version 2 (https://trivy.dev/latest/docs/configuration/reporting/#json)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.documents import severity
from controller.documents.reading import check_count, child, number, objects, purl, required, text, time_of
from controller.errors import Unacceptable
from controller.model.documents import Finding, VulnerabilityReport
from controller.settings import DocumentSettings

Node = Mapping[str, Any]

_SCORES = ("V40Score", "V3Score", "V2Score")
_OTHER_SCANS = frozenset({"config", "secret", "license", "license-file"})
"""Classes of results of Trivy's other scanners: they say nothing of vulnerabilities."""


def parse(report: Node, limits: DocumentSettings) -> VulnerabilityReport:
    """Read a report. A result without vulnerabilities is a target in which none was found, if they were looked for.

    Raises `Unacceptable` (`DocumentMalformed`, `DocumentUnsupported`) and `LimitExceeded`.
    """
    if number(report, "SchemaVersion", "the report") != 2:
        raise Unacceptable("DocumentUnsupported", "only schema version 2 of Trivy's report is read")
    findings: list[Finding] = []
    targets: list[str] = []
    for i, result in enumerate(objects(report, "Results", "the report")):
        where = f"Results[{i}]"
        if text(result, "Class", where) not in _OTHER_SCANS:
            targets.append(text(result, "Target", where))
        listed = objects(result, "Vulnerabilities", where)
        check_count(len(findings) + len(listed), limits.document_max_components)
        findings.extend(_finding(found, f"{where}.Vulnerabilities[{j}]") for j, found in enumerate(listed))
    return VulnerabilityReport(
        format="Trivy",
        scanner="Trivy",
        scanner_version=text(child(report, "Trivy", "the report"), "Version", "Trivy"),
        database_updated=None,
        scanned_at=time_of(report, "CreatedAt", "the report"),
        targets=tuple(targets),
        findings=tuple(findings),
    )


def _finding(found: Node, where: str) -> Finding:
    fixed = text(found, "FixedVersion", where)
    return Finding(
        id=required(found, "VulnerabilityID", where),
        severity=severity.read(text(found, "Severity", where), f"{where}.Severity"),
        package=text(found, "PkgName", where),
        version=text(found, "InstalledVersion", where) or None,
        purl=purl(text(child(found, "PkgIdentifier", where), "PURL", where), where),
        fixed_versions=tuple(version.strip() for version in fixed.split(",") if version.strip()),
        score=_score(child(found, "CVSS", where), f"{where}.CVSS"),
    )


def _score(by_source: Node, where: str) -> float | None:
    """The highest score that any source gives, of whichever version of CVSS."""
    scores = [number(child(by_source, source, where), name, where) for source in by_source for name in _SCORES]
    return max((score for score in scores if score is not None), default=None)
