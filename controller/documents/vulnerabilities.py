"""Vulnerability scans: cosign's and in-toto's predicates, and the scanners' own reports in them or in their place.

Both predicates say who scanned and when. What was found is in cosign's whatever the scanner wrote (`scanner.result`),
in in-toto's a list of its own. Neither has a mark of its version, and `actions/attest` signs a scanner's report as it
is under either type, so the form of what is there decides. A report in no known form is unsupported, never empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from controller.documents import grype, sarif, trivy
from controller.documents.reading import (
    check_count,
    child,
    objects,
    required,
    required_child,
    required_objects,
    text,
    time_of,
)
from controller.documents.severity import of_score, worst
from controller.documents.unwrap import malformed, unwrap
from controller.errors import Unacceptable
from controller.model.documents import Finding, Severity, VulnerabilityReport
from controller.settings import DocumentSettings

Node = Mapping[str, Any]


def parse(document: Node, limits: DocumentSettings) -> VulnerabilityReport:
    """Read a scan. Raises `Unacceptable` (`DocumentMalformed`, `DocumentUnsupported`) and `LimitExceeded`."""
    if "scanner" not in document:
        return _report(document, limits)
    scanner = required_child(document, "scanner", "the document")
    database = child(scanner, "db", "scanner")
    metadata = child(document, "metadata", "the document")
    result = scanner.get("result")
    if result is None:
        raise malformed("scanner.result is missing")
    if isinstance(result, list):
        report = _in_toto(scanner, limits)
    else:
        report = _report(unwrap(result, limits) if isinstance(result, str) else result, limits)
    return dataclasses.replace(
        report,
        scanner=text(scanner, "uri", "scanner") or report.scanner,
        scanner_version=text(scanner, "version", "scanner") or report.scanner_version,
        database_updated=time_of(database, "lastUpdate", "scanner.db") or report.database_updated,
        scanned_at=time_of(metadata, "scanFinishedOn", "metadata") or report.scanned_at,
    )


def _report(report: Any, limits: DocumentSettings) -> VulnerabilityReport:
    """A scanner's own report, told by the fields that its format demands."""
    if isinstance(report, Mapping):
        if "SchemaVersion" in report:
            return trivy.parse(report, limits)
        if "runs" in report:
            return sarif.parse(report, limits)
        if "matches" in report:
            return grype.parse(report, limits)
    raise Unacceptable("DocumentUnsupported", "the scan is in no form that is read (Trivy, Grype, SARIF, in-toto)")


def _in_toto(scanner: Node, limits: DocumentSettings) -> VulnerabilityReport:
    results = required_objects(scanner, "result", "scanner")
    check_count(len(results), limits.document_max_components)
    return VulnerabilityReport(
        format="in-toto",
        scanner="",
        scanner_version="",
        database_updated=None,
        scanned_at=None,
        targets=(),
        findings=tuple(_finding(result, f"scanner.result[{i}]") for i, result in enumerate(results)),
    )


def _finding(result: Node, where: str) -> Finding:
    """One result of in-toto's list; version 0.1 describes a `vulnerability` object around it that its example lacks."""
    described = child(result, "vulnerability", where) or result
    severities = described.get("severity")
    if isinstance(severities, Mapping):
        severities = [severities]
    words, scores = [], []
    for rating in objects({"severity": severities}, "severity", where):
        value = text(rating, "score", f"{where}.severity")
        words.append(value)
        scores.append(_score(value))
    score = max((score for score in scores if score is not None), default=None)
    severity = worst(words)
    if severity is not Severity.UNKNOWN and score is not None:
        severity = worst((severity, of_score(score)))  # a word is not believed against a score
    return Finding(
        id=required(described, "id", where),
        severity=severity,
        score=score,
        fix_told=False,
    )


def _score(value: str) -> float | None:
    """A CVSS base score; None for a word or a vector, which the same field holds for other methods."""
    try:
        score = float(value)
    except ValueError:
        return None
    return score if 0 <= score <= 10 else None
