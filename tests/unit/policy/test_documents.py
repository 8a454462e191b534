"""Documents in rules: provenance, scans, VEX and SBOMs as their tools write them, and only where they are required."""

from __future__ import annotations

import dataclasses
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller.errors import AssayError, Unacceptable, Unavailable
from controller.model.decision import Outcome
from controller.model.documents import Finding, Severity, VulnerabilityReport
from controller.model.evidence import VerifiedAttestation
from controller.model.image import ImageConfig, ImageConfigs
from controller.model.reference import Digest
from controller.policy.compiled import EVIDENCE_ONLY, CompiledPolicy
from controller.policy.evaluation import evaluate_evidence_rules, evaluate_request_rules
from controller.policy.findings import Findings
from controller.policy.requirements import check
from tests.unit.documents.predicates import PREDICATES, load, parse
from tests.unit.policy.make import DIGEST, IMAGE, LOG4J, attestation, compiled, evidence, signature

NOW = datetime(2026, 1, 10, tzinfo=UTC)
SPDX, CYCLONEDX = "https://spdx.dev/Document/v2.3", "https://cyclonedx.org/bom/v1.6"
SLSA, SLSA_0_2 = "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2"
VULN, IN_TOTO = "https://cosign.sigstore.dev/attestation/vuln/v1", "https://in-toto.io/attestation/vulns/v0.2"
VEX = "https://openvex.dev/ns/v0.2.0"
CRITICAL = "CVE-2021-44228"
numbers = itertools.count()

ENTRIES = [
    {"name": "sbom", "type": "SBOM", "authorities": ["release"]},
    {"name": "built", "type": "SLSAProvenance", "authorities": ["release"]},
    {"name": "scan", "type": "Vulnerability", "authorities": ["release"]},
    {"name": "vex", "type": "OpenVEX", "authorities": ["release"]},
]


def read(type_: str, predicate: Any) -> VerifiedAttestation:
    """A verified attestation with its document read, as the worker hands it to rules."""
    return attestation(type_, statement=f"s{next(numbers)}", document=parse(type_, predicate))


def fixture(type_: str, name: str) -> VerifiedAttestation:
    return read(type_, load(name))


def vex(*statements: dict[str, Any], timestamp: str = "2026-01-05T00:00:00Z", **fields: Any) -> VerifiedAttestation:
    base = {"justification": "vulnerable_code_not_in_execute_path", "status": "not_affected"}
    document = {"@context": VEX, "timestamp": timestamp, "statements": [base | one for one in statements]}
    return read(VEX, document | fields)


def policy(*expressions: str, entries: list[dict[str, Any]] | None = None, **fields: Any) -> CompiledPolicy:
    rules = [{"expression": expression} for expression in expressions]
    return compiled(attestations=ENTRIES if entries is None else entries, validations=rules, **fields)


def judge(
    made: CompiledPolicy, *attestations: VerifiedAttestation, configs: ImageConfigs = (), now: datetime = NOW
) -> Findings:
    """What the rules say of what met the requirements, as worker and review judge them together."""
    selected = check(made.policy, evidence(signature(), *attestations))[1]
    of_evidence = evaluate_evidence_rules(made, evidence=selected, image=IMAGE, configs=configs, now=now)
    return of_evidence + evaluate_request_rules(
        made, evidence=selected, image=IMAGE, use=None, request=None, namespace=None, configs=configs, now=now
    )


def holds(expression: str, *attestations: VerifiedAttestation, **facts: Any) -> bool:
    """Whether a rule holds; it must be one that compiles and can be judged."""
    made = policy(expression)
    assert made.policy.problems == (), made.policy.problems
    found = judge(made, *attestations, **facts)
    assert found.outcome is not Outcome.ERROR, found.reasons
    return found.outcome is Outcome.SATISFIED


def failure(expression: str, *attestations: VerifiedAttestation, **facts: Any) -> str:
    """The code with which a rule could not be judged."""
    made = policy(expression)
    assert made.policy.problems == (), made.policy.problems
    found = judge(made, *attestations, **facts)
    assert found.outcome is Outcome.ERROR
    return found.reasons[0].code


