"""Grype's JSON report (https://github.com/anchore/grype, `grype -o json`). It has no version of its own schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.documents import severity
from controller.documents.reading import (
    check_count,
    child,
    number,
    objects,
    purl,
    required,
    required_child,
    required_objects,
    text,
    texts,
    time_of,
)
from controller.model.documents import Finding, VulnerabilityReport
from controller.settings import DocumentSettings

Node = Mapping[str, Any]

_NO_FIX = frozenset({"not-fixed", "wont-fix"})  # `fix.state` where it is known that there is none; else it is unknown


def parse(report: Node, limits: DocumentSettings) -> VulnerabilityReport:
    """Read a report. Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`."""
    matches = required_objects(report, "matches", "the report")
    check_count(len(matches), limits.document_max_components)
    descriptor = child(report, "descriptor", "the report")
    database = child(descriptor, "db", "descriptor")
    status = child(database, "status", "descriptor.db")  # where Grype 0.88 moved it to
    return VulnerabilityReport(
        format="Grype",
        scanner=text(descriptor, "name", "descriptor"),
        scanner_version=text(descriptor, "version", "descriptor"),
        database_updated=time_of(status, "built", "descriptor.db") or time_of(database, "built", "descriptor.db"),
        scanned_at=time_of(descriptor, "timestamp", "descriptor"),
        targets=tuple(_targets(child(report, "source", "the report"))),
        findings=tuple(_finding(match, f"matches[{i}]") for i, match in enumerate(matches)),
    )


def _targets(source: Node) -> Iterator[str]:
    """What was scanned: an image is described by an object, a file or directory by its path."""
    target = source.get("target")
    name = (
        text(target, "userInput", "source.target") if isinstance(target, Mapping) else text(source, "target", "source")
    )
    if name:
        yield name


def _finding(match: Node, where: str) -> Finding:
    vulnerability = required_child(match, "vulnerability", where)
    artifact = required_child(match, "artifact", where)
    related = objects(match, "relatedVulnerabilities", where)
    fix = child(vulnerability, "fix", where)
    scores = [score for found in (vulnerability, *related) for score in _scores(found, where)]
    return Finding(
        id=required(vulnerability, "id", where),
        severity=severity.read(text(vulnerability, "severity", where), f"{where}.vulnerability.severity"),
        package=text(artifact, "name", where),
        version=text(artifact, "version", where) or None,
        purl=purl(text(artifact, "purl", where), where),
        fixed_versions=texts(fix, "versions", f"{where}.fix"),
        score=max(scores, default=None),
        aliases=tuple(dict.fromkeys(required(found, "id", where) for found in related)),
        fix_told=text(fix, "state", f"{where}.fix") in _NO_FIX,
    )


def _scores(vulnerability: Node, where: str) -> Iterator[float]:
    for rating in objects(vulnerability, "cvss", where):
        score = number(child(rating, "metrics", where), "baseScore", where)
        if score is not None:
            yield score
