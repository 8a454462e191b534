"""A bundle is read in one way or not at all."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.bundle import MAX_CERTIFICATE_BYTES, MAX_SIGNATURE_BYTES, items, signature_of
from controller.verification.failures import Unjudged
from tests.support.fixtures import recorded_bundle
from tests.unit.verification.evidence import (
    Signer,
    artifact,
    authority_for,
    b64,
    counted,
    judge,
    only_rejection,
    statement,
)

SIGNER = Signer()
GOOD = SIGNER.envelope(statement())


def _two_signatures(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def _two_contents(bundle: dict[str, Any]) -> None:
    bundle["messageSignature"] = SIGNER.message(b"x")["messageSignature"]


def _two_holders(bundle: dict[str, Any]) -> None:
    bundle["verificationMaterial"]["certificate"] = {"rawBytes": b64(b"x")}


def _with(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(bundle: dict[str, Any]) -> None:
        inner: Any = bundle
        for step in path[:-1]:
            inner = inner[step]
        inner[path[-1]] = value

    return change


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "two signatures": (_two_signatures, "SignatureCount"),
    "no signature": (_with("dsseEnvelope", "signatures", value=[]), "SignatureCount"),
    "signatures null": (_with("dsseEnvelope", "signatures", value=None), "SignatureCount"),
    "empty signature": (_with("dsseEnvelope", "signatures", value=[{"sig": ""}]), "BundleMalformed"),
    "endless signature": (_with("dsseEnvelope", "signatures", value=[{"sig": b64(bytes(2049))}]), "BundleMalformed"),
    "signature with a stray character": (
        _with("dsseEnvelope", "signatures", value=[{"sig": "MEU*"}]),
        "BundleMalformed",
    ),
    "payload with a line break": (_with("dsseEnvelope", "payload", value="e30=\n"), "BundleMalformed"),
    "payload no text": (_with("dsseEnvelope", "payload", value=7), "BundleMalformed"),
    "another payload type": (_with("dsseEnvelope", "payloadType", value="text/plain"), "PayloadTypeUnsupported"),
    "no payload type": (_with("dsseEnvelope", "payloadType", value=None), "PayloadTypeUnsupported"),
    "no content": (_with("dsseEnvelope", value=None), "BundleMalformed"),
    "two contents": (_two_contents, "BundleMalformed"),
    "two holders": (_two_holders, "BundleMalformed"),
    "no holder": (_with("verificationMaterial", value={}), "BundleMalformed"),
    "material no object": (_with("verificationMaterial", value=[]), "BundleMalformed"),
    "log entries no list": (_with("verificationMaterial", "tlogEntries", value={}), "BundleMalformed"),
    "log entry no object": (_with("verificationMaterial", "tlogEntries", value=["x"]), "BundleMalformed"),
    "too many log entries": (_with("verificationMaterial", "tlogEntries", value=[{}] * 9), "LimitExceeded"),
    "too many timestamps": (
        _with("verificationMaterial", "timestampVerificationData", value={"rfc3161Timestamps": [{}] * 9}),
        "LimitExceeded",
    ),
    "unknown version": (
        _with("mediaType", value="application/vnd.dev.sigstore.bundle.v0.4+json"),
        "BundleVersionUnsupported",
    ),
    "no version": (_with("mediaType", value=None), "BundleMalformed"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_malformed_bundle_counts_for_nobody(name: str) -> None:
    change, code = CHANGES[name]
    bundle = copy.deepcopy(GOOD)
    change(bundle)
    assert only_rejection(judge(artifact(bundle), SIGNER.authority())) == (code, True)


def test_the_bundle_that_these_changes_start_from_is_good() -> None:
    assert counted(judge(artifact(GOOD), SIGNER.authority())) == (1, 0)


@pytest.mark.parametrize("tail", [b" {}", b"\x00", b"]"])
def test_trailing_bytes_are_refused(tail: bytes) -> None:
    found = artifact(json.dumps(GOOD).encode() + tail)
    assert only_rejection(judge(found, SIGNER.authority())) == ("JsonMalformed", True)


def test_duplicate_key_is_refused() -> None:
    text = json.dumps(GOOD)
    twice = text[:-1] + ', "dsseEnvelope": ' + json.dumps(GOOD["dsseEnvelope"]) + "}"
    assert only_rejection(judge(artifact(twice.encode()), SIGNER.authority())) == ("JsonMalformed", True)


def test_payload_type_is_part_of_what_is_signed() -> None:
    bundle = SIGNER.envelope(statement(), kind="application/vnd.in-toto+xml")
    bundle["dsseEnvelope"]["payloadType"] = "application/vnd.in-toto+json"
    assert only_rejection(judge(artifact(bundle), SIGNER.authority())) == ("SignatureInvalid", False)


@pytest.mark.guarantee(10)
def test_a_certificate_may_be_as_long_as_its_bound_and_no_longer() -> None:
    bundle = recorded_bundle("workflow.rekor1.signature")
    for size, code in ((1, "CertificateMalformed"), (MAX_CERTIFICATE_BYTES, "CertificateMalformed")):
        parsed = bundle.parsed()
        parsed["verificationMaterial"]["certificate"]["rawBytes"] = b64(b"\x00" * size)
        found = judge(artifact(parsed), authority_for(bundle), image=Digest.parse(bundle.digest))
        assert only_rejection(found) == (code, True)
    for size in (0, MAX_CERTIFICATE_BYTES + 1):
        parsed = bundle.parsed()
        parsed["verificationMaterial"]["certificate"]["rawBytes"] = b64(b"\x00" * size)
        found = judge(artifact(parsed), authority_for(bundle), image=Digest.parse(bundle.digest))
        assert only_rejection(found) == ("BundleMalformed", True)


@pytest.mark.guarantee(10)
def test_a_payload_may_be_as_long_as_its_bound_and_no_longer() -> None:
    content = statement()
    size = len(json.dumps(content).encode())
    bundle = artifact(SIGNER.envelope(content))
    assert counted(judge(bundle, SIGNER.authority(), limits=DocumentSettings(document_max_bytes=size))) == (1, 0)
    shorter = judge(bundle, SIGNER.authority(), limits=DocumentSettings(document_max_bytes=size - 1))
    assert only_rejection(shorter) == ("LimitExceeded", True)


@pytest.mark.guarantee(10)
def test_signatures_and_lists_may_be_as_long_as_their_bounds_and_no_longer() -> None:
    for size in (1, MAX_SIGNATURE_BYTES):
        assert signature_of(b64(b"x" * size)) == b"x" * size
    for size in (0, MAX_SIGNATURE_BYTES + 1):
        with pytest.raises(Unjudged, match="BundleMalformed"):
            signature_of(b64(b"x" * size))
    assert items([1, 2, 3], "it", most=3) == [1, 2, 3]
    with pytest.raises(Unjudged, match="LimitExceeded"):
        items([1, 2, 3, 4], "it", most=3)
