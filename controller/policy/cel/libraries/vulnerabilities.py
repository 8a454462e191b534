"""`vulnerabilities`: what verified scans found, by a native look-up that knows what a scan cannot tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from typing import Any

from controller.documents import scans
from controller.documents.scans import Filter
from controller.documents.unquoted import quoting
from controller.errors import Unacceptable
from controller.model.documents import Finding, VulnerabilityReport
from controller.policy.cel.libraries.provenances import present
from controller.policy.cel.meter import Abort, Meter
from controller.policy.cel.overloads import UNKNOWN, ConstantError, Library
from controller.policy.cel.schema import DYN, FINDING, SCAN, STRING, VULNERABILITIES, list_of, map_of
from controller.policy.cel.values import Computed, register_class, register_record

LIBRARY = Library("vulnerabilities", "Functions of `vulnerabilities`, over the findings of all verified scans.")

_TEXT = (
    "The findings of all scans that are at least so severe, or of which all that the map names is true: `severity`, "
    "`unknown` (whether those of unknown severity count), `fixable`, `ids` (with aliases), `packages` (package URLs)."
)
_COST = "1 step for each 16 findings, and for each that is found"


class Vulnerabilities(list[VulnerabilityReport]):
    """The verified scans."""


class FindingValue(dict[str, Any]):
    """A finding that a rule reads; `finding` is itself."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(
            present(
                id=finding.id,
                package=finding.package,
                version=finding.version,
                purl=finding.purl,
                fixable=finding.fixable,
                score=finding.score,
            )
        )
        self |= {
            "severity": str(scans.rated(finding)),
            "fixedVersions": finding.fixed_versions,
            "aliases": finding.aliases,
        }
        self.finding = finding


class ScanValue(Computed):
    """A scan that a rule reads; its findings are an Error where it says nothing."""

    def __init__(self, report: VulnerabilityReport) -> None:
        plain = present(
            format=report.format,
            scanner=report.scanner,
            scannerVersion=report.scanner_version,
            databaseUpdated=report.database_updated,
            scannedAt=report.scanned_at,
        )
        super().__init__(
            {name: partial(_same, value) for name, value in plain.items()}
            | {"targets": lambda: report.targets, "findings": lambda: _findings([report])}
        )
        self.report = report


register_class(Vulnerabilities, "vulnerabilities", base="list")
register_class(FindingValue, "finding", base="map")
register_class(ScanValue, "scan", base="map")
register_record(Finding, FindingValue)
register_record(VulnerabilityReport, ScanValue)


def _same(value: Any) -> Any:
    return value


def _findings(reports: Iterable[VulnerabilityReport]) -> list[Finding]:
    try:
        return scans.findings(reports)
    except Unacceptable as exc:
        raise Abort(exc) from exc


@lru_cache(maxsize=256)
def _severity(word: str) -> Filter:
    return Filter.parse(word)


def _filter(asked: Any) -> Filter:
    """Raises `ValueError` with a sentence."""
    if isinstance(asked, str):
        return _severity(asked)
    if not isinstance(asked, Mapping):
        raise ValueError("takes a severity, or a map with strings as keys")  # noqa: TRY004 - told as the others are
    return Filter.parse(asked)


def _check(_receiver: Any, asked: Any) -> None:
    if asked is UNKNOWN:
        return
    try:
        if isinstance(asked, Mapping) and any(value is UNKNOWN for value in asked.values()):
            for key, value in asked.items():
                scans.check_entry(key, *(() if value is UNKNOWN else (value,)))
        else:
            _filter(asked)
    except ValueError as exc:
        raise ConstantError(1, "ArgumentInvalid", f"matching: {quoting(exc)}") from exc


def _matching(meter: Meter, reports: Iterable[VulnerabilityReport], asked: Any) -> list[Any]:
    try:
        wanted = _filter(asked)
    except ValueError as exc:
        raise Abort(Unacceptable("ArgumentInvalid", f"vulnerabilities.matching: {exc}")) from exc
    reports = tuple(reports)
    meter.charge(sum(len(report.findings) for report in reports))
    try:
        found = scans.matching(reports, wanted)
    except Unacceptable as exc:
        raise Abort(exc) from exc
    meter.build(len(found))
    return list(found)


@LIBRARY.method("matching", VULNERABILITIES, STRING, returns=list_of(FINDING), cost=_COST, check=_check, text=_TEXT)
@LIBRARY.method(
    "matching",
    VULNERABILITIES,
    map_of(DYN),
    returns=list_of(FINDING),
    cost=_COST,
    check=_check,
    counts=True,
    text=_TEXT,
)
def matching(meter: Meter, reports: Vulnerabilities, asked: Any) -> list[Any]:
    """The findings of all scans that are at least so severe, or of which all that the map names is true."""
    return _matching(meter, reports, asked)


@LIBRARY.method("matching", SCAN, STRING, returns=list_of(FINDING), cost=_COST, check=_check)
@LIBRARY.method("matching", SCAN, map_of(DYN), returns=list_of(FINDING), cost=_COST, check=_check, counts=True)
def matching_one(meter: Meter, report: ScanValue, asked: Any) -> list[Any]:
    """The same of one scan."""
    return _matching(meter, [report.report], asked)
