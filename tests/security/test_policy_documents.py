"""Documents whose signer is careless or hostile: what they cost a rule is bounded, and crossing a bound is an Error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from controller.model.decision import Outcome
from controller.model.documents import (
    Component,
    Finding,
    Sbom,
    Severity,
    Vex,
    VexProduct,
    VexStatement,
    VexStatus,
    VulnerabilityReport,
)
from controller.policy.findings import Findings
from controller.settings import PolicySettings, Seconds
from tests.support.effort import within
from tests.unit.policy.make import attestation
from tests.unit.policy.test_documents import NOW, SPDX, VEX, VULN, judge, policy

MANY = 120_000
CALLS = 3_000_000  # of functions, some times what the most laborious makes; without its bound none would end
LIMITS = PolicySettings(policy_cel_timeout=Seconds(3600))  # what is said here of bounds hangs on no clock
AFFECTED = VexStatement("CVE-1", (), (), VexStatus.AFFECTED, "", "", "", NOW)


def judged(expression: str, *documents: tuple[str, Any]) -> Findings:
    made = policy(expression, limits=LIMITS)
    assert made.policy.problems == ()
    read = [attestation(t, statement=t, document=document) for t, document in documents]
    return within(CALLS, lambda: judge(made, *read))


def sbom(*components: Component) -> tuple[str, Sbom]:
    return SPDX, Sbom("SPDX", "2.3", "x", None, components)


def scan(*findings: Finding) -> tuple[str, VulnerabilityReport]:
    return VULN, VulnerabilityReport("Trivy", "t", "", None, None, ("x",), findings)


def vex(*statements: VexStatement) -> tuple[str, Vex]:
    return VEX, Vex("", "a", NOW, statements)


FINDINGS = [Finding(f"C{i}", Severity.LOW) for i in range(MANY)]
LOG4J = Component("log4j-core", "1", "pkg:maven/org.apache.logging.log4j/log4j-core@1")

LICENSED = [replace(LOG4J, licenses=(f"L-{i} OR " + "MIT OR " * 400 + "MIT",)) for i in range(1000)]


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("expression", "documents"),
    [
        ("vex.status('CVE-1') == '' || true", [vex(*[AFFECTED] * MANY)]),
        (
            "vulnerabilities.matching('LOW').all(f, !vex.clears(f)) || true",
            [vex(*[AFFECTED] * MANY), scan(Finding("CVE-1", Severity.LOW))],
        ),
        ("sboms.contains('pkg:maven/org.apache.logging.log4j/log4j-core', '>5') || true", [sbom(*[LOG4J] * MANY)]),
        ("sboms.licenses().size() > 0 || true", [sbom(*LICENSED)]),
        ("sboms.licensed('GPL-*').size() > 0 || true", [sbom(*LICENSED)]),
        ("sboms.lacking('license').size() > 0 || true", [sbom(*LICENSED)]),
        ("sboms.components.all(c, c.name != 'x') || true", [sbom(*[LOG4J] * MANY)]),
        ("vulnerabilities.matching('LOW').all(f, f.id != '') || true", [scan(*FINDINGS)]),
    ],
    ids=["status", "clears", "contains", "licenses", "licensed", "lacking", "components", "findings"],
)  # fmt: skip
def test_guarantee_10_what_costs_more_than_a_rule_may_take_is_an_error(expression: str, documents: list[Any]) -> None:
    found = judged(expression, *documents)
    assert found.outcome is Outcome.ERROR
    assert [reason.code for reason in found.reasons] == ["LimitExceeded"]


@pytest.mark.guarantee(10)
def test_guarantee_10_a_statement_of_thousands_of_names_and_parts_is_read_once() -> None:
    parts = tuple(VexProduct(f"pkg:npm/x{i}", f"pkg:npm/x{i}") for i in range(30_000))
    names = tuple(f"CVE-{i}" for i in range(30_000))
    said = replace(AFFECTED, status=VexStatus.FIXED, aliases=names, products=(VexProduct("", subcomponents=parts),))
    findings = (Finding(f"CVE-{i}", Severity.LOW, purl=f"pkg:npm/x{i}@1") for i in range(300))
    found = judged("vulnerabilities.matching('LOW').all(f, vex.clears(f))", vex(said), scan(*findings))
    assert found.outcome is Outcome.SATISFIED


@pytest.mark.guarantee(10)
def test_guarantee_10_many_packages_are_looked_for_among_many_findings_at_once() -> None:
    wanted = ", ".join(f"'pkg:npm/y{i}'" for i in range(400))
    findings = (Finding(f"C{i}", Severity.LOW, purl=f"pkg:npm/x{i}@1") for i in range(30_000))
    found = judged(f"vulnerabilities.matching({{'packages': [{wanted}]}}).size() == 0", scan(*findings))
    assert found.outcome is Outcome.SATISFIED
