"""What the verifier lets count, and for what: recorded evidence of the real cosign, and bundles signed on the spot."""

from __future__ import annotations

import dataclasses
import json

import pytest

from controller.model.policy import Authority, Identity, KeyAuthority, KeylessAuthority, Need
from controller.model.reference import Digest
from controller.verification.failures import EvidenceFailure, NotVerified, Unjudged
from tests.support.fixtures import RecordedBundle, recorded_bundle, recorded_bundles, recorded_key
from tests.unit.verification.evidence import (
    IMAGE,
    OTHER_IMAGE,
    ROOTS,
    SIGNING,
    Signer,
    artifact,
    authority_for,
    b64,
    counted,
    judge,
    only_rejection,
    statement,
    trust_root,
)

UNSUPPORTED = {
    # A certificate that nobody saw at any time.
    "workflow.none.signature": "LogEntryMissing",
    # Ed25519 over content whose SHA-256 alone is known.
    "ed25519.none.manifest": "DigestAlgorithmUnsupported",
    "ed25519.none.blob": "DigestAlgorithmUnsupported",
}
SUPPORTED = [bundle for bundle in recorded_bundles() if bundle.name not in UNSUPPORTED]
LOGGED = [bundle for bundle in SUPPORTED if bundle.log.startswith("rekor")]
STAMPED = [bundle for bundle in SUPPORTED if "timestamp" in bundle.log]
by_name = pytest.mark.parametrize("bundle", SUPPORTED, ids=lambda bundle: bundle.name)


@by_name
def test_recorded_bundle_counts_for_its_own_signer_as_what_it_is(bundle: RecordedBundle) -> None:
    evidence = judge(artifact(bundle.raw), authority_for(bundle), image=Digest.parse(bundle.digest))
    assert evidence.rejections == ()
    assert counted(evidence) == ((0, 1) if bundle.purpose == "attestation" else (1, 0))
    proofs = [found.proof for found in (*evidence.signatures, *evidence.attestations)]
    assert [(p.signer.issuer, p.signer.subject) for p in proofs] == [(bundle.issuer, bundle.identity)]
    assert all(p.steps and p.artifact == Digest.of(bundle.raw) for p in proofs)
    assert [a.predicate_type for a in evidence.attestations] == [bundle.predicate_type][: len(evidence.attestations)]


@by_name
@pytest.mark.guarantee(1)
def test_recorded_bundle_never_counts_for_another_digest(bundle: RecordedBundle) -> None:
    assert only_rejection(judge(artifact(bundle.raw), authority_for(bundle), image=OTHER_IMAGE)) == (
        "SubjectMismatch",
        False,
    )


@by_name
def test_recorded_bundle_never_counts_for_another_key(bundle: RecordedBundle) -> None:
    authority = Signer().authority()
    code, unjudged = only_rejection(judge(artifact(bundle.raw), authority, image=Digest.parse(bundle.digest)))
    assert (code, unjudged) == ("SignatureInvalid" if bundle.authority == "key" else "SignedWithCertificate", False)


@pytest.mark.parametrize("bundle", [b for b in LOGGED if b.authority == "keyless"], ids=lambda b: b.name)
def test_keyless_bundle_never_counts_under_another_sigstores_root(bundle: RecordedBundle) -> None:
    theirs = "main" if "other" in bundle.trusted_root else "other"
    keyless = KeylessAuthority((Identity(issuer=bundle.issuer, subject=bundle.identity),), theirs)
    code, unjudged = only_rejection(
        judge(artifact(bundle.raw), Authority("signer", keyless=keyless), image=Digest.parse(bundle.digest))
    )
    assert not unjudged, code


@pytest.mark.parametrize("bundle", [b for b in LOGGED if b.authority == "key"], ids=lambda b: b.name)
def test_key_bundles_log_entry_never_counts_under_another_sigstores_root(bundle: RecordedBundle) -> None:
    key = KeyAuthority(bundle.public_key, trust_root="other")
    authority = Authority("signer", key=key, timestamp=Need.IGNORE)
    assert only_rejection(judge(artifact(bundle.raw), authority, image=Digest.parse(bundle.digest))) == (
        "LogUnknown",
        False,
    )


