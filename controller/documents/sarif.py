"""SARIF 2.1.0 as vulnerability scanners write it (https://docs.oasis-open.org/sarif/sarif/v2.1.0/).

SARIF is made for source code: it has no package and no severity. Scanners put them into properties (Grype and Docker
Scout: `purls`, all that follow GitHub: `security-severity`) or, as Trivy, into lines of the message. A `level` says how
to show a result, not how bad it is; where nothing else is said the severity stays UNKNOWN.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controller.documents import severity
from controller.documents.reading import (
    check_count,
    child,
    objects,
    purl,
    required,
    required_child,
    required_objects,
    text,
    texts,
)
from controller.documents.unwrap import malformed
from controller.errors import Unacceptable
from controller.model.documents import Finding, Severity, VulnerabilityReport
from controller.settings import DocumentSettings

Node = Mapping[str, Any]

_ID = re.compile(r"CVE-\d{4}-\d{4,}|GHSA(?:-[0-9a-z]{4}){3}")  # Grype's rules are called `CVE-2021-3711-openssl`
_NO_FINDING = frozenset({"pass", "notApplicable"})  # 3.27.9 kind: what was checked and is as it should be


@dataclass(frozen=True, slots=True)
class _Rule:
    """What a rule says of all its results. Read once: a thousand results may share a rule with a thousand packages."""

    id: str
    purls: tuple[str, ...] = ()
    severity: Severity = Severity.UNKNOWN
    score: float | None = None
    affected: str = ""
    fixed: str = ""


@dataclass(frozen=True, slots=True)
class _Rules:
    """A run's rules, by place (3.52.5 `ruleIndex`) and by id."""

    listed: tuple[_Rule, ...]
    by_id: Mapping[str, _Rule]

    def of(self, result: Node, where: str) -> tuple[str, _Rule]:
        """The id and the rule of a result: 3.27.5 to 3.27.7 give three ways to name it."""
        reference = child(result, "rule", where)
        name = text(result, "ruleId", where) or text(reference, "id", where)
        index = result.get("ruleIndex", reference.get("index"))
        if name in self.by_id:
            return name, self.by_id[name]
        if isinstance(index, int) and 0 <= index < len(self.listed):
            return name or self.listed[index].id, self.listed[index]
        if not name:
            raise malformed(f"{where} has no rule")
        return name, _Rule(name)


def parse(report: Node, limits: DocumentSettings) -> VulnerabilityReport:
    """Read a log. A run without `results` did not scan (3.14.23) and is malformed, as is one that says that it failed
    (3.20.14); one with an empty list found none.

    Raises `Unacceptable` (`DocumentMalformed`, `DocumentUnsupported`) and `LimitExceeded`.
    """
    if text(report, "version", "the log") != "2.1.0":
        raise Unacceptable("DocumentUnsupported", "only SARIF 2.1.0 is read")
    runs = required_objects(report, "runs", "the log")
    if not runs:
        raise malformed("the log has no run")
    findings: list[Finding] = []
    drivers: list[Node] = []
    for i, run in enumerate(runs):
        where = f"runs[{i}]"
        drivers.append(required_child(required_child(run, "tool", where), "driver", where))
        if any(i.get("executionSuccessful") is False for i in objects(run, "invocations", where)):
            raise malformed(f"{where} is of a scan that failed, so what it did not find may be there")
        for finding in _findings(run, drivers[-1], where):
            findings.append(finding)
            check_count(len(findings), limits.document_max_components)
    return VulnerabilityReport(
        format="SARIF",
        scanner=text(drivers[0], "name", "driver"),
        scanner_version=text(drivers[0], "version", "driver") or text(drivers[0], "semanticVersion", "driver"),
        database_updated=None,
        scanned_at=None,
        targets=tuple(filter(None, (_target(run, f"runs[{i}]") for i, run in enumerate(runs)))),
        findings=tuple(findings),
    )


def _target(run: Node, where: str) -> str:
    return text(child(run, "properties", where), "imageName", where)  # Trivy's


def _findings(run: Node, driver: Node, where: str) -> Iterator[Finding]:
    nodes = objects(driver, "rules", f"{where}.driver")
    listed = tuple(_rule(rule, f"{where}.rules[{i}]") for i, rule in enumerate(nodes))
    rules = _Rules(listed, {rule.id: rule for rule in listed})
    for i, result in enumerate(required_objects(run, "results", where)):
        place = f"{where}.results[{i}]"
        if text(result, "kind", place) not in _NO_FINDING and text(result, "baselineState", place) != "absent":
            yield from _of_result(result, rules, place)


def _rule(rule: Node, where: str) -> _Rule:
    properties = child(rule, "properties", where)
    score = _score(properties, where)
    words = [*texts(properties, "tags", where), text(properties, "cvssV3_severity", where)]
    if score is not None:
        words.append(severity.of_score(score))
    return _Rule(
        id=required(rule, "id", where),
        purls=tuple(dict.fromkeys(purl(package, where) for package in texts(properties, "purls", where))),
        severity=severity.worst(words),
        score=score,
        affected=text(properties, "affected_version", where),
        fixed=text(properties, "fixed_version", where),
    )


def _of_result(result: Node, rules: _Rules, where: str) -> Iterator[Finding]:
    """A result once for each package that its rule names."""
    name, rule = rules.of(result, where)
    said = _lines(text(child(result, "message", where), "text", where))
    known = _ID.search(name)
    fixed = rule.fixed or said.get("Fixed Version", "")
    for package in rule.purls or ("",):
        yield Finding(
            id=known[0] if known else name,
            severity=rule.severity,
            package=said.get("Package", ""),
            version=rule.affected or said.get("Installed Version") or None,
            purl=package,
            fixed_versions=tuple(version.strip() for version in fixed.split(",") if version.strip()),
            score=rule.score,
            fix_told="Fixed Version" in said,
        )


def _lines(message: str) -> dict[str, str]:
    """The `Name: value` lines that a Trivy message is made of."""
    pairs = (line.partition(":") for line in message.splitlines())
    return {name: value.strip() for name, separator, value in pairs if separator}


def _score(properties: Node, where: str) -> float | None:
    """GitHub's `security-severity`: a CVSS score, as a string or a number."""
    written = properties.get("security-severity")
    if written is None:
        return None
    try:
        score = float(written) if isinstance(written, str | int | float) else -1.0
    except (ValueError, OverflowError):
        score = -1.0
    if not 0 <= score <= severity.MAX_SCORE:
        raise malformed(f"{where} has a security-severity that is no score")
    return score