# Where they may be read


@pytest.mark.guarantee(5)
@pytest.mark.parametrize(
    ("name", "word"),
    [("sboms", "SBOM"), ("provenances", "SLSAProvenance"), ("vulnerabilities", "Vulnerability"), ("vex", "OpenVEX")],
)
def test_guarantee_05_documents_are_read_only_where_they_are_required(name: str, word: str) -> None:
    expression = f"size({name}) > 0"
    for entry in ENTRIES:
        problems = policy(expression, entries=[entry]).policy.problems
        assert [problem.code for problem in problems] == ([] if entry["type"] == word else ["EvidenceNotRequired"])
    (problem,) = policy(expression, entries=[]).policy.problems
    assert f"an entry of type {word} in spec.attestations" in problem.message


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (SPDX, "sboms"),
        (SLSA, "provenances"),
        ("https://slsa.dev/provenance/v9", "provenances"),
        (VULN, "vulnerabilities"),
        (IN_TOTO, "vulnerabilities"),
        ("http://docs.oasis-open.org/sarif/sarif/2.1.0", "vulnerabilities"),
        ("https://openvex.dev/ns", "vex"),
    ],
)
def test_a_requirement_of_one_uri_is_one_of_its_type(uri: str, name: str) -> None:
    entry = {"name": "one", "type": uri, "authorities": ["release"]}
    assert policy(f"size({name}) > 0", entries=[entry]).policy.problems == ()


@pytest.mark.parametrize("uri", ["https://slsa.dev/provenancex", "https://slsa.dev/verification_summary/v1", "VSA"])
def test_another_type_is_not_enough(uri: str) -> None:
    entry = {"name": "one", "type": uri, "authorities": ["release"]}
    assert policy("size(provenances) > 0", entries=[entry]).policy.problems[0].code == "EvidenceNotRequired"


@pytest.mark.guarantee(5)
def test_guarantee_05_what_met_no_entry_of_this_policy_is_not_there() -> None:
    entry = {"name": "built", "type": SLSA, "authorities": ["release"]}
    made = policy("provenances.size() == 1 && provenances[0].specVersion == '1'", entries=[entry])
    theirs = dataclasses.replace(
        fixture(SLSA, "slsa-1-cloud-build"), proof=attestation(authority="stranger", statement="x").proof
    )
    found = judge(made, fixture(SLSA, "slsa-1-cloud-build"), fixture(SLSA_0_2, "slsa-0.2-buildkit"), theirs)
    assert found.outcome is Outcome.SATISFIED


@pytest.mark.guarantee(5)
def test_guarantee_05_one_document_that_meets_two_entries_is_there_once() -> None:
    entries = [{"name": name, "type": "SLSAProvenance", "authorities": ["release"]} for name in ("a", "b")]
    made = policy("provenances.size() == 1", entries=entries)
    assert judge(made, fixture(SLSA, "slsa-1-cloud-build")).outcome is Outcome.SATISFIED


@pytest.mark.parametrize("name", ["sboms", "provenances", "vulnerabilities", "vex"])
def test_a_document_that_was_not_read_is_an_error_of_the_rule_that_reads_it_and_of_no_other(name: str) -> None:
    types = {"sboms": SPDX, "provenances": SLSA, "vulnerabilities": VULN, "vex": VEX}
    unread = attestation(types[name], statement="unread")
    whole = [fixture(t, n) for t, n in ((SPDX, "spdx-2.3"), (SLSA, "slsa-1-cloud-build"), (VULN, "trivy"))]
    made = policy(f"size({name}) > 0 || true", "size(signatures) == 1")
    found = judge(made, unread, *whole, vex({"vulnerability": {"name": "CVE-1"}}))
    assert [(reason.code, reason.rule) for reason in found.reasons] == [("DocumentAbsent", "validations[0]")]


def test_rules_over_documents_are_evidence_rules_until_they_read_the_clock() -> None:
    made = policy("size(provenances) + size(vulnerabilities) + size(vex) + size(sboms) > 0 && image.nonRoot")
    assert made.rules[0].reads <= EVIDENCE_ONLY
    assert not made.has_request_rules
    for expression in ("vulnerabilities.all(r, r.scannedAt > now - duration('24h'))", "image.age() < duration('1h')"):
        assert policy(expression).has_request_rules


