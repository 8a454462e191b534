"""Documents that were made to hurt the index: each is put down with its reason, and nothing else suffers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from controller.inventory.index import reading, statements
from controller.inventory.index.contents import MAX_NAME, Contents, key_of
from controller.settings import DocumentSettings
from tests.support.attested import CYCLONEDX, bundle, cyclonedx, envelope, spdx

LIMITS = DocumentSettings(document_max_bytes=200_000, document_max_components=50)


def read(content: bytes) -> Contents:
    return reading.read(content, LIMITS)


def dsse(payload: bytes) -> bytes:
    encoded = base64.b64encode(payload).decode()
    return json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": encoded, "signatures": []}).encode()


def listing(*components: Any) -> bytes:
    return envelope(cyclonedx(*components), CYCLONEDX)


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "DocumentMalformed"),
        (b"\xff\xfe", "DocumentMalformed"),
        (b"[]", "DocumentMalformed"),
        (b"null", "DocumentMalformed"),
        (b'{"a": 1, "a": 2}', "DocumentMalformed"),
        (b'{"a": NaN}', "DocumentMalformed"),
        (b'{"a": "\\ud800"}', "DocumentMalformed"),
        (b"[" * 100_000, "LimitExceeded"),
        (b'{"a":' * 100_000, "LimitExceeded"),
        (b" " * 1_500_000, "LimitExceeded"),
        (b'{"dsseEnvelope": []}', "DocumentMalformed"),
        (b'{"payload": 7, "payloadType": "x"}', "DocumentMalformed"),
        (b'{"payload": "!", "payloadType": "x"}', "DocumentMalformed"),
        (dsse(b"no JSON"), "DocumentMalformed"),
        (dsse(b" " * 250_000 + b"{}"), "LimitExceeded"),
        (dsse(b'{"predicateType": ["x"]}'), "DocumentMalformed"),
        (dsse(json.dumps({"predicateType": "x" * 600}).encode()), "DocumentMalformed"),
        (envelope({"packages": []}), "DocumentMalformed"),
        (envelope({"spdxVersion": "SPDX-2.3", "packages": {}}), "DocumentMalformed"),
        (envelope(spdx(*(f"pkg:npm/p{number}" for number in range(60)))), "LimitExceeded"),
        (listing({"type": "library", "name": "x", "purl": "pkg:"}), "DocumentMalformed"),
    ],
)
def test_guarantee_10_what_cannot_be_read_is_told_by_its_code(content: bytes, problem: str) -> None:
    found = read(content)
    assert found.problem == problem
    assert found.components == ()


@pytest.mark.guarantee(10)
def test_guarantee_10_names_of_any_length_have_an_entry_of_bounded_length() -> None:
    long = "n" * 100_000
    (one,) = read(listing({"type": "library", "name": long, "version": "1"})).components
    (other,) = read(listing({"type": "library", "name": f"{long}x", "version": "1"})).components
    assert one.name == long
    assert max(len(part.encode()) for part in one.package) <= MAX_NAME
    assert one.package != other.package


@pytest.mark.guarantee(10)
def test_guarantee_10_subjects_are_bounded_and_only_digests_are_taken() -> None:
    subjects = [{"digest": {"sha256": f"{number:064x}"}} for number in range(statements.MAX_SUBJECTS + 10)]
    odd: list[Any] = [7, None, {}, {"digest": None}, {"digest": {"sha256": "ZZ"}}, {"digest": {"sha512": "00"}}]
    value = {"predicateType": "https://example.com/x", "subject": odd + subjects, "predicate": {}}
    found = reading.read(dsse(json.dumps(value).encode()), DocumentSettings())
    assert len(found.subjects) == statements.MAX_SUBJECTS - len(odd)
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in found.subjects)


def test_text_that_a_database_cannot_hold_is_marked() -> None:
    (found,) = read(listing({"type": "library", "name": "a\0b", "version": "1\0"})).components
    assert (found.name, found.version) == ("a\N{REPLACEMENT CHARACTER}b", "1\N{REPLACEMENT CHARACTER}")


def test_a_name_is_no_other_because_of_how_its_parts_are_joined() -> None:
    def package(purl: str) -> tuple[str, str, str]:
        (found,) = read(envelope(spdx(purl))).components
        return found.package

    names = ["pkg:npm/a%1Fb/c@1", "pkg:npm/a/b%1Fc@1", "pkg:npm/a/b@1", "pkg:npm/a%1Fb@1", "pkg:npm/b@1"]
    assert len({key_of(package(name)) for name in names}) == len(names)


def test_a_signature_is_no_document_and_no_problem() -> None:
    for content in (
        b'{"mediaType": "x", "messageSignature": {}}',
        b'{"critical": {}, "optional": null}',
        envelope({}, "https://sigstore.dev/cosign/sign/v1"),
    ):
        assert (read(content).kind, read(content).problem) == ("signature", "")


def test_a_document_reads_the_same_in_a_bundle_an_envelope_and_alone() -> None:
    document = spdx("pkg:npm/a@1")
    one, other, bare = bundle(document), envelope(document), json.dumps(document).encode()
    assert read(one) == read(other)
    assert read(bare).components == read(one).components
    assert read(bare).subjects == ()
