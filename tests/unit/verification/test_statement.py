"""What a statement is about is its own subject's word, and nothing else's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.settings import DocumentSettings
from controller.verification.statement import MAX_SUBJECTS
from tests.unit.verification.evidence import (
    IMAGE,
    OTHER_IMAGE,
    Signer,
    artifact,
    counted,
    judge,
    only_rejection,
    statement,
)

PREDICATE = "https://example.test/predicate/v1"


def changed(**fields: Any) -> dict[str, Any]:
    return statement(predicate_type=PREDICATE) | fields


def test_a_predicate_type_as_long_as_may_be_counts() -> None:
    signer = Signer()
    longest = signer.envelope(changed(predicateType="x" * 512))
    assert counted(judge(artifact(longest), signer.authority())) == (0, 1)


@pytest.mark.parametrize(
    ("content", "code", "unjudged"),
    [
        (changed(subject=[]), "StatementMalformed", True),
        (changed(subject=None), "StatementMalformed", True),
        (changed(subject={"digest": {"sha256": IMAGE.hex}}), "StatementMalformed", True),
        (changed(subject=[{"name": str(IMAGE)}]), "StatementMalformed", True),
        (changed(subject=[{"digest": {}}]), "StatementMalformed", True),
        (changed(subject=[{"digest": {"sha256": [IMAGE.hex]}}]), "StatementMalformed", True),
        (changed(subject=[{"digest": {"sha256": IMAGE.hex, "sha512": 7}}]), "StatementMalformed", True),
        (changed(subject=[{"digest": {"sha256": OTHER_IMAGE.hex}}]), "SubjectMismatch", False),
        (changed(subject=[{"digest": {"sha256": IMAGE.hex.upper()}}]), "SubjectMismatch", False),
        (changed(subject=[{"digest": {"sha256": IMAGE.hex[:-1]}}]), "SubjectMismatch", False),
        (changed(subject=[{"digest": {"sha256": ""}, "name": IMAGE.hex}]), "SubjectMismatch", False),
        (changed(subject=[{"digest": {"sha512": "0" * 128}}]), "DigestAlgorithmUnsupported", True),
        (changed(subject=[{"digest": {"SHA256": IMAGE.hex}}]), "DigestAlgorithmUnsupported", True),
        (changed(predicateType=""), "StatementMalformed", True),
        (changed(predicateType=7), "StatementMalformed", True),
        (changed(predicateType="x" * 513), "StatementMalformed", True),
        (changed(_type="https://in-toto.io/Statement/v2"), "StatementTypeUnsupported", True),
        (changed(_type=None), "StatementTypeUnsupported", True),
        (changed(_type={}), "StatementTypeUnsupported", True),
        (changed(_type=["https://in-toto.io/Statement/v1"]), "StatementTypeUnsupported", True),
        (b"[]", "StatementMalformed", True),
        (b"not json", "JsonMalformed", True),
        (json.dumps(changed()).encode() + b" {}", "JsonMalformed", True),
    ],
)
def test_signed_statement_that_is_not_about_the_image_does_not_count(content: Any, code: str, unjudged: bool) -> None:
    signer = Signer()
    assert only_rejection(judge(artifact(signer.envelope(content)), signer.authority())) == (code, unjudged)


def test_duplicate_key_that_would_hide_the_subject_is_refused() -> None:
    signer = Signer()
    hidden = json.dumps(statement()).encode()[:-1] + b', "subject": [{"digest": {"sha256": "' + b"0" * 64 + b'"}}]}'
    assert only_rejection(judge(artifact(signer.envelope(hidden)), signer.authority())) == ("JsonMalformed", True)


@pytest.mark.parametrize("version", ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"])
def test_image_may_be_any_one_of_the_subjects(version: str) -> None:
    signer = Signer()
    others = [{"name": str(n), "digest": {"sha256": "0" * 64}} for n in range(3)]
    subjects = [*others, {"digest": {"sha512": "0" * 128}}, {"digest": {"sha256": IMAGE.hex}}]
    content = changed(_type=version, subject=subjects)
    assert counted(judge(artifact(signer.envelope(content)), signer.authority())) == (0, 1)


@pytest.mark.guarantee(4)
def test_predicate_type_is_the_signed_one_whatever_an_annotation_says() -> None:
    signer = Signer()
    found = artifact(signer.envelope(changed()))
    labelled = type(found)(
        found.kind,
        found.media_type,
        found.content,
        found.digest,
        found.location,
        (("dev.sigstore.bundle.predicateType", "https://spdx.dev/Document"),),
    )
    (attestation,) = judge(labelled, signer.authority()).attestations
    assert attestation.predicate_type == PREDICATE


@pytest.mark.guarantee(10)
def test_statement_past_a_bound_is_an_error_with_its_name() -> None:
    signer = Signer()
    small = DocumentSettings(document_max_bytes=1000, document_max_depth=8)
    long = artifact(signer.envelope(changed(predicate="x" * 1000)))
    deep = artifact(signer.envelope(changed(predicate=json.loads("[" * 9 + "]" * 9))))
    for found in (long, deep):
        assert only_rejection(judge(found, signer.authority(), limits=small)) == ("LimitExceeded", True)
    many = changed(subject=[{"digest": {"sha256": IMAGE.hex}}] * 4097)
    assert only_rejection(judge(artifact(signer.envelope(many)), signer.authority())) == ("LimitExceeded", True)


def test_as_many_subjects_as_may_be_count_and_one_more_does_not() -> None:
    signer = Signer()
    others = [{"digest": {"sha256": f"{number:064x}"}} for number in range(MAX_SUBJECTS - 1)]
    own = {"digest": {"sha256": IMAGE.hex}}
    most = changed(subject=[*others, own])
    assert counted(judge(artifact(signer.envelope(most)), signer.authority())) == (0, 1)
    more = changed(subject=[*others, own, own])
    assert only_rejection(judge(artifact(signer.envelope(more)), signer.authority()))[1]


def test_another_algorithm_beside_a_sha256_of_something_else_is_another_subject() -> None:
    signer = Signer()
    subjects = [{"digest": {"sha512": "0" * 128}}, {"digest": {"sha256": OTHER_IMAGE.hex}}]
    found = judge(artifact(signer.envelope(changed(subject=subjects))), signer.authority())
    assert only_rejection(found) == ("SubjectMismatch", False)
