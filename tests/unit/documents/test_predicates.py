"""VSA, SCAI, releases and test results in their forms; a type that is not known stays data."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from controller.errors import LimitExceeded, Unacceptable
from controller.model.documents import Outcome, Resource
from tests.unit.documents.predicates import load, parse

VSA = "https://slsa.dev/verification_summary/v1"
SCAI = "https://in-toto.io/attestation/scai/v0.3"
RELEASE = "https://in-toto.io/attestation/release/v0.1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


def test_a_verification_summary() -> None:
    found = parse(VSA, load("vsa-1"))
    assert (found.verifier, found.passed) == ("https://example.com/publication_verifier", True)
    assert found.verified_at == datetime(1985, 4, 12, 23, 20, 50, 520000, tzinfo=UTC)
    assert found.resource_uri == "https://example.com/example-1.2.3.tar.gz"
    assert found.policy.uri == "https://example.com/example_tarball.policy"
    assert (found.levels, found.slsa_version, len(found.inputs)) == (("SLSA_BUILD_LEVEL_3",), "1.0", 1)
    assert dict(found.dependency_levels)["SLSA_BUILD_LEVEL_2"] == 7


def test_a_failed_verification_is_not_taken_for_a_passed_one() -> None:
    assert parse(VSA, load("vsa-1") | {"verificationResult": "FAILED"}).passed is False


@pytest.mark.parametrize("type_", [SCAI, "https://in-toto.io/attestation/scai/attribute-report/v0.2"])
def test_an_attribute_report(type_: str) -> None:
    found = parse(type_, load("scai-0.3"))
    first, second = found.attributes
    assert (first.name, first.conditions) == ("WITH_STACK_PROTECTION", {"flags": "-fstack-protector*"})
    assert first.target is None
    assert first.evidence.media_type == "application/x.dsse+json"
    assert second.target == Resource(uri="http://example.com/enclaves/enclave.signed.so", name="enclave.signed.so")
    assert found.producer.uri == "file:///usr/bin/gcc"


def test_a_release_of_github() -> None:
    found = parse(RELEASE, load("release-github"))
    assert (found.purl, found.package_id) == ("pkg:github/acme/app@v1.0.0", "2002")
    assert (found.repository, found.tag) == ("acme/app", "v1.0.0")


def test_a_test_result() -> None:
    found = parse(TEST_RESULT, load("test-result-0.1"))
    assert found.outcome is Outcome.WARNED
    assert found.warned == ("build (3.x, ubuntu-latest, lint)",)
    assert (len(found.passed), found.failed) == (2, ())
    assert found.configuration[0].digests == (("gitBlob", "ebe4add40f63c3c98bc9b32ff1e736f04120b023"),)


@pytest.mark.parametrize(
    "type_",
    [
        "https://example.com/Custom",
        "https://cosign.sigstore.dev/attestation/v1",
        "https://slsa.dev/verification_summary/v0.2",
        f"{VSA}x",
        "https://in-toto.io/attestation/link/v0.3",
    ],
)
def test_a_predicate_of_another_type_stays_data(type_: str) -> None:
    assert parse(type_, {"Data": "anything"}) is None
    assert parse(type_, 7) is None


@pytest.mark.parametrize(
    ("type_", "document"),
    [
        (VSA, {}),
        (VSA, load("vsa-1") | {"verificationResult": "passed"}),
        (VSA, load("vsa-1") | {"verificationResult": True}),
        (VSA, load("vsa-1") | {"verifier": {}}),
        (VSA, load("vsa-1") | {"policy": None}),
        (VSA, load("vsa-1") | {"resourceUri": ""}),
        (VSA, load("vsa-1") | {"verifiedLevels": "SLSA_BUILD_LEVEL_3"}),
        (VSA, load("vsa-1") | {"dependencyLevels": {"SLSA_BUILD_LEVEL_3": -1}}),
        (VSA, load("vsa-1") | {"dependencyLevels": {"SLSA_BUILD_LEVEL_3": "many"}}),
        (VSA, load("vsa-1") | {"dependencyLevels": {"SLSA_BUILD_LEVEL_3": True}}),
        (VSA, load("vsa-1") | {"dependencyLevels": {"SLSA_BUILD_LEVEL_3": "9" * 5000}}),
        (SCAI, {}),
        (SCAI, {"attributes": []}),
        (SCAI, {"attributes": [{}]}),
        (SCAI, {"attributes": [{"attribute": "A", "evidence": "x"}]}),
        (RELEASE, {}),
        (RELEASE, {"purl": "app@1"}),
        (RELEASE, {"purl": "pkg:github/acme/app"}),
        (TEST_RESULT, {}),
        (TEST_RESULT, {"result": "OK"}),
        (TEST_RESULT, {"result": "PASSED", "failedTests": "none"}),
        (TEST_RESULT, []),
    ],
)
def test_a_malformed_document_is_an_error(type_: str, document: Any) -> None:
    with pytest.raises(Unacceptable) as raised:
        parse(type_, document)
    assert raised.value.code == "DocumentMalformed"


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("type_", "document"),
    [
        (VSA, load("vsa-1") | {"inputAttestations": [{}] * 11}),
        (SCAI, {"attributes": [{"attribute": "A"}] * 11}),
        (TEST_RESULT, {"result": "PASSED", "passedTests": ["a"] * 6, "failedTests": ["b"] * 5}),
        (TEST_RESULT, {"result": "PASSED", "configuration": [{}] * 11}),
    ],
)
def test_lists_are_bounded(type_: str, document: Any) -> None:
    with pytest.raises(LimitExceeded) as raised:
        parse(type_, document, document_max_components=10)
    assert raised.value.setting == "document_max_components"
