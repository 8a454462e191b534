"""Requirements: counted by signer, never met by nothing, and explained by what was found."""

from __future__ import annotations

import random
from typing import Any

import pytest

from controller.model.decision import ErrorKind, Outcome
from controller.model.evidence import VerifiedEvidence
from controller.policy.requirements import check
from tests.unit.policy.make import SPDX, attestation, authority, evidence, policy, rejection, signature

TWO = {"authorities": [authority("release"), authority("security")]}


def outcome(found: VerifiedEvidence, **fields: Any) -> Outcome:
    read = policy(**fields)
    assert read.problems == ()
    return check(read, found)[0].outcome


def signed(minimum: int, distinct: str, *found: Any) -> Outcome:
    return outcome(
        evidence(*found),
        **TWO,
        signatures={"authorities": ["release", "security"], "minimum": minimum, "distinct": distinct},
    )


@pytest.mark.guarantee(2)
def test_nothing_satisfies_no_requirement() -> None:
    assert outcome(evidence()) is Outcome.VIOLATED
    sbom = [{"name": "sbom", "type": "SBOM", "authorities": ["release"]}]
    assert outcome(evidence(), signatures=None, attestations=sbom) is Outcome.VIOLATED


def test_a_signature_of_the_authority_satisfies() -> None:
    assert outcome(evidence(signature())) is Outcome.SATISFIED


def test_a_signature_of_another_authority_of_the_policy_does_not_count() -> None:
    assert outcome(evidence(signature(authority="security")), **TWO) is Outcome.VIOLATED


@pytest.mark.guarantee(4)
def test_an_attestation_never_stands_for_a_signature_nor_a_signature_for_an_attestation() -> None:
    assert outcome(evidence(attestation())) is Outcome.VIOLATED
    sbom = [{"name": "sbom", "type": "SBOM", "authorities": ["release"]}]
    assert outcome(evidence(signature()), signatures=None, attestations=sbom) is Outcome.VIOLATED


@pytest.mark.guarantee(4)
@pytest.mark.parametrize("distinct", ["Signer", "Authority"])
def test_one_signer_counts_once_however_many_authorities_and_signatures(distinct: str) -> None:
    assert (
        signed(2, distinct, signature("k1"), signature("k1", authority="security"), signature("k1")) is Outcome.VIOLATED
    )


@pytest.mark.guarantee(4)
def test_one_identity_counts_once_whatever_its_certificates_claim() -> None:
    twice = [signature("a@b", claims={"sourceRepositoryRef": ref}) for ref in ("refs/tags/1", "refs/tags/2")]
    assert signed(2, "Signer", *twice) is Outcome.VIOLATED


def test_two_signers_of_one_authority_are_two_signers_and_one_authority() -> None:
    two = [signature("k1"), signature("k2")]
    found = evidence(*two)
    both = ["release", "security"]
    assert outcome(found, **TWO, signatures={"authorities": both, "minimum": 2}) is Outcome.SATISFIED
    assert (
        outcome(found, **TWO, signatures={"authorities": both, "minimum": 2, "distinct": "Authority"})
        is Outcome.VIOLATED
    )


def test_authorities_are_matched_with_signers_as_well_as_can_be() -> None:
    # k1 satisfies both; only if it stands for `security` can k2 stand for `release`.
    assert (
        signed(2, "Authority", signature("k1"), signature("k1", authority="security"), signature("k2"))
        is Outcome.SATISFIED
    )


@pytest.mark.guarantee(7)
def test_order_never_matters() -> None:
    found = [
        signature("k1"),
        signature("k1", authority="security"),
        signature("k2"),
        rejection(),
        rejection("x", location="b"),
    ]
    fields = {**TWO, "signatures": {"authorities": ["release", "security"], "minimum": 3}}
    expected = check(policy(**fields), evidence(*found))[0]
    for seed in range(10):
        random.Random(seed).shuffle(found)  # noqa: S311 - a test's order
        shuffled = check(policy(**fields), evidence(*found))[0]
        assert (shuffled.outcome, {*shuffled.reasons[0].found}) == (expected.outcome, {*expected.reasons[0].found})


@pytest.mark.parametrize(
    ("type_", "predicate_type", "expected"),
    [
        ("SBOM", SPDX, True),
        ("SBOM", f"{SPDX}/v2.3", True),
        ("SBOM", "https://cyclonedx.org/bom", True),
        ("SBOM", "https://cyclonedx.org/bom/v1.6", True),
        ("SBOM", "https://cyclonedx.org/schema", True),
        ("SPDX", "https://cyclonedx.org/bom", False),
        ("CycloneDX", SPDX, False),
        ("SBOM", f"{SPDX}Evil", False),
        ("SBOM", f"{SPDX}/evil", False),
        ("SLSAProvenance", "https://slsa.dev/provenance/v1", True),
        ("SLSAProvenance", "https://slsa.dev/provenance/v0.2", True),
        ("OpenVEX", "https://openvex.dev/ns/v0.2.0", True),
        ("Vulnerability", "https://cosign.sigstore.dev/attestation/vuln/v1", True),
        ("Vulnerability", "cosign.sigstore.dev/attestation/vuln/v1", True),
        ("VSA", "https://slsa.dev/verification_summary/v1", True),
        ("https://example.com/Approval", "https://example.com/Approval", True),
        ("https://example.com/Approval", "https://example.com/Approval/v1", False),
    ],
)
def test_types_are_met_by_their_uris_and_no_others(type_: str, predicate_type: str, *, expected: bool) -> None:
    entry = [{"name": "x", "type": type_, "authorities": ["release"]}]
    satisfied = outcome(evidence(attestation(predicate_type)), signatures=None, attestations=entry)
    assert (satisfied is Outcome.SATISFIED) is expected