@pytest.mark.parametrize("bundle", LOGGED, ids=lambda b: b.name)
def test_logged_bundle_meets_a_required_log_and_says_which_entry(bundle: RecordedBundle) -> None:
    evidence = judge(artifact(bundle.raw), authority_for(bundle, log=Need.REQUIRED), image=Digest.parse(bundle.digest))
    (found,) = (*evidence.signatures, *evidence.attestations)
    assert found.proof.log_entry is not None
    assert (found.proof.log_entry.integrated_at is not None) == bundle.log.startswith("rekor1")


@pytest.mark.parametrize("bundle", [b for b in SUPPORTED if not b.log.startswith("rekor")], ids=lambda b: b.name)
def test_unlogged_bundle_does_not_meet_a_required_log(bundle: RecordedBundle) -> None:
    evidence = judge(artifact(bundle.raw), authority_for(bundle, log=Need.REQUIRED), image=Digest.parse(bundle.digest))
    assert only_rejection(evidence) == ("LogEntryMissing", False)


@pytest.mark.parametrize("bundle", SUPPORTED, ids=lambda b: b.name)
def test_required_timestamp_is_met_exactly_by_bundles_that_have_one(bundle: RecordedBundle) -> None:
    authority = authority_for(bundle, timestamp=Need.REQUIRED)
    evidence = judge(artifact(bundle.raw), authority, image=Digest.parse(bundle.digest))
    if bundle in STAMPED:
        assert sum(counted(evidence)) == 1
    else:
        assert only_rejection(evidence) == ("TimestampMissing", False)


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported_bundle_is_refused_with_a_reason(name: str) -> None:
    bundle = recorded_bundle(name)
    evidence = judge(artifact(bundle.raw), authority_for(bundle, log=Need.REQUIRED), image=Digest.parse(bundle.digest))
    assert only_rejection(evidence)[0] == UNSUPPORTED[name]


@pytest.mark.guarantee(1)
def test_certificates_log_is_asked_about_unless_the_authority_says_otherwise() -> None:
    bundle = recorded_bundle("workflow.rekor1.signature")
    document = json.loads(ROOTS["main"].content)
    for log in document["ctlogs"]:
        log["logId"]["keyId"] = b64(b"another log")
    roots = {"main": dataclasses.replace(ROOTS["main"], content=json.dumps(document).encode())}
    wanted, image = authority_for(bundle), Digest.parse(bundle.digest)
    assert only_rejection(judge(artifact(bundle.raw), wanted, image=image, roots=roots))[0] == "CertificateNotLogged"
    assert wanted.keyless is not None
    ignoring = dataclasses.replace(wanted, keyless=dataclasses.replace(wanted.keyless, certificate_log=Need.IGNORE))
    (signature,) = judge(artifact(bundle.raw), ignoring, image=image, roots=roots).signatures
    assert "issued the certificate" in signature.proof.steps[0]
    (logged,) = judge(artifact(bundle.raw), wanted, image=image).signatures
    assert "issued and logged the certificate" in logged.proof.steps[0]
    # One after the other over the same artefact: what one did not ask is not taken for the other's answer.
    both = judge(artifact(bundle.raw), [ignoring, wanted], image=image, roots=roots)
    assert (len(both.signatures), len(both.rejections)) == (1, 1)


@pytest.mark.parametrize("log", [Need.OPTIONAL, Need.IGNORE])
def test_certificate_that_nobody_saw_at_any_time_is_refused_whatever_the_policy_asks(log: Need) -> None:
    bundle = recorded_bundle("workflow.none.signature")
    evidence = judge(artifact(bundle.raw), authority_for(bundle, log=log), image=Digest.parse(bundle.digest))
    assert only_rejection(evidence) == ("TimeUnproven", False)


@pytest.mark.parametrize("log", [Need.OPTIONAL, Need.IGNORE])
def test_timestamp_alone_says_when_a_certificate_signed_where_the_log_is_not_required(log: Need) -> None:
    bundle = recorded_bundle("workflow.timestamp.signature")
    evidence = judge(artifact(bundle.raw), authority_for(bundle, log=log), image=Digest.parse(bundle.digest))
    assert counted(evidence) == (1, 0)
    proof = evidence.signatures[0].proof
    assert proof.log_entry is None
    assert proof.signed_at is not None