@pytest.mark.parametrize(
    "name", ["provenances", "vulnerabilities", "vex", "image.user", "image.created", "image.configs"]
)
def test_conditions_have_no_documents_and_no_configurations(name: str) -> None:
    condition = {"name": "c", "expression": f"size(string({name})) > 0"}
    (problem,) = policy(match={"conditions": [condition]}).policy.problems
    assert problem.code == "NameNotHere"
    (problem,) = policy(
        match={"conditions": [condition | {"expression": "image.age() < duration('1h')"}]}
    ).policy.problems
    assert problem.code == "NameNotHere"


# Provenance


def test_provenance_of_google_cloud_build() -> None:
    built = fixture(SLSA, "slsa-1-cloud-build")
    for expression in (
        "provenances.all(p, p.builder == 'https://cloudbuild.googleapis.com/GoogleHostedWorker')",
        "provenances[0].buildType.startsWith('https://cloud.google.com/build/')",
        "provenances[0].source.repository == 'https://github.com/acme/app'",
        "provenances[0].source.ref == 'refs/heads/main'",
        "provenances[0].source.commit == '4f1c2a9be5d0873c6a41f7de90b5382cd17e6a04'",
        "provenances[0].materials.exists(m, m.uri.startsWith('gcr.io/') && 'sha256' in m.digest)",
        "provenances[0].parameters.buildConfigSource.path == 'cloudbuild.yaml'",
        "provenances[0].invocation.endsWith('/builds/1')",
        "provenances[0].finishedOn - provenances[0].startedOn < duration('10m')",
        "provenances[0].slsaLevel == 1 && provenances[0].specVersion == '1'",
    ):
        assert holds(expression, built), expression


def test_what_provenance_does_not_say_stays_missing() -> None:
    built = fixture(SLSA_0_2, "slsa-0.2-buildkit")
    assert holds("!has(provenances[0].builder) && !has(provenances[0].finishedOn)", built)
    assert holds("provenances[0].slsaLevel == 0 && has(provenances[0].startedOn)", built)
    assert failure("provenances[0].builder == ''", built) == "ExpressionFailed"
    assert failure("provenances.all(p, p.builder != 'https://evil.example')", built) == "ExpressionFailed"
    bare = fixture(SLSA, "slsa-1-cloud-build")
    source = dataclasses.replace(bare.document, source=None)
    assert holds("!has(provenances[0].source)", dataclasses.replace(bare, document=source))


# Scans


def test_findings_of_scans() -> None:
    scan = fixture(VULN, "trivy")
    for expression in (
        "vulnerabilities.matching('CRITICAL').map(f, f.id) == ['CVE-2021-44228', 'CVE-2025-0001']",
        "vulnerabilities.matching({'severity': 'CRITICAL', 'unknown': false}).size() == 1",
        "vulnerabilities.matching({'severity': 'MEDIUM', 'fixable': true}).map(f, f.package)[0] == 'libcrypto3'",
        "vulnerabilities.matching({'ids': ['cve-2021-44228']})[0].fixedVersions == ['2.15.0', '2.3.1', '2.12.2']",
        f"vulnerabilities.matching({{'packages': ['{LOG4J}']}}).all(f, f.score == 10.0 && f.fixable)",
        "vulnerabilities[0].matching('CRITICAL')[0].purl.startsWith('pkg:maven/')",
        "vulnerabilities[0].findings.exists(f, f.severity == 'UNKNOWN' && !has(f.score) && !f.fixable)",
        "vulnerabilities[0].findings[0].version == '3.3.2-r0'",
        "vulnerabilities[0].format == 'Trivy' && vulnerabilities[0].targets.size() == 3",
        "vulnerabilities[0].scannedAt == timestamp('2026-01-05T08:03:24.123456Z')",
        "!has(vulnerabilities[0].databaseUpdated)",
        "!has(vulnerabilities[0].findings[2].purl)",
        "vulnerabilities.all(r, now - r.scannedAt < duration('168h'))",
    ):
        assert holds(expression, scan), expression
    assert not holds("vulnerabilities.all(r, now - r.scannedAt < duration('168h'))", scan, now=NOW + timedelta(days=7))