def test_one_statement_counts_once_however_often_it_was_found() -> None:
    entry = [{"name": "x", "type": "SBOM", "authorities": ["release"], "minimum": 2}]
    twice = evidence(attestation(statement="a"), attestation(statement="a"))
    assert outcome(twice, signatures=None, attestations=entry) is Outcome.VIOLATED
    two = evidence(attestation(statement="a"), attestation(statement="b"))
    assert outcome(two, signatures=None, attestations=entry) is Outcome.SATISFIED


@pytest.mark.guarantee(5)
def test_rules_get_only_what_met_a_requirement_under_its_name() -> None:
    entries = [
        {"name": "any", "type": "SBOM", "authorities": ["release"]},
        {"name": "spdx", "type": "SPDX", "authorities": ["release"]},
    ]
    found = evidence(
        signature(),
        signature(authority="security"),
        attestation(),
        attestation("https://example.com/x"),
        attestation(authority="security"),
    )
    selected = check(policy(**TWO, attestations=entries), found)[1]
    assert [s.proof.authority for s in selected.signatures] == ["release"]
    assert [(a.name, a.proof.authority) for a in selected.attestations] == [("any", "release"), ("spdx", "release")]
    assert check(policy(**TWO, signatures=None, attestations=entries), found)[1].signatures == ()


@pytest.mark.guarantee(6)
def test_what_could_not_be_judged_makes_an_unmet_requirement_an_error_and_a_met_one_nothing() -> None:
    junk = rejection("is malformed", unjudged=True)
    findings = check(policy(), evidence(junk))[0]
    assert (findings.outcome, findings.error_kind) == (Outcome.ERROR, ErrorKind.UNACCEPTABLE)
    assert outcome(evidence(junk, signature())) is Outcome.SATISFIED
    assert outcome(evidence(rejection("is by a stranger"))) is Outcome.VIOLATED
    foreign = rejection("is malformed", unjudged=True, authority="security")
    assert outcome(evidence(foreign), **TWO) is Outcome.VIOLATED
    assert outcome(evidence(rejection("is malformed", unjudged=True, authority=""))) is Outcome.ERROR


@pytest.mark.guarantee(7)
def test_a_policy_with_problems_is_an_error_and_selects_nothing() -> None:
    read = policy(match={"images": ["nginx"]})
    findings, selected = check(read, evidence(signature()))
    assert (findings.outcome, findings.error_kind) == (Outcome.ERROR, ErrorKind.UNACCEPTABLE)
    assert "spec.match.images[0]" in findings.reasons[0].message
    assert selected.signatures == ()


def test_the_reason_says_what_was_expected_found_and_to_do() -> None:
    read = policy()
    found = evidence(rejection("is signed by another key"), rejection("is signed by another key", authority=""))
    (reason,) = check(read, found)[0].reasons
    assert (reason.code, reason.rule) == ("SignatureNotTrusted", "signatures")
    assert reason.expected.startswith("1 signature of release (key sha256:")
    assert reason.found == ("tag x: is signed by another key",)
    assert "cosign sign" in reason.fix
    (nothing,) = check(read, evidence())[0].reasons
    assert (nothing.code, nothing.found) == ("SignatureMissing", ("nothing",))
    two = {"authorities": ["release", "security"], "minimum": 2}
    (few,) = check(policy(**TWO, signatures=two), evidence(signature()))[0].reasons
    assert (few.code, few.found) == ("SignaturesTooFew", ("a signature by key k1 counts for release",))


def test_a_reason_stays_short_whatever_was_found() -> None:
    junk = [rejection(f"{i}" + "x" * 5000, location=f"referrer {i}") for i in range(200)]
    (reason,) = check(policy(), evidence(*junk))[0].reasons
    assert len(reason.found) == 9
    assert reason.found[-1] == "and 192 more"
    assert max(map(len, reason.found)) <= 400


def test_an_attestation_of_another_type_is_said_to_be_one() -> None:
    entry = [{"name": "sbom", "type": "SBOM", "authorities": ["release"]}]
    (reason,) = check(policy(signatures=None, attestations=entry), evidence(attestation("https://example.com/x")))[
        0
    ].reasons
    assert (reason.code, reason.rule) == ("AttestationNotTrusted", "attestations[sbom]")
    assert reason.found == ("an attestation https://example.com/x by key k1 is of another type",)