@pytest.mark.parametrize("minor", [1, 2])
@pytest.mark.parametrize("bundle", [b for b in LOGGED if b.log.startswith("rekor1")], ids=lambda b: b.name)
def test_bundle_of_an_older_version_counts_as_todays_does(bundle: RecordedBundle, minor: int) -> None:
    parsed = bundle.parsed()
    parsed["mediaType"] = f"application/vnd.dev.sigstore.bundle+json;version=0.{minor}"
    material = parsed["verificationMaterial"]
    if "certificate" in material:
        material["x509CertificateChain"] = {"certificates": [material.pop("certificate")]}
    evidence = judge(artifact(parsed), authority_for(bundle, log=Need.REQUIRED), image=Digest.parse(bundle.digest))
    assert counted(evidence) == ((0, 1) if bundle.purpose == "attestation" else (1, 0))


@pytest.mark.guarantee(2)
def test_nothing_is_verified_for_nobody_or_from_nothing() -> None:
    signer = Signer()
    assert counted(judge(artifact(signer.envelope(statement())), [])) == (0, 0)
    assert counted(judge([], signer.authority())) == (0, 0)


@pytest.mark.guarantee(4)
@pytest.mark.parametrize("predicate_type", ["https://spdx.dev/Document", "https://cosign.sigstore.dev/attestation/v1"])
def test_attestation_is_never_a_signature(predicate_type: str) -> None:
    signer = Signer()
    evidence = judge(artifact(signer.envelope(statement(predicate_type=predicate_type))), signer.authority())
    assert counted(evidence) == (0, 1)
    assert evidence.attestations[0].name == ""


@pytest.mark.guarantee(4)
def test_statement_of_the_signing_predicate_is_a_signature_and_no_attestation() -> None:
    signer = Signer()
    assert counted(judge(artifact(signer.envelope(statement())), signer.authority())) == (1, 0)


@pytest.mark.guarantee(4)
def test_same_artifact_found_twice_counts_once() -> None:
    signer = Signer()
    found = artifact(signer.envelope(statement()))
    assert counted(judge([found, found], signer.authority())) == (1, 0)


def test_message_signature_counts_for_its_content_alone() -> None:
    signer, content = Signer(), b'{"schemaVersion": 2}'
    bundle = artifact(signer.message(content))
    assert counted(judge(bundle, signer.authority(), image=Digest.of(content))) == (1, 0)
    assert only_rejection(judge(bundle, signer.authority())) == ("SubjectMismatch", False)


def test_message_signature_whose_digest_was_swapped_for_the_images_is_refused() -> None:
    signer = Signer()
    bundle = signer.message(b"something else")
    bundle["messageSignature"]["messageDigest"]["digest"] = b64(bytes.fromhex(IMAGE.hex))
    assert only_rejection(judge(artifact(bundle), signer.authority())) == ("SignatureInvalid", False)


@pytest.mark.guarantee(5)
def test_who_signed_is_said_only_where_it_is_proven() -> None:
    bundle = recorded_bundle("workflow.rekor2+timestamp.signature")
    stranger = Authority("wanted", keyless=KeylessAuthority((Identity(issuer=bundle.issuer, subject="me"),), "main"))
    (proven,) = judge(artifact(bundle.raw), stranger, image=Digest.parse(bundle.digest)).rejections
    assert (proven.code, bundle.identity in proven.message) == ("IdentityMismatch", True)
    forged = bundle.parsed()
    forged["dsseEnvelope"]["signatures"][0]["sig"] = b64(b"\x30\x06\x02\x01\x01\x02\x01\x01")
    (claimed,) = judge(artifact(forged), stranger, image=Digest.parse(bundle.digest)).rejections
    assert bundle.identity not in claimed.message
    assert bundle.issuer not in claimed.message


def test_refusal_for_another_subject_names_the_proven_signer() -> None:
    signer = Signer()
    (rejection,) = judge(artifact(signer.envelope(statement(OTHER_IMAGE))), signer.authority()).rejections
    assert "signed by key sha256:" in rejection.message
    assert "another digest" in rejection.message