@pytest.mark.parametrize(
    ("type_", "name", "field", "expression"),
    [
        (VULN, "trivy", "scanned_at", "vulnerabilities.exists(r, has(r.scannedAt))"),
        (VULN, "grype", "database_updated", "vulnerabilities.exists(r, has(r.databaseUpdated))"),
        (SPDX, "spdx-2.3", "created", "sboms.exists(s, has(s.created))"),
        (SLSA, "slsa-1-cloud-build", "finished_at", "provenances.exists(p, has(p.finishedOn))"),
    ],
)
def test_a_time_that_is_yet_to_come_is_not_stated(type_: str, name: str, field: str, expression: str) -> None:
    made = fixture(type_, name)
    for ahead, stated in ((timedelta(minutes=4), True), (timedelta(minutes=6), False), (timedelta(days=999), False)):
        document = dataclasses.replace(made.document, **{field: NOW + ahead})
        assert holds(expression, dataclasses.replace(made, document=document)) is stated
        assert holds(expression, dataclasses.replace(made, document=document), now=NOW + ahead)


def test_aliases_and_what_the_database_says_of_itself() -> None:
    scan = fixture(VULN, "grype")
    assert holds("vulnerabilities.matching('CRITICAL')[0].aliases == ['CVE-2021-44228']", scan)
    assert holds("vulnerabilities[0].databaseUpdated < vulnerabilities[0].scannedAt", scan)
    listed = fixture(IN_TOTO, "vulns-0.2")
    assert holds("vulnerabilities.matching({'severity': 'CRITICAL', 'fixable': true}).size() == 1", listed)
    assert holds("vulnerabilities.matching('CRITICAL').all(f, f.severity == 'CRITICAL' && !has(f.fixable))", listed)


def test_all_scans_are_looked_in_and_each_finding_comes_once() -> None:
    trivy, grype = fixture(VULN, "trivy"), fixture(VULN, "grype")
    assert holds("vulnerabilities.matching({'severity': 'CRITICAL', 'unknown': false}).size() == 2", trivy, grype)
    assert holds("vulnerabilities.matching({'severity': 'CRITICAL', 'unknown': false}).size() == 1", trivy, trivy)


@pytest.mark.parametrize("expression", [
    "vulnerabilities.matching('LOW').size() == 0",
    "vulnerabilities[0].matching('LOW').size() == 0",
    "vulnerabilities[0].findings.size() == 0",
    "vulnerabilities.all(r, r.findings.all(f, f.severity != 'CRITICAL'))",
    "vulnerabilities.matching('LOW').size() == 0 || true",
])  # fmt: skip
def test_a_scan_of_nothing_says_nothing(expression: str) -> None:
    nothing = VulnerabilityReport("Trivy", "Trivy", "", None, None, (), ())
    assert failure(expression, attestation(VULN, document=nothing)) == "ScanEmpty"
    clean = dataclasses.replace(nothing, targets=("app",))
    assert holds(expression, attestation(VULN, document=clean))


@pytest.mark.parametrize(
    ("call", "why"),
    [
        ("matching('SEVERE')", "severity is one of"),
        ("matching({'severities': 'HIGH'})", "'severities' is nothing to look for"),
        ("matching({'fixable': 'yes'})", "fixable is true or false"),
        ("matching({'ids': []})", "ids is a list of strings"),
        ("matching({})", "names nothing to look for"),
        ("matching({'packages': ['log4j']})", "no package URL"),
        ("matching({'severity': string(object.a), 'fixabel': true})", "'fixabel' is nothing to look for"),
        ("matching({'severity': 'SEVERE', 'fixable': object.a})", "severity is one of"),
        ("matching({'severities': object.a})", "'severities' is nothing to look for"),
    ],
)
def test_a_mistake_in_what_is_asked_is_found_when_the_policy_is_read(call: str, why: str) -> None:
    (problem,) = policy(f"vulnerabilities.{call}.size() == 0").policy.problems
    assert problem.code == "ArgumentInvalid"
    assert why in problem.message
    assert problem.message.startswith("line 1, column ")


