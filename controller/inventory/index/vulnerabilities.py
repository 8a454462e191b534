"""A scan as rows: what it found, and whether anything follows from its finding nothing."""

from __future__ import annotations

import json

from controller.documents.scans import rated
from controller.inventory.index.contents import Contents, storable, words
from controller.model.documents import Finding, Severity, VulnerabilityReport

RANKS = {severity: rank for rank, severity in enumerate(Severity)}
"""From the worst (0) to what is not known."""

MAX_ID = 500  # characters of an identifier of a vulnerability: PostgreSQL indexes no longer text


def contents(report: VulnerabilityReport) -> Contents:
    """The rows of a report, in its order."""
    findings = tuple(_finding(number, finding) for number, finding in enumerate(report.findings))
    names = tuple(
        {"number": number, "alias": alias}
        for number, finding in enumerate(report.findings)
        for alias in dict.fromkeys(_identifier(name).upper() for name in (finding.id, *finding.aliases))
    )
    scan = {"says_nothing": report.says_nothing, "database_updated": report.database_updated}
    return Contents(
        kind="vulnerabilities",
        format=report.format,
        name=words(report.targets),
        created_at=report.scanned_at,
        tool=words([_scanner(report)]),
        listed=len(report.findings),
        rows=(("scan", (scan,)), ("vulnerability_finding", findings), ("finding_alias", names)),
    )


def _scanner(report: VulnerabilityReport) -> str:
    """The scanner with its version, which a purl holds already."""
    name, version = report.scanner, report.scanner_version
    return name if not version or name.endswith(version) else f"{name} {version}".strip()


def _finding(number: int, finding: Finding) -> dict[str, object]:
    severity = rated(finding)
    return {
        "number": number,
        "vulnerability": _identifier(finding.id),
        "rank": RANKS[severity],
        "severity": str(severity),
        "score": finding.score,
        "package": storable(finding.package),
        "version": storable(finding.version) if finding.version is not None else None,
        "purl": storable(finding.purl),
        "fixed_versions": json.dumps([storable(version) for version in finding.fixed_versions], ensure_ascii=False),
        "fixable": finding.fixable,
        "fix_told": finding.fix_told,
        "aliases": json.dumps([_identifier(alias) for alias in finding.aliases], ensure_ascii=False),
    }


def _identifier(text: str) -> str:
    return storable(text)[:MAX_ID]
