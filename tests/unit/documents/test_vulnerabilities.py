"""Scans in one form: nothing found is lost, and what cannot be read is never an empty list of findings."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.errors import LimitExceeded, Unacceptable
from controller.model.documents import Finding, Severity
from tests.unit.documents.predicates import PREDICATES, load, parse

VULN = "https://cosign.sigstore.dev/attestation/vuln/v1"
IN_TOTO = "https://in-toto.io/attestation/vulns/v0.2"
LOG4J = "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1"


def scan(result: Any) -> dict[str, Any]:
    """cosign's predicate around a scanner's report."""
    document = load("vuln", PREDICATES)
    document["scanner"]["result"] = result
    return document


def test_trivys_report_in_cosigns_predicate() -> None:
    report = parse(VULN, load("vuln", PREDICATES))
    assert (report.format, report.scanner, report.scanner_version) == (
        "Trivy",
        "pkg:github/aquasecurity/trivy@0.60.0",
        "0.60.0",
    )
    assert report.database_updated == datetime(2026, 1, 5, 6, 11, 54, tzinfo=UTC)
    assert report.scanned_at == datetime(2026, 1, 5, 8, 3, 24, tzinfo=UTC)
    assert [finding.id for finding in report.findings] == ["CVE-2024-9143"]


def test_all_findings_of_trivy() -> None:
    report = parse(VULN, scan(load("trivy")))
    assert report.targets == ("registry.acme.example/acme/shop:1.0 (alpine 3.20.3)", "Java", "usr/bin/agent")
    assert report.findings == (
        Finding(
            id="CVE-2024-9143",
            severity=Severity.MEDIUM,
            package="libcrypto3",
            version="3.3.2-r0",
            purl="pkg:apk/alpine/libcrypto3@3.3.2-r0?arch=x86_64&distro=3.20.3",
            fixed_versions=("3.3.2-r1",),
            score=4.3,
        ),
        Finding(
            id="CVE-2021-44228",
            severity=Severity.CRITICAL,
            package="org.apache.logging.log4j:log4j-core",
            version="2.14.1",
            purl=LOG4J,
            fixed_versions=("2.15.0", "2.3.1", "2.12.2"),
            score=10.0,
        ),
        Finding(id="CVE-2025-0001", severity=Severity.UNKNOWN, package="com.acme:inner", version="1.0"),
    )


def test_all_findings_of_grype() -> None:
    report = parse(VULN, scan(load("grype")))
    assert (report.format, report.targets) == ("Grype", ("registry.acme.example/acme/shop:1.0",))
    assert report.findings == (
        Finding(
            id="GHSA-jfh8-c2jp-5v3q",
            severity=Severity.CRITICAL,
            package="log4j-core",
            version="2.14.1",
            purl=LOG4J,
            fixed_versions=("2.15.0",),
            score=10.0,
            aliases=("CVE-2021-44228",),
            fix_told=False,
        ),
        Finding(id="CVE-2025-46394", severity=Severity.NEGLIGIBLE, package="busybox", version="1.36.1-r29"),
    )


def test_grypes_own_report_says_when_and_by_which_database() -> None:
    report = parse(VULN, load("grype"))
    assert (report.scanner, report.scanner_version) == ("grype", "0.92.0")
    assert report.scanned_at == datetime(2026, 1, 5, 7, 3, 24, 123456, tzinfo=UTC)
    assert report.database_updated == datetime(2026, 1, 5, 4, 21, 32, tzinfo=UTC)


def test_all_findings_of_trivys_sarif() -> None:
    report = parse(VULN, scan(load("trivy.sarif")))
    assert (report.format, report.targets) == ("SARIF", ("registry.acme.example/acme/shop:1.0",))
    assert report.findings == (
        Finding(
            id="CVE-2021-44228",
            severity=Severity.CRITICAL,
            package="org.apache.logging.log4j:log4j-core",
            version="2.14.1",
            fixed_versions=("2.15.0", "2.3.1"),
            score=10.0,
        ),
    )


def test_all_findings_of_grypes_sarif() -> None:
    report = parse("http://docs.oasis-open.org/sarif/sarif/2.1.0", load("grype.sarif"))
    assert report.findings == (
        Finding(id="GHSA-jfh8-c2jp-5v3q", severity=Severity.CRITICAL, purl=LOG4J, score=10.0, fix_told=False),
        Finding(id="CVE-2025-46394", severity=Severity.LOW, score=3.3, fix_told=False),
    )


def test_in_totos_own_list_in_both_versions() -> None:
    report = parse(IN_TOTO, load("vulns-0.2"))
    assert report.findings == (
        Finding(id="CVE-2021-0123", severity=Severity.MEDIUM, score=5.2, fix_told=False),
        Finding(id="GHSA-fxph-q3j8-mv87", severity=Severity.UNKNOWN, score=9.8, fix_told=False),
    )
    assert report.database_updated == datetime(2021, 8, 6, 17, 45, 50, 520000, tzinfo=UTC)


@pytest.mark.parametrize("written", ["CVSS:3.1/AV:N", "85", "-1", "NaN", ""])
def test_a_rating_that_is_no_cvss_score_gives_none(written: str) -> None:
    rating = {"method": "x", "score": written}
    (found,) = parse(VULN, scan([{"id": "x", "severity": [rating]}])).findings
    assert (found.severity, found.score) == (Severity.UNKNOWN, None)


@pytest.mark.parametrize(
    ("ratings", "severity"),
    [
        (("LOW", "9.8"), Severity.CRITICAL),
        (("9.8", "LOW"), Severity.CRITICAL),
        (("CRITICAL", "2.0"), Severity.CRITICAL),
        (("MEDIUM", "CVSS:3.1/AV:N"), Severity.MEDIUM),
    ],
)
def test_of_a_word_and_a_score_the_worse_counts(ratings: tuple[str, ...], severity: Severity) -> None:
    listed = [{"method": "x", "score": rating} for rating in ratings]
    (found,) = parse(IN_TOTO, scan([{"id": "x", "severity": listed}])).findings
    assert found.severity is severity


@pytest.mark.parametrize("type_", [VULN, IN_TOTO, "cosign.sigstore.dev/attestation/vuln/v1"])
@pytest.mark.parametrize("name", ["trivy", "grype", "trivy.sarif", "vulns-0.2"])
def test_every_form_is_read_under_every_type(type_: str, name: str) -> None:
    assert parse(type_, load(name)).findings
    assert parse(type_, {"Data": json.dumps(load(name)), "Timestamp": "t"}).findings


def test_a_report_in_a_string_is_the_same_report() -> None:
    assert parse(VULN, scan(json.dumps(load("grype")))) == parse(VULN, scan(load("grype")))


def rule(**properties: Any) -> dict[str, Any]:
    """A SARIF log of one result, its rule with these properties."""
    driver = {"name": "x", "rules": [{"id": "CVE-2026-12345", "properties": properties}]}
    return {"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": [{"ruleId": "CVE-2026-12345"}]}]}


@pytest.mark.parametrize(
    ("properties", "severity"),
    [
        ({"security-severity": "9.0"}, Severity.CRITICAL),
        ({"security-severity": 8.9}, Severity.HIGH),
        ({"security-severity": "4.0"}, Severity.MEDIUM),
        ({"security-severity": "0.1"}, Severity.LOW),
        ({"security-severity": "0"}, Severity.NEGLIGIBLE),
        ({"tags": ["HIGH", "LOW"], "security-severity": "5"}, Severity.HIGH),
        ({"cvssV3_severity": "CRITICAL", "tags": ["LOW"]}, Severity.CRITICAL),
        ({}, Severity.UNKNOWN),
    ],
)
def test_the_worst_severity_that_sarif_tells_counts(properties: dict[str, Any], severity: Severity) -> None:
    assert parse(VULN, rule(**properties)).findings[0].severity is severity


def test_a_result_is_found_in_each_package_that_its_rule_names() -> None:
    findings = parse(VULN, rule(purls=["pkg:npm/a@1", "pkg:npm/b@1"])).findings
    assert [finding.purl for finding in findings] == ["pkg:npm/a@1", "pkg:npm/b@1"]


@pytest.mark.parametrize("change", [{"kind": "pass"}, {"kind": "notApplicable"}, {"baselineState": "absent"}])
def test_what_sarif_reports_as_in_order_is_no_finding(change: dict[str, str]) -> None:
    log = rule()
    log["runs"][0]["results"][0] |= change
    assert parse(VULN, log).findings == ()


def test_a_suppressed_result_is_still_a_finding() -> None:
    log = rule()
    log["runs"][0]["results"][0]["suppressions"] = [{"kind": "external", "status": "accepted"}]
    assert len(parse(VULN, log).findings) == 1


@pytest.mark.parametrize("kind", ["config", "secret", "license", "license-file"])
def test_what_trivy_did_not_look_at_for_vulnerabilities_is_no_target(kind: str) -> None:
    report = parse(VULN, {"SchemaVersion": 2, "Results": [{"Target": "app/.env", "Class": kind}]})
    assert report.targets == ()
    assert report.says_nothing


def test_what_sarif_calls_a_run_that_failed_is_no_clean_scan() -> None:
    log = rule()
    log["runs"][0] |= {"results": [], "invocations": [{"executionSuccessful": True}]}
    assert parse(VULN, log).findings == ()
    log["runs"][0]["invocations"].append({"executionSuccessful": False})
    with pytest.raises(Unacceptable, match="failed") as raised:
        parse(VULN, log)
    assert raised.value.code == "DocumentMalformed"


def vulnerability(**fields: Any) -> dict[str, Any]:
    return {"SchemaVersion": 2, "Results": [{"Target": "x", "Vulnerabilities": [fields]}]}


def match(**fields: Any) -> dict[str, Any]:
    return {"matches": [{"vulnerability": {"id": "x", "severity": "High"}, "artifact": {}} | fields]}


@pytest.mark.parametrize(
    ("document", "code"),
    [
        (scan(None), "DocumentMalformed"),
        (scan({}), "DocumentUnsupported"),
        (scan("passed"), "DocumentMalformed"),
        (scan(7), "DocumentUnsupported"),
        (scan({"vulnerabilities": []}), "DocumentUnsupported"),
        (scan([{}]), "DocumentMalformed"),
        (scan([{"id": "x", "severity": "high"}]), "DocumentMalformed"),
        ({}, "DocumentUnsupported"),
        ({"scanner": []}, "DocumentMalformed"),
        ({"SchemaVersion": 1, "Results": []}, "DocumentUnsupported"),
        ({"SchemaVersion": True}, "DocumentMalformed"),
        ({"SchemaVersion": 2, "Results": {}}, "DocumentMalformed"),
        (vulnerability(Severity="HIGH"), "DocumentMalformed"),
        (vulnerability(VulnerabilityID="x", Severity="SEVERE"), "DocumentMalformed"),
        (vulnerability(VulnerabilityID="x", PkgIdentifier={"PURL": "log4j"}), "DocumentMalformed"),
        (vulnerability(VulnerabilityID="x", CVSS={"nvd": {"V3Score": "10"}}), "DocumentMalformed"),
        (vulnerability(VulnerabilityID="x", CVSS={"nvd": {"V3Score": 10**400}}), "DocumentMalformed"),
        ({"matches": None}, "DocumentMalformed"),
        ({"matches": [{}]}, "DocumentMalformed"),
        (match(vulnerability={"id": ""}), "DocumentMalformed"),
        (match(artifact=None), "DocumentMalformed"),
        (match(relatedVulnerabilities=[{}]), "DocumentMalformed"),
        ({"version": "2.0.0", "runs": []}, "DocumentUnsupported"),
        ({"version": "2.1.0", "runs": []}, "DocumentMalformed"),
        ({"version": "2.1.0", "runs": [{}]}, "DocumentMalformed"),
        ({"version": "2.1.0", "runs": [{"tool": {"driver": {}}}]}, "DocumentMalformed"),
        ({"version": "2.1.0", "runs": [{"tool": {"driver": {}}, "results": [{}]}]}, "DocumentMalformed"),
        (rule(**{"security-severity": "high"}), "DocumentMalformed"),
        (rule(**{"security-severity": "11"}), "DocumentMalformed"),
        (rule(**{"security-severity": "NaN"}), "DocumentMalformed"),
    ],
)
def test_a_scan_that_cannot_be_read_is_an_error_and_never_a_clean_one(document: Any, code: str) -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(VULN, document)
    assert raised.value.code == code


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "document",
    [
        {"SchemaVersion": 2, "Results": [{"Vulnerabilities": [{"VulnerabilityID": "x"}] * 6}] * 2},
        {"matches": match()["matches"] * 11},
        rule(purls=[f"pkg:npm/a@{i}" for i in range(11)]),
        scan([{"id": "x"}] * 11),
    ],
)
def test_findings_are_bounded(document: Any) -> None:
    with pytest.raises(LimitExceeded) as raised:
        parse(VULN, document, document_max_components=10)
    assert raised.value.setting == "document_max_components"