def test_a_mistake_that_only_shows_later_is_an_error_and_never_no_findings() -> None:
    scan = fixture(VULN, "trivy")
    assert failure("vulnerabilities.matching(string('SEVERE')).size() == 0 || true", scan) == "ArgumentInvalid"
    assert failure("vulnerabilities.matching({string('x'): 'y'}).size() == 0 || true", scan) == "ArgumentInvalid"


@pytest.mark.guarantee(12)
@pytest.mark.parametrize(
    "expression",
    [
        "sboms.find(SECRET).size() == 0",
        "sboms.contains('pkg:npm/x', SECRET)",
        "sboms.contains('pkg:npm/x', '>=' + SECRET)",
        "sboms.contains('pkg:npm/x', '1,' + SECRET)",
        "sboms.contains('pkg:npm/x', 'vers:' + SECRET + '/1')",
        "sboms.contains('pkg:semver/x', 'vers:semver/>=1.0.0-' + SECRET + '|>=1.0.1-' + SECRET)",
        "sboms.contains('pkg:' + SECRET + '/x@1')",
        "sboms.contains('pkg:' + SECRET + '/x', 'vers:npm/1')",
        "sboms.licensed(SECRET + ' ').size() == 0",
        "sboms.licensed(['MIT', SECRET + '?']).size() == 0",
        "sboms.lacking(SECRET).size() == 0",
        "vulnerabilities.matching(SECRET).size() == 0",
        "vulnerabilities.matching({SECRET: 'y'}).size() == 0",
        "vulnerabilities.matching({'packages': [SECRET]}).size() == 0",
        "vulnerabilities.matching({'severity': SECRET}).size() == 0",
        "vex.status('CVE-2026-1', SECRET) == ''",
        "SECRET.matches('(' + SECRET)",
        "timestamp(SECRET) < now",
        "duration(SECRET) < duration('1s')",
        "url(SECRET).getHost() == ''",
        "ip(SECRET).family() == 4",
        "quantity(SECRET).isInteger()",
        "semver(SECRET).major() == 1",
        "{'a': 1}[SECRET] == 1",
        "int(SECRET) == 1",
    ],
)
def test_an_error_quotes_nothing_of_what_a_rule_hands_over(expression: str) -> None:
    """It may be somebody's environment value, and what a verdict says is recorded and shown."""
    secret = "string('s3cr') + string('3t')"  # as if from the request: known only when the rule runs
    made = policy(expression.replace("SECRET", f"({secret})"))
    assert made.policy.problems == (), made.policy.problems
    found = judge(made, fixture(SPDX, "spdx-2.3"), fixture(VULN, "trivy"))
    assert found.outcome is Outcome.ERROR, found
    assert "s3cr3t" not in " ".join(reason.message for reason in found.reasons).lower()


# VEX


def test_criticals_that_vex_does_not_clear() -> None:
    expression = "vulnerabilities.matching({'severity': 'CRITICAL', 'unknown': false}).all(f, vex.clears(f))"
    scan = fixture(VULN, "grype")  # by its GHSA name, with the CVE as alias
    cleared = vex({"vulnerability": {"name": CRITICAL}, "products": [{"@id": f"pkg:oci/app@{DIGEST}"}]})
    assert holds(expression, scan, cleared)
    assert not holds(expression, scan, vex({"vulnerability": {"name": "CVE-1"}}))
    other = vex({"vulnerability": {"name": CRITICAL}, "products": [{"@id": "pkg:oci/other"}]})
    assert not holds(expression, scan, other)
    later = vex({"vulnerability": {"name": CRITICAL}, "status": "affected"}, timestamp="2026-01-06T00:00:00Z")
    assert not holds(expression, scan, cleared, later)
    assert not holds(expression, scan, later, cleared)
    part = {"@id": f"pkg:oci/app@{DIGEST}", "subcomponents": [{"@id": f"{LOG4J}@2.14.1"}]}
    assert holds(expression, scan, vex({"vulnerability": {"name": CRITICAL}, "products": [part]}))
    part["subcomponents"] = [{"@id": f"{LOG4J}@2.15.0"}]
    assert not holds(expression, scan, vex({"vulnerability": {"name": CRITICAL}, "products": [part]}))


