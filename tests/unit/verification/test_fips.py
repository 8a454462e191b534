"""`cryptography: FIPS`: approved algorithms alone, on the whole way, and it is said."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from controller.model.evidence import VerifiedEvidence
from controller.model.policy import (
    Authority,
    CertificateAuthority,
    CertificateIdentity,
    Cryptography,
    KeyAuthority,
    Need,
    TrustRoot,
)
from controller.model.reference import Digest
from controller.policy.pems import CODE_SIGNING
from controller.settings import DocumentSettings
from controller.verification import fips
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.keys import checked_key
from controller.verification.trust import parse_root
from controller.verification.verifier import verify
from tests.support.authorities import WHO, new_ca
from tests.support.der import parts, whole
from tests.support.fixtures import RecordedBundle, recorded_bundle, recorded_bundles
from tests.unit.verification.evidence import (
    IMAGE,
    NOW,
    ROOTS,
    Signer,
    artifact,
    authority_for,
    b64,
    judge,
    only_rejection,
    pae,
    statement,
    trust_root,
)

APPROVED = [bundle for bundle in recorded_bundles() if bundle.purpose != "blob" and bundle.log != "none"]


def judged(
    content: bytes, wanted: Authority, image: Digest, *, roots: Mapping[str, TrustRoot] = ROOTS
) -> VerifiedEvidence:
    return verify(
        image,
        [artifact(content)],
        authorities=[wanted],
        trust_roots=roots,
        now=NOW,
        limits=DocumentSettings(),
        cryptography=Cryptography.FIPS,
    )


@pytest.mark.parametrize("bundle", APPROVED, ids=lambda bundle: bundle.name)
def test_what_real_tools_sign_with_approved_algorithms_counts_and_says_so(bundle: RecordedBundle) -> None:
    found = judged(bundle.raw, authority_for(bundle), Digest.parse(bundle.digest))
    (proof,) = (piece.proof for piece in (*found.signatures, *found.attestations))
    assert any("FIPS 186-5" in step for step in proof.steps)


def test_nothing_is_said_where_the_profile_was_not_asked_for() -> None:
    bundle = recorded_bundle("release.rekor1.signature")
    found = verify(
        Digest.parse(bundle.digest),
        [artifact(bundle.raw)],
        authorities=[authority_for(bundle)],
        trust_roots=ROOTS,
        now=NOW,
        limits=DocumentSettings(),
    )
    assert not any("FIPS" in step for step in found.signatures[0].proof.steps)


@pytest.mark.guarantee(1)
def test_prehashed_ed25519_is_refused_and_pure_is_not() -> None:
    prehashed, pure = recorded_bundle("ed25519ph.none.signature"), recorded_bundle("ed25519.none.signature")
    found = judged(prehashed.raw, authority_for(prehashed), Digest.parse(prehashed.digest))
    assert only_rejection(found) == ("AlgorithmNotApproved", False)
    assert judged(pure.raw, authority_for(pure), Digest.parse(pure.digest)).signatures


@pytest.mark.guarantee(1)
def test_rsa_with_a_small_exponent_counts_without_the_profile_and_not_with_it() -> None:
    key = rsa.generate_private_key(public_exponent=3, key_size=2048)
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    made = Signer().envelope(statement())
    payload = json.dumps(statement()).encode()
    signature = key.sign(pae(payload), padding.PKCS1v15(), hashes.SHA256())
    made["dsseEnvelope"] |= {"payload": b64(payload), "signatures": [{"sig": b64(signature)}]}
    wanted = Authority("rsa", key=KeyAuthority(pem.decode(), "main"), transparency_log=Need.IGNORE)
    assert only_rejection(judged(json.dumps(made).encode(), wanted, IMAGE)) == ("AlgorithmNotApproved", False)
    usual = verify(IMAGE, [artifact(made)], authorities=[wanted], trust_roots=ROOTS, now=NOW, limits=DocumentSettings())
    assert usual.signatures


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "ECDSA P-384"),
        (ed25519.Ed25519PrivateKey.generate(), "Ed25519"),
        (rsa.generate_private_key(65537, 2048), "RSA of 2048 bits"),
    ],
    ids=["ec", "ed", "rsa"],
)
def test_algorithms_are_named_as_the_standards_do(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, said: str
) -> None:
    assert fips.described(checked_key(key.public_key())) == said


@pytest.mark.guarantee(1)
def test_a_certificate_that_was_signed_over_sha_1_is_refused() -> None:
    # `cryptography` makes none any more, so the name of the algorithm in a good one is changed to SHA-1's.
    good = new_ca().certificate
    fips.check_certificate(good)
    ecdsa_sha256, ecdsa_sha1 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06072a8648ce3d0401")
    der = good.public_bytes(serialization.Encoding.DER)
    shorter = _without(der, ecdsa_sha256, ecdsa_sha1)
    old = x509.load_der_x509_certificate(shorter)
    assert isinstance(old.signature_hash_algorithm, hashes.SHA1)
    with pytest.raises(NotVerified, match="not approved"):
        fips.check_certificate(old)


def _without(der: bytes, identifier: bytes, another: bytes) -> bytes:
    """The certificate with another algorithm's identifier, which is one byte shorter, its lengths put right."""
    body, signature_length = bytearray(der), 2 * (len(identifier) - len(another))
    assert der.count(identifier) == 2
    first = der.index(identifier)
    assert der[first - 2 : first] == b"\x30\x0a"
    changed = der.replace(b"\x30\x0a" + identifier, b"\x30\x09" + another)
    body = bytearray(changed)
    for offset, less in ((0, signature_length), (4, signature_length // 2)):  # the certificate's, and its inner part's
        assert body[offset : offset + 2] == b"\x30\x82"
        length = int.from_bytes(body[offset + 2 : offset + 4], "big") - less
        body[offset + 2 : offset + 4] = length.to_bytes(2, "big")
    return bytes(body)


@pytest.mark.guarantee(6)
def test_a_trust_root_with_another_algorithm_is_none_to_judge_by() -> None:
    fips.check_root(parse_root(trust_root("main")))
    document = json.loads(trust_root("main").content)
    weak = rsa.generate_private_key(public_exponent=3, key_size=2048).public_key()
    der = weak.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    document["tlogs"][0]["publicKey"]["rawBytes"] = b64(der)
    root = dataclasses.replace(trust_root("main"), content=json.dumps(document).encode())
    with pytest.raises(Unjudged) as caught:
        fips.check_root(parse_root(root))
    assert caught.value.code == "AlgorithmNotApproved"


@pytest.mark.guarantee(1)
def test_a_timestamp_that_was_signed_over_sha_1_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # No authority of the recordings signs so: a digest is named in a good one in the place of its own.
    bundle = recorded_bundle("release.timestamp.signature")
    stamps = json.loads(bundle.raw)["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"]
    good = base64.b64decode(stamps[0]["signedTimestamp"])
    fips.check_timestamp(good)
    with pytest.MonkeyPatch.context() as its_own_alone:
        its_own_alone.setattr(fips, "_SHA_2_IDENTIFIERS", frozenset({"2.16.840.1.101.3.4.2.1"}))
        fips.check_timestamp(good)
    ((_, answer),) = parts(good)
    status, (_, token) = parts(answer)
    kind, (_, wrapped) = parts(token)
    ((_, signed),) = parts(wrapped)
    version, _, *others = parts(signed)
    sha_1 = whole(0x31, whole(0x30, whole(6, bytes.fromhex("2b0e03021a"))))
    old = whole(0x30, whole(*version), sha_1, *(whole(*other) for other in others))
    with pytest.raises(NotVerified, match="not approved"):
        fips.check_timestamp(whole(0x30, whole(*status), whole(0x30, whole(*kind), whole(0xA0, old))))
    monkeypatch.setattr(fips, "_SHA_2_IDENTIFIERS", frozenset())
    found = judged(bundle.raw, authority_for(bundle), Digest.parse(bundle.digest))
    assert only_rejection(found) == ("AlgorithmNotApproved", False)


def weak_root() -> dict[str, TrustRoot]:
    """The recorded trust root with one more certificate log, whose key is not approved; nothing recorded is of it."""
    document = json.loads(trust_root("main").content)
    key = rsa.generate_private_key(public_exponent=3, key_size=2048).public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    other = json.loads(json.dumps(document["ctlogs"][0]))
    other["publicKey"]["rawBytes"], other["logId"] = b64(der), {"keyId": b64(b"another log")}
    document["ctlogs"].append(other)
    return {"main": dataclasses.replace(trust_root("main"), content=json.dumps(document).encode())}


@pytest.mark.guarantee(6)
@pytest.mark.parametrize(
    "name", ["release.rekor1.signature", "release.timestamp.signature", "workflow.rekor2+timestamp.signature"]
)
def test_whoever_vouches_for_a_signature_must_be_approved_whole(name: str) -> None:
    bundle = recorded_bundle(name)
    image, roots = Digest.parse(bundle.digest), weak_root()
    found = judged(bundle.raw, authority_for(bundle), image, roots=roots)
    assert only_rejection(found) == ("AlgorithmNotApproved", True)
    assert judged(bundle.raw, authority_for(bundle), image).signatures


def test_a_signature_for_which_nobody_vouches_asks_nothing_of_a_trust_root() -> None:
    bundle = recorded_bundle("release.none.signature")
    found = judged(bundle.raw, authority_for(bundle), Digest.parse(bundle.digest), roots=weak_root())
    assert found.signatures


@pytest.mark.guarantee(1)
def test_an_own_ca_must_be_approved_up_to_its_root() -> None:
    signer, weak = Signer(), rsa.generate_private_key(public_exponent=3, key_size=2048)
    ca = new_ca("weak", key=weak)
    certificate = {"rawBytes": b64(ca.issue(signer.private.public_key()))}
    made = signer.envelope(statement()) | {"verificationMaterial": {"certificate": certificate}}
    wanted = Authority(
        "acme",
        certificate=CertificateAuthority(ca.chain, (CertificateIdentity(WHO),), (CODE_SIGNING,)),
        transparency_log=Need.IGNORE,
    )
    assert judge(artifact(made), wanted).signatures
    assert only_rejection(judged(json.dumps(made).encode(), wanted, IMAGE)) == ("AlgorithmNotApproved", False)
    strong = new_ca("strong")
    certificate["rawBytes"] = b64(strong.issue(signer.private.public_key()))
    approved = dataclasses.replace(wanted, certificate=dataclasses.replace(wanted.certificate, chain=strong.chain))
    assert judged(json.dumps(made).encode(), approved, IMAGE).signatures
