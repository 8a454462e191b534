"""From signed bytes to a verdict over documents: what travels back, until when it is true, and what is an Error."""

from __future__ import annotations

import pickle
from datetime import timedelta
from typing import Any

import pytest

from controller.documents.dates import CLOCK_SKEW
from controller.errors import Unavailable
from controller.model.decision import Outcome
from controller.model.evidence import EvidenceSet
from controller.model.image import ConfigBlob, RawConfigs, ResolvedImage
from controller.model.reference import Digest, Reference
from controller.policy.compiled import compile_policy
from controller.policy.evaluation import evaluate_request_rules
from controller.policy.parse import parse_policy
from controller.review.ports import Assessment, AssessmentJob
from controller.settings import DocumentSettings, PolicySettings
from controller.workers.assessment import assess
from tests.unit.documents.predicates import load
from tests.unit.verification.evidence import IMAGE, NOW, Signer, artifact, statement

SIGNER = Signer()
VULN, VEX, SLSA = (
    "https://cosign.sigstore.dev/attestation/vuln/v1",
    "https://openvex.dev/ns",
    "https://slsa.dev/provenance/v1",
)
REFERENCE = Reference.parse(f"registry.test/acme/app@{IMAGE}")
RESOLVED = ResolvedImage(REFERENCE, IMAGE, "application/vnd.oci.image.manifest.v1+json", 1)
FRESH = "vulnerabilities.all(r, now - r.scannedAt < duration('720h'))"
DAY = timedelta(days=1)


def job(expression: str, *, configs: RawConfigs = (), now: Any = NOW, **attested: Any) -> AssessmentJob:
    """What a worker gets: one rule, and the predicates of these types of `attestations`, signed."""
    uris = {"Vulnerability": VULN, "OpenVEX": VEX, "SLSAProvenance": SLSA}
    made = [
        artifact(SIGNER.envelope(statement(predicate_type=uris[word], predicate=predicate)))
        for word, predicate in attested.items()
    ]
    entries = [{"name": word.lower(), "type": word, "authorities": ["release"]} for word in attested]
    spec: dict[str, Any] = {
        "authorities": [{"name": "release", "key": {"pem": SIGNER.pem}, "transparencyLog": "Optional"}],
        "validations": [{"expression": expression}],
    } | ({"attestations": entries} if entries else {"authorities": []})
    policy = parse_policy(
        {
            "apiVersion": "assay.dev/v1alpha1",
            "kind": "ClusterEvidencePolicy",
            "metadata": {"name": "documents"},
            "spec": spec,
        }
    )
    evidence = EvidenceSet(IMAGE, REFERENCE.name, tuple(made), NOW)
    return AssessmentJob(RESOLVED, evidence, policy, (), now, configs)


def assessed(expression: str, **parts: Any) -> Assessment:
    """As it comes back from a worker."""
    made = assess(job(expression, **parts), documents=DocumentSettings(), policy=PolicySettings())
    return pickle.loads(pickle.dumps(made))  # noqa: S301 - made one line before


def codes(found: Assessment) -> list[str]:
    return [reason.code for reason in found.reasons]


def vex(at: Any, **changes: Any) -> dict[str, Any]:
    said = {"vulnerability": {"name": "CVE-1"}, "status": "fixed", "timestamp": at.isoformat()} | changes
    return {"@context": VEX, "statements": [said]}


def test_a_verdict_is_true_until_what_a_statement_says_of_the_future_has_come() -> None:
    rule, tomorrow = "vex.status('CVE-1') == 'fixed'", vex(NOW + DAY)
    found = assessed(rule, OpenVEX=tomorrow)
    assert (found.outcome, found.valid_until) == (Outcome.VIOLATED, NOW + DAY)
    found = assessed(rule, OpenVEX=tomorrow, now=NOW + DAY)
    assert (found.outcome, found.valid_until) == (Outcome.SATISFIED, None)


def test_a_verdict_is_true_until_a_scan_that_is_dated_ahead_was_made() -> None:
    scan = load("trivy") | {"CreatedAt": (NOW + DAY).isoformat()}
    rule = "vulnerabilities.all(r, has(r.scannedAt))"
    found = assessed(rule, Vulnerability=scan)
    assert (found.outcome, found.valid_until) == (Outcome.VIOLATED, NOW + DAY - CLOCK_SKEW)
    found = assessed(rule, Vulnerability=scan, now=NOW + DAY - CLOCK_SKEW)
    assert (found.outcome, found.valid_until) == (Outcome.SATISFIED, None)