def test_what_vex_says_of_one_vulnerability() -> None:
    said = vex(
        {"vulnerability": {"name": "CVE-1"}, "products": [{"@id": "pkg:oci/app", "subcomponents": [{"@id": LOG4J}]}]}
    )
    assert holds(f"vex.status('CVE-1', '{LOG4J}@2.14.1') == 'not_affected'", said)
    assert holds("vex.status('CVE-1', 'pkg:npm/x@1') == '' && vex.status('CVE-1') == ''", said)
    assert holds(f"vex.status('CVE-2', '{LOG4J}@2.14.1') == ''", said)
    (problem,) = policy("vex.status('CVE-1', 'log4j') == ''").policy.problems
    assert (problem.code, "no package URL" in problem.message) == ("ArgumentInvalid", True)
    assert failure("vex.status('CVE-1', string('log4j')) == '' || true", said) == "ArgumentInvalid"


def test_the_statements_themselves() -> None:
    said = read(VEX, load("openvex", PREDICATES))
    for expression in (
        "vex.size() == 1 && has(vex[0].timestamp) && vex[0].author != ''",
        "vex[0].statements.exists(s, s.status in ['not_affected', 'fixed'] && s.products.size() > 0)",
        "vex.all(d, d.statements.all(s, s.products.all(p, p.subcomponents.all(c, c.startsWith('pkg:')))))",
    ):
        assert holds(expression, said), expression


def test_what_lies_in_the_future_clears_nothing_yet() -> None:
    expression = "vex.status('CVE-1') == 'not_affected'"
    said = vex({"vulnerability": {"name": "CVE-1"}}, timestamp="2026-01-11T00:00:00Z")
    assert not holds(expression, said)
    assert holds(expression, said, now=NOW + timedelta(days=1))


# SBOMs


def test_packages_of_sboms() -> None:
    spdx, cyclonedx = fixture(SPDX, "spdx-2.3"), fixture(CYCLONEDX, "cyclonedx-1.6")
    for expression in (
        "sboms.contains('pkg:apk/alpine/busybox', '') && sboms.contains('pkg:apk/alpine/busybox')",
        "sboms.contains('pkg:apk/alpine/busybox', '<1.36.1-r30') && !sboms.contains('pkg:apk/alpine/busybox', '<1.0')",
        "!sboms.contains('pkg:apk/alpine/nothing')",
        "sboms[0].contains('pkg:apk/alpine/busybox') && sboms[0].find('pkg:apk/alpine/busybox').size() == 1",
        "sboms.components.size() == sboms.map(s, s.components.size()).sum()",
        "sboms.components.exists(c, c.purl.startsWith('pkg:apk/') && has(c.cpe))",
        "sboms.all(s, has(s.created) && s.tools.exists(t, t.contains('syft')))",
        "sboms.exists(s, s.format == 'SPDX' && s.authors == ['Anchore, Inc'] && s.relationships > 0)",
    ):
        assert holds(expression, spdx, cyclonedx, now=NOW + timedelta(days=365)), expression


def test_licences_of_sboms() -> None:
    spdx = fixture(SPDX, "spdx-2.3")
    for expression in (
        "'GPL-2.0-only' in sboms.licenses() && 'GPL-2.0-only' in sboms[0].licenses()",
        "sboms.components.filter(c, c.name == 'busybox').all(c, c.licenses() == ['GPL-2.0-only'])",
        "sboms.licensed('GPL-*').exists(c, c.name == 'busybox') && sboms.licensed(['LGPL-*']).size() == 0",
        "sboms[0].licensed('gpl-2.0').size() == sboms.licensed('GPL-2.0+').size()",
    ):
        assert holds(expression, spdx), expression
    (problem,) = policy("sboms.licensed('GPL 2').size() == 0").policy.problems
    assert problem.code == "ArgumentInvalid"


