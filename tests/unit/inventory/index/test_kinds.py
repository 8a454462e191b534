"""Documents of each kind as rows: nothing is lost that a question needs, and nothing is made up."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime

from controller.inventory.index import provenance, vex, vulnerabilities
from controller.model.documents import (
    Finding,
    Provenance,
    Severity,
    Source,
    Vex,
    VexProduct,
    VexStatement,
    VexStatus,
    VulnerabilityReport,
)

AT = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
PURL = "pkg:deb/debian/openssl@3.0.11?arch=amd64"
REPORT = VulnerabilityReport(
    format="Grype",
    scanner="Grype",
    scanner_version="0.80",
    database_updated=AT,
    scanned_at=AT,
    targets=("app",),
    findings=(
        Finding("CVE-2026-1", Severity.HIGH, "openssl", "3.0.11", PURL, ("3.0.12",), 7.5, ("GHSA-aaaa-bbbb-cccc",)),
        Finding("CVE-2026-2", Severity.UNKNOWN, score=9.8, fix_told=False),
        Finding("CVE-2026-3\0", Severity.LOW, "zlib", fix_told=True),
    ),
)
STATEMENT = VexStatement(
    vulnerability="CVE-2026-1 ",
    aliases=("GHSA-AAAA-bbbb-cccc",),
    products=(VexProduct("pkg:oci/app", "pkg:oci/app", (("sha-256", "ab"),), (VexProduct("", PURL),)),),
    status=VexStatus.NOT_AFFECTED,
    justification="vulnerable_code_not_present",
    impact="it is not built in",
    action="",
    timestamp=AT,
)


def test_a_reports_findings_are_rows_in_its_order() -> None:
    contents = vulnerabilities.contents(REPORT)
    rows = dict(contents.rows)
    assert (contents.kind, contents.format, contents.listed, contents.created_at) == ("vulnerabilities", "Grype", 3, AT)
    assert rows["scan"] == ({"says_nothing": False, "database_updated": AT},)
    first, second, third = rows["vulnerability_finding"]
    assert first == {
        "number": 0,
        "vulnerability": "CVE-2026-1",
        "rank": 1,
        "severity": "HIGH",
        "score": 7.5,
        "package": "openssl",
        "version": "3.0.11",
        "purl": PURL,
        "fixed_versions": '["3.0.12"]',
        "fixable": True,
        "fix_told": True,
        "aliases": '["GHSA-aaaa-bbbb-cccc"]',
    }
    # Where a report gives a score in the place of a severity, that score's; no fix told is not known.
    assert (second["severity"], second["rank"], second["fixable"]) == ("CRITICAL", 0, None)
    assert (third["vulnerability"], third["version"], third["fixable"]) == ("CVE-2026-3�", None, False)
    assert {(row["number"], row["alias"]) for row in rows["finding_alias"]} == {
        (0, "CVE-2026-1"),
        (0, "GHSA-AAAA-BBBB-CCCC"),
        (1, "CVE-2026-2"),
        (2, "CVE-2026-3�"),
    }


def test_a_report_that_says_nothing_is_told_from_a_clean_one() -> None:
    clean = dataclasses.replace(REPORT, findings=())
    nothing = dataclasses.replace(clean, targets=())
    for report, says_nothing in (
        (clean, False),
        (nothing, True),
        (dataclasses.replace(nothing, format="SARIF"), False),
    ):
        (scan,) = dict(vulnerabilities.contents(report).rows)["scan"]
        assert scan["says_nothing"] is says_nothing


def test_a_vex_statement_is_read_back_as_it_was() -> None:
    contents = vex.contents(Vex("https://acme.example/1", "Acme", AT, (STATEMENT,), 3))
    assert (contents.name, contents.author, contents.spec_version) == ("https://acme.example/1", "Acme", "3")
    rows = dict(contents.rows)
    (statement,) = rows["vex_statement"]
    assert vex.statement_of(statement["content"]) == STATEMENT
    assert {row["name"] for row in rows["vex_name"]} == {"cve-2026-1", "ghsa-aaaa-bbbb-cccc"}
    bare = dataclasses.replace(STATEMENT, products=(), timestamp=None, aliases=())
    (statement,) = dict(vex.contents(Vex("", "", None, (bare,))).rows)["vex_statement"]
    assert vex.statement_of(statement["content"]) == bare


def test_provenance_leads_to_builder_and_source() -> None:
    document = Provenance(
        spec_version="1",
        builder_id="https://builder.example",
        build_type="type",
        source=Source("https://github.com/acme/app", "", "ab"),
        parameters=None,
        materials=(),
        invocation_id="",
        started_at=AT,
        finished_at=None,
        slsa_level=1,
    )
    contents = provenance.contents(document)
    (name, rows), *rest = contents.rows
    assert (name, rest, contents.created_at) == ("document_trace", [], AT)
    assert [tuple(row.values()) for row in rows] == [
        ("builder", "https://builder.example"),
        ("source", "github.com/acme/app"),
        ("source", "ab"),
        ("source", "github.com/acme/app@ab"),
    ]