def test_documents_travel_back_only_for_rules_that_are_judged_at_each_request() -> None:
    once, each = (
        assessed("vulnerabilities.size() == 1", Vulnerability=load("trivy")),
        assessed(FRESH, Vulnerability=load("trivy")),
    )
    assert [a.document for a in once.evidence.attestations] == [None]
    assert [a.document.format for a in each.evidence.attestations] == ["Trivy"]


@pytest.mark.parametrize(("days", "outcome"), [(10, Outcome.SATISFIED), (100, Outcome.VIOLATED)])
def test_how_old_a_scan_is_is_judged_at_each_request_from_what_came_back(days: int, outcome: Outcome) -> None:
    found = assessed(FRESH, Vulnerability=load("trivy"))
    assert found.outcome is Outcome.SATISFIED
    scanned = found.evidence.attestations[0].document.scanned_at
    compiled = compile_policy(job(FRESH, Vulnerability={}).policy)
    findings = evaluate_request_rules(
        compiled,
        evidence=found.evidence,
        image=RESOLVED,
        use=None,
        request=None,
        namespace=None,
        now=scanned + days * DAY,
    )
    assert findings.outcome is outcome


def test_a_scan_by_an_unknown_tool_is_an_error_for_the_rule_that_reads_it() -> None:
    odd = {"scanner": {"result": {"odd": 1}}}
    assert assessed("image.registry == 'registry.test'", Vulnerability=odd).outcome is Outcome.SATISFIED
    found = assessed("vulnerabilities.size() > 0 || true", Vulnerability=odd)
    assert (found.outcome, codes(found)) == (Outcome.ERROR, ["DocumentAbsent"])


def test_provenance_of_a_version_that_is_not_known_is_an_error_for_the_rule_that_reads_it() -> None:
    made = job("provenances.size() > 0", SLSAProvenance=load("slsa-1-cloud-build"))
    later = artifact(SIGNER.envelope(statement(predicate_type="https://slsa.dev/provenance/v9", predicate={})))
    evidence = EvidenceSet(IMAGE, REFERENCE.name, (*made.evidence.artifacts, later), NOW)
    made = AssessmentJob(RESOLVED, evidence, made.policy, (), NOW)
    found = assess(made, documents=DocumentSettings(), policy=PolicySettings())
    assert (found.outcome, codes(found)) == (Outcome.ERROR, ["DocumentAbsent"])


def config(content: bytes) -> tuple[ConfigBlob, ...]:
    return (ConfigBlob(None, IMAGE, Digest.of(content), content),)


def test_configurations_are_read_by_the_worker_and_travel_back_for_the_clock() -> None:
    old = config(b'{"created": "2099-12-30T00:00:00Z", "config": {"User": "1"}}')
    found = assessed("image.nonRoot", configs=old)
    assert (found.outcome, found.configs) == (Outcome.SATISFIED, ())
    named = {"digest": str(old[0].digest), "manifest": str(IMAGE), "platform": None}
    assert found.used["configs"] == [named | {"created": "2099-12-30T00:00:00Z", "user": "1"}]
    found = assessed("image.age() < duration('72h')", configs=old)
    assert isinstance(found.configs, tuple)
    assert [c.user for c in found.configs] == ["1"]


def test_a_verdict_is_true_until_an_image_that_is_dated_ahead_was_made() -> None:
    late = config(b'{"created": "2100-01-02T00:00:00Z"}')
    found = assessed("has(image.created)", configs=late)
    assert (found.outcome, found.valid_until) == (Outcome.VIOLATED, NOW + DAY - CLOCK_SKEW)
    assert assessed("has(image.created)", configs=late, now=NOW + DAY).outcome is Outcome.SATISFIED


def test_a_configuration_that_cannot_be_read_or_had_is_an_error_of_its_kind() -> None:
    malformed = config(b"{}}")
    found = assessed("image.nonRoot || true", configs=malformed)
    assert codes(found) == ["ConfigMalformed"]
    assert found.used["configs"] == [{"digest": str(malformed[0].digest), "manifest": str(IMAGE), "platform": None}]
    away = Unavailable("RegistryUnavailable", "no answer")
    found = assessed("image.nonRoot || true", configs=away)
    assert (codes(found), found.error_kind) == (["RegistryUnavailable"], "Unavailable")
    assert "configs" not in found.used