def test_a_component_without_a_licence_is_seen() -> None:
    document = load("spdx-2.3")
    document["packages"][1] |= {"licenseDeclared": "NOASSERTION", "licenseConcluded": "NOASSERTION"}
    spdx = read(SPDX, document)
    assert holds("'NOASSERTION' in sboms.licenses() && sboms.lacking('license').size() > 0", spdx)
    assert holds("sboms.lacking('license').all(c, c.licenses() == ['NOASSERTION'] && c.licenses == [])", spdx)


def test_what_components_lack() -> None:
    spdx = fixture(SPDX, "spdx-2.3")
    assert holds("sboms.lacking('identifier').size() == 0 || sboms.lacking('identifier')[0].name != ''", spdx)
    assert holds("sboms.lacking('supplier').size() == sboms.components.size()", spdx)
    assert holds("sboms[0].lacking('version').all(c, !has(c.version))", spdx)
    (problem,) = policy("sboms.lacking('suplier').size() == 0").policy.problems
    assert (problem.code, "version, supplier" in problem.message) == ("ArgumentInvalid", True)


@pytest.mark.parametrize("expression", [
    "sboms.components.size() == 0 || true",
    "sboms[0].components.size() == 0",
    "!sboms.contains('pkg:npm/x')",
    "!sboms[0].contains('pkg:npm/x')",
    "sboms.licenses().size() == 0",
    "sboms[0].licenses().size() == 0",
    "sboms.licensed('GPL-*').size() == 0",
    "sboms.lacking('version').size() == 0",
    "sboms.all(s, s.components.all(c, has(c.version)))",
])  # fmt: skip
def test_an_sbom_without_components_says_nothing(expression: str) -> None:
    bare = fixture(SPDX, "spdx-2.3")
    empty = dataclasses.replace(bare, document=dataclasses.replace(bare.document, components=()))
    assert failure(expression, empty) == "SbomEmpty"


# The image's configurations


def config(platform: str = "linux/amd64", **fields: Any) -> ImageConfig:
    base: dict[str, Any] = {"created": NOW - timedelta(days=3), "user": "65532"}
    return ImageConfig(platform=platform, digest=Digest.of(platform.encode()), **(base | fields))


def test_what_the_configuration_of_an_image_says() -> None:
    one = config(labels=(("team", "shop"),), entrypoint=("/app",), ports=("8080/tcp",), working_dir="/srv")
    for expression in (
        "image.user == '65532' && image.nonRoot",
        "image.labels['team'] == 'shop' && image.labels.team == 'shop' && !('x' in image.labels)",
        "image.created < now",
        "image.age() == duration('72h') && image.age() < duration('73h')",
        "image.configs['linux/amd64'].entrypoint == ['/app'] && image.configs['linux/amd64'].cmd == []",
        "image.configs.all(p, image.configs[p].exposedPorts.all(port, port == '8080/tcp'))",
        "image.configs['linux/amd64'].workingDir == '/srv' && image.configs.size() == 1",
        "image.digest.startsWith('sha256:') && image.registry == 'ghcr.io' && has(image.user)",
    ):
        assert holds(expression, configs=(one,)), expression


def test_what_the_configuration_does_not_say_stays_missing() -> None:
    bare = config(user="", created=None)
    assert holds("!has(image.user) && !has(image.created) && !image.nonRoot && image.labels == {}", configs=(bare,))
    assert holds("!has(image.configs['linux/amd64'].user)", configs=(bare,))
    for expression in ("image.user != 'root'", "image.created < now", "image.age() < duration('1h')"):
        assert failure(expression, configs=(bare,)) == "ExpressionFailed"


def test_what_holds_for_some_platforms_only_is_an_error() -> None:
    one, other = config(), config("linux/arm64", user="0", created=NOW - timedelta(days=30), labels=(("a", "b"),))
    for expression in (
        "image.user == '65532' || true",
        "has(image.user)",
        "image.created < now",
        "image.labels == {}",
    ):
        assert failure(expression, configs=(one, other)) == "PlatformsDiffer"
    assert not holds("image.nonRoot", configs=(one, other))
    assert not holds("image.age() < duration('240h')", configs=(one, other))
    assert holds(
        "image.configs['linux/arm64'].user == '0' && image.configs['linux/amd64'].nonRoot", configs=(one, other)
    )