@pytest.mark.guarantee(6)
def test_junk_beside_a_good_signature_changes_nothing_but_is_told() -> None:
    signer = Signer()
    junk = [
        artifact(content, f"junk {n}") for n, content in enumerate((b"", b"{", b"[]", b"\xff\xfe", b'{"a":1,"a":2}'))
    ]
    evidence = judge([*junk, artifact(signer.envelope(statement()))], signer.authority())
    assert counted(evidence) == (1, 0)
    assert [(r.authority, r.unjudged) for r in evidence.rejections] == [("", True)] * len(junk)


@pytest.mark.guarantee(7)
def test_order_of_artifacts_and_authorities_never_matters() -> None:
    one, two = Signer(), Signer()
    artifacts = [
        artifact(one.envelope(statement())),
        artifact(two.envelope(statement(predicate_type="x"))),
        artifact(b""),
    ]
    authorities = [one.authority("one"), two.authority("two")]
    forth, back = judge(artifacts, authorities), judge(artifacts[::-1], authorities[::-1])
    assert set(forth.signatures) == set(back.signatures)
    assert {r.message for r in forth.rejections} == {r.message for r in back.rejections}
    assert [a.proof for a in forth.attestations] == [a.proof for a in back.attestations]


def test_missing_trust_root_is_no_verdict() -> None:
    for name in ("workflow.rekor1.signature", "release.rekor1.signature"):
        bundle = recorded_bundle(name)
        evidence = judge(artifact(bundle.raw), authority_for(bundle), image=Digest.parse(bundle.digest), roots={})
        assert only_rejection(evidence) == ("TrustRootMissing", True)


@pytest.mark.parametrize("content", [b" ", b"{}", b"[]", b"\xff", b'{"mediaType": "x", "tlogs": []}'])
def test_unreadable_trust_root_is_no_verdict(content: bytes) -> None:
    bundle = recorded_bundle("workflow.rekor1.signature")
    roots = {"main": type(ROOTS["main"])("main", content, "")}
    evidence = judge(artifact(bundle.raw), authority_for(bundle), image=Digest.parse(bundle.digest), roots=roots)
    assert only_rejection(evidence) == ("TrustRootUnreadable", True)


@pytest.mark.parametrize("part", ["tlogs", "certificateAuthorities", "ctlogs"])
def test_trust_root_that_lacks_a_part_is_no_verdict_for_keyless(part: str) -> None:
    bundle = recorded_bundle("workflow.rekor1.signature")
    document = json.loads(trust_root("main").content)
    document[part] = []
    roots = {"main": type(ROOTS["main"])("main", json.dumps(document).encode(), "")}
    evidence = judge(artifact(bundle.raw), authority_for(bundle), image=Digest.parse(bundle.digest), roots=roots)
    assert only_rejection(evidence) == ("TrustRootIncomplete", True)


def test_policy_key_that_is_none_is_no_verdict() -> None:
    bad = Authority("signer", key=KeyAuthority("-----BEGIN PUBLIC KEY-----\nnone\n-----END PUBLIC KEY-----\n"))
    assert only_rejection(judge(artifact(Signer().envelope(statement())), bad)) == ("KeyMalformed", True)


def test_authority_of_no_known_kind_is_no_verdict() -> None:
    assert only_rejection(judge(artifact(Signer().envelope(statement())), Authority("x"))) == (
        "AuthorityUnsupported",
        True,
    )


def test_key_of_a_stranger_is_named_by_the_key_that_was_wanted() -> None:
    bundle = recorded_bundle("stranger.none.signature")
    release = Authority("release", key=KeyAuthority(recorded_key("release")), transparency_log=Need.OPTIONAL)
    (rejection,) = judge(artifact(bundle.raw), release, image=Digest.parse(bundle.digest)).rejections
    assert rejection.message.startswith("its signature was not made with the key of authority release (sha256:")


def test_failures_are_of_the_two_kinds_alone() -> None:
    assert set(EvidenceFailure.__subclasses__()) == {NotVerified, Unjudged}


def test_signing_predicate_is_cosigns() -> None:
    assert {b.predicate_type for b in recorded_bundles() if b.purpose == "signature" and b.predicate_type} == {SIGNING}
