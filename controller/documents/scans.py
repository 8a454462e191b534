"""What rules ask of vulnerability scans: the findings that are bad enough, fixable, or about something.

What a scan cannot tell counts as if it were so: a finding without a severity is as bad as is asked for, one whose
report has no place for fixes may have one. A rule that lets the first pass says so (`'unknown': false`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.documents import purls, severity
from controller.documents.packages import Query
from controller.documents.purls import PurlKey
from controller.documents.unquoted import Unusable
from controller.errors import Unacceptable
from controller.model.documents import Finding, Severity, VulnerabilityReport

MAX_NAMED = 1000  # identifiers or packages that one filter may name

_ORDER = {each: rank for rank, each in enumerate(Severity)}
_ASKED = tuple(each for each in Severity if each is not Severity.UNKNOWN)


def rated(finding: Finding) -> Severity:
    """Its severity; where the report gives a score in the place of one, that score's; else UNKNOWN."""
    if finding.severity is Severity.UNKNOWN and finding.score is not None:
        return severity.of_score(finding.score)
    return finding.severity


@dataclass(frozen=True, slots=True)
class Filter:
    """Which findings are asked for: those for which all that is given here is true, or cannot be told.

    `least` is the mildest severity that counts; `unknown` whether those count of which it is not known; `ids` are
    identifiers or aliases in lower case; `packages` and `names` are those of packages of any version.
    """

    least: Severity | None = None
    unknown: bool = True
    fixable: bool | None = None
    ids: frozenset[str] = frozenset()
    packages: frozenset[PurlKey] = frozenset()
    names: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, asked: str | Mapping[str, Any]) -> Filter:
        """Read what a rule asks: a severity (`'CRITICAL'`: at least so bad), or a map of what is named here.

        `severity`, `unknown` (a boolean, true by default), `fixable` (a boolean), `ids` and `packages` (lists of
        strings, the latter package URLs without version). Raises `ValueError` with a sentence that says what is wrong.
        """
        values = {"severity": asked} if isinstance(asked, str) else asked
        if not values:
            raise ValueError(f"names nothing to look for; it may name {', '.join(_READ)}")
        return cls(**{name: value for key in values for name, value in _read(key, values[key]).items()})

    def matches(self, finding: Finding) -> bool:
        """Whether a finding is asked for."""
        if self.least is not None and not self._bad_enough(finding):
            return False
        if self.fixable is not None and finding.fixable not in {None, self.fixable}:
            return False
        if self.ids and self.ids.isdisjoint(name.lower() for name in (finding.id, *finding.aliases)):
            return False
        return not self.packages or self._about_one(finding)

    def _bad_enough(self, finding: Finding) -> bool:
        found = rated(finding)
        if found is Severity.UNKNOWN:
            return self.unknown
        return self.least is None or _ORDER[found] <= _ORDER[self.least]

    def _about_one(self, finding: Finding) -> bool:
        if finding.purl:
            return purls.key_of(finding.purl) in self.packages
        return not finding.package or finding.package.lower() in self.names


def matching(reports: Iterable[VulnerabilityReport], asked: Filter) -> list[Finding]:
    """The findings of all reports that are asked for, each once, in their order.

    Raises `Unacceptable` (`ScanAbsent`, `ScanEmpty`): nothing found by a scan that looked at nothing says nothing.
    """
    return list(dict.fromkeys(finding for finding in findings(reports) if asked.matches(finding)))


def findings(reports: Iterable[VulnerabilityReport]) -> list[Finding]:
    """All findings. Raises as `matching` does."""
    reports = tuple(reports)
    if not reports:
        raise Unacceptable("ScanAbsent", "there is no verified vulnerability scan to look in")
    for report in reports:
        if report.says_nothing:
            message = f"the {report.format} scan names nothing that it looked at and finds nothing, so it says nothing"
            raise Unacceptable("ScanEmpty", message)
    return [finding for report in reports for finding in report.findings]


def check_entry(key: Any, *values: Any) -> None:
    """Raise `ValueError` for a key that no filter has, or for a value that it does not take there."""
    for value in values:
        _read(key, value)
    if key not in _READ:
        raise _unknown(key)


def _unknown(key: Any) -> ValueError:
    return Unusable(f"{{}} is nothing to look for; there is {', '.join(_READ)}", key)


def _severity(value: Any) -> dict[str, Any]:
    word = value.upper() if isinstance(value, str) else ""
    if word not in _ASKED:
        raise ValueError(f"severity is one of {', '.join(_ASKED)}")
    return {"least": Severity(word)}


def _boolean(name: str) -> Callable[[Any], dict[str, Any]]:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, bool):
            raise ValueError(f"{name} is true or false")  # noqa: TRY004 - one kind of error for all that is wrong
        return {name: value}

    return read


def _ids(value: Any) -> dict[str, Any]:
    return {"ids": frozenset(text.lower() for text in _texts("ids", value))}


def _packages(value: Any) -> dict[str, Any]:
    queries = [Query.parse(text) for text in _texts("packages", value)]
    names = frozenset(name for query in queries for name in query.names)
    return {"packages": frozenset(query.key for query in queries), "names": names}


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list | tuple) or not value or not all(isinstance(text, str) for text in value):
        raise ValueError(f"{name} is a list of strings, and not empty")
    if len(value) > MAX_NAMED:
        raise ValueError(f"{name} has more than {MAX_NAMED} entries")
    return list(value)


_READ: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "severity": _severity,
    "unknown": _boolean("unknown"),
    "fixable": _boolean("fixable"),
    "ids": _ids,
    "packages": _packages,
}


def _read(key: Any, value: Any) -> dict[str, Any]:
    if key not in _READ:
        raise _unknown(key)
    return _READ[key](value)