def test_two_manifests_of_one_platform_are_both_looked_at() -> None:
    two = (config(), dataclasses.replace(config(), digest=Digest.of(b"other"), user="0"))
    for configs in itertools.permutations(two):
        assert not holds("image.configs.all(p, image.configs[p].nonRoot)", configs=configs)


def test_an_image_of_the_future_is_not_new() -> None:
    assert holds("image.age() == duration('0s')", configs=(config(created=NOW + timedelta(minutes=4)),))
    late = (config(created=NOW + timedelta(minutes=6)),)
    for expression in ("image.age() < duration('1h')", "image.created > timestamp('2026-01-01T00:00:00Z')"):
        assert failure(expression, configs=late) == "ExpressionFailed"
    assert holds("!has(image.created) && !has(image.configs['linux/amd64'].created)", configs=late)


@pytest.mark.parametrize(
    ("error", "unavailable"),
    [(Unavailable("RegistryUnavailable", "no answer"), True), (Unacceptable("ConfigMalformed", "no JSON"), False)],
)
@pytest.mark.parametrize("expression", ["image.user == '1' || true", "image.configs.size() == 1", "has(image.created)"])
def test_why_a_configuration_could_not_be_had_is_what_the_rule_says_and_no_other_is_hidden(
    expression: str, error: AssayError, unavailable: bool
) -> None:
    made = policy(expression, "size(signatures) == 1", "image.digest == 'x'")
    found = judge(made, configs=error)
    assert [reason.rule for reason in found.violations] == ["validations[2]"]
    assert [reason.code for reason in (found.unavailable if unavailable else found.unacceptable)] == [error.code]


def test_a_remembered_error_holds_no_request() -> None:
    """It is raised for every request that meets it: with a traceback it would hold what each was about."""
    error = Unavailable("RegistryUnavailable", "no answer")
    for _ in range(3):
        judge(policy("image.nonRoot"), configs=error)
    assert error.__traceback__ is None


def test_a_policy_says_whether_it_reads_configurations() -> None:
    for expression in (
        "image.user == '1'",
        "image.configs.size() > 0",
        "image.age() < duration('1h')",
        "has(image.created)",
        "[image].all(i, i.nonRoot)",
        "variables.u == '1'",
    ):
        variables = [{"name": "u", "expression": "image.user"}]
        assert policy(expression, variables=variables).reads_configs, expression
    for expression in ("image.digest != ''", "size(signatures) == 1", "image.tag == '1'"):
        assert not policy(expression).reads_configs, expression
    noted = [{"key": "age", "valueExpression": "string(image.age())"}]
    assert policy("true", auditAnnotations=noted).reads_configs


def test_a_finding_is_what_the_scanner_found() -> None:
    report = VulnerabilityReport("Trivy", "t", "", None, None, ("a",), (Finding("X", Severity.UNKNOWN, score=9.8),))
    assert holds("vulnerabilities[0].findings[0].severity == 'CRITICAL'", attestation(VULN, document=report))


def test_a_key_has_no_issuer_and_a_certificate_no_key() -> None:
    """`s.issuer != …` over a key would be true of an empty text, and says nothing of who signed."""
    made = policy("signatures.all(s, has(s.key) && !has(s.issuer) && !has(s.subject) && s.claims == {})", entries=[])
    assert judge(made).outcome is Outcome.SATISFIED
    made = policy("signatures.all(s, s.issuer != 'https://evil.example')", entries=[])
    assert [reason.code for reason in judge(made).unacceptable] == ["ExpressionFailed"]
    keyless = check(made.policy, evidence(signature("ann@acme.example")))[1]
    found = evaluate_evidence_rules(made, evidence=keyless, image=IMAGE, now=NOW)
    assert found.outcome is Outcome.SATISFIED
    made = policy("signatures.all(s, s.identity == 'ann@acme.example (https://issuer)' && !has(s.key))", entries=[])
    assert evaluate_evidence_rules(made, evidence=keyless, image=IMAGE, now=NOW).outcome is Outcome.SATISFIED
