"""Findings of scans: what is bad, or may be bad, is found, and a scan of nothing says nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.documents import scans
from controller.documents.scans import Filter
from controller.errors import Unacceptable
from controller.model.documents import Finding, Severity, VulnerabilityReport
from tests.unit.documents.predicates import load, parse

LOG4J = "pkg:maven/org.apache.logging.log4j/log4j-core"
VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"


def report(*findings: Finding, format_: str = "Trivy", targets: tuple[str, ...] = ("app",)) -> VulnerabilityReport:
    return VulnerabilityReport(format_, "s", "1", None, None, targets, findings)


def found(asked: Any, *reports: VulnerabilityReport) -> list[str]:
    return [finding.id for finding in scans.matching(reports, Filter.parse(asked))]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("CRITICAL", ["C", "score-9", "U"]),
        ("critical", ["C", "score-9", "U"]),
        ("HIGH", ["C", "H", "score-9", "U"]),
        ("NEGLIGIBLE", ["C", "H", "N", "score-9", "U"]),
        ({"severity": "CRITICAL", "unknown": False}, ["C", "score-9"]),
        ({"unknown": False}, ["C", "H", "N", "score-9", "U"]),
    ],
)
def test_at_least_so_bad_and_what_nobody_knows(asked: Any, expected: list[str]) -> None:
    listed = report(
        Finding("C", Severity.CRITICAL),
        Finding("H", Severity.HIGH),
        Finding("N", Severity.NEGLIGIBLE),
        Finding("score-9", Severity.UNKNOWN, score=9.0),
        Finding("U", Severity.UNKNOWN),
    )
    assert found(asked, listed) == expected


def test_what_may_be_fixable_is_looked_for_and_what_may_not_be_too() -> None:
    listed = report(
        Finding("fixed", Severity.HIGH, fixed_versions=("1",)),
        Finding("no fix", Severity.HIGH),
        Finding("not told", Severity.HIGH, fix_told=False),
    )
    assert found({"fixable": True}, listed) == ["fixed", "not told"]
    assert found({"fixable": False}, listed) == ["no fix", "not told"]


def test_identifiers_and_their_aliases_in_any_case() -> None:
    listed = report(Finding("GHSA-jfh8-c2jp-5v3q", Severity.LOW, aliases=("CVE-2021-44228",)), Finding("X", "LOW"))  # type: ignore[arg-type]
    assert found({"ids": ["cve-2021-44228"]}, listed) == ["GHSA-jfh8-c2jp-5v3q"]
    assert found({"ids": ["ghsa-JFH8-c2jp-5v3q", "Y"]}, listed) == ["GHSA-jfh8-c2jp-5v3q"]
    assert found({"ids": ["Y"]}, listed) == []


def test_packages_by_url_by_name_and_what_names_none() -> None:
    listed = report(
        Finding("url", Severity.LOW, purl=f"{LOG4J}@2.14.1"),
        Finding("name", Severity.LOW, package="org.apache.logging.log4j:log4j-core"),
        Finding("other", Severity.LOW, purl="pkg:npm/x@1"),
        Finding("other name", Severity.LOW, package="x"),
        Finding("nothing", Severity.LOW),
    )
    assert found({"packages": [LOG4J]}, listed) == ["url", "name", "nothing"]


def test_all_that_is_asked_holds_at_once_and_each_finding_comes_once() -> None:
    one = Finding("A", Severity.CRITICAL, fixed_versions=("1",))
    listed = report(one, Finding("B", Severity.CRITICAL), Finding("C", Severity.LOW, fixed_versions=("1",)))
    assert found({"severity": "CRITICAL", "fixable": True}, listed, report(one)) == ["A"]


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ("UNKNOWN", "severity is one of CRITICAL, HIGH"),
        ("severe", "severity is one of"),
        ({}, "names nothing to look for"),
        ({"severities": "HIGH"}, "a text of 10 characters is nothing to look for"),
        ({"severity": 7}, "severity is one of"),
        ({"fixable": "yes"}, "fixable is true or false"),
        ({"ids": []}, "ids is a list of strings, and not empty"),
        ({"ids": "CVE-1"}, "ids is a list of strings"),
        ({"ids": ["x"] * 1001}, "more than 1000"),
        ({"packages": ["log4j"]}, "no package URL"),
        ({"packages": [f"{LOG4J}@1"]}, "type, namespace and name only"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_a_sentence(asked: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Filter.parse(asked)


@pytest.mark.parametrize("format_", ["Trivy", "Grype"])
def test_a_scan_that_names_no_target_and_finds_nothing_says_nothing(format_: str) -> None:
    clean = report()
    assert found("LOW", clean) == []
    with pytest.raises(Unacceptable) as raised:
        found("LOW", clean, report(format_=format_, targets=()))
    assert raised.value.code == "ScanEmpty"
    with pytest.raises(Unacceptable) as raised:
        found("LOW")
    assert raised.value.code == "ScanAbsent"


@pytest.mark.parametrize("format_", ["in-toto", "SARIF"])
def test_an_empty_list_is_an_answer_where_the_specification_says_so(format_: str) -> None:
    assert found("LOW", report(format_=format_, targets=())) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("trivy", ["CVE-2021-44228", "CVE-2025-0001"]),
        ("grype", ["GHSA-jfh8-c2jp-5v3q"]),
        ("vulns-0.2", ["GHSA-fxph-q3j8-mv87"]),
        ("trivy.sarif", ["CVE-2021-44228"]),
        ("grype.sarif", ["GHSA-jfh8-c2jp-5v3q"]),
    ],
)
def test_the_criticals_of_each_scanner(name: str, expected: list[str]) -> None:
    assert found("CRITICAL", parse(VULN, load(name))) == expected


@pytest.mark.parametrize(
    ("name", "fixable"),
    [
        ("trivy", [True, True, False]),
        ("grype", [True, False]),
        ("vulns-0.2", [None, None]),
        ("trivy.sarif", [True]),
        ("grype.sarif", [None, None]),
    ],
)
def test_whether_there_is_a_fix_is_told_by_what_can_tell_it(name: str, fixable: list[bool | None]) -> None:
    assert [finding.fixable for finding in parse(VULN, load(name)).findings] == fixable


@pytest.mark.parametrize(("state", "fixable"), [("unknown", None), ("", None), ("wont-fix", False), ("fixed", None)])
def test_a_fix_that_grype_does_not_know_of_may_be_there(state: str, fixable: bool | None) -> None:
    document = load("grype")
    document["matches"][0]["vulnerability"]["fix"] = {"versions": [], "state": state}
    assert parse(VULN, document).findings[0].fixable is fixable


@given(
    listed=st.lists(st.builds(Finding, st.just("x"), st.sampled_from(Severity), score=st.none() | st.floats(0, 10))),
    severities=st.permutations([s for s in Severity if s is not Severity.UNKNOWN]).map(lambda order: order[:2]),
)
def test_asking_for_less_bad_never_finds_less(listed: list[Finding], severities: list[Severity]) -> None:
    worse, milder = sorted(severities, key=list(Severity).index)
    of_worse = {f for f in listed if Filter.parse(str(worse)).matches(f)}
    assert of_worse <= {f for f in listed if Filter.parse(str(milder)).matches(f)}
