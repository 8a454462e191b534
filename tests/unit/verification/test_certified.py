"""Certificates of own CAs: what counts, and everything near it that does not."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from controller.model.decision import Outcome
from controller.model.evidence import Artifact, ArtifactKind, VerifiedEvidence
from controller.model.policy import (
    Authority,
    CertificateAuthority,
    CertificateIdentity,
    Distinct,
    KeyIn,
    Need,
    OwnAuthority,
    OwnKey,
    Policy,
    PolicyIdentity,
    PolicySpec,
    SignatureRequirement,
    TrustRoot,
)
from controller.model.reference import Digest
from controller.policy import requirements
from controller.policy.pems import CODE_SIGNING
from controller.policy.semantics import check_chain
from controller.verification import certified
from controller.verification.certified import Chain
from controller.verification.failures import NotVerified
from tests.support.authorities import BEGAN, ENDS, WHO, new_ca, of_unknown_key, of_version, of_year_zero, pem_of
from tests.unit.verification.evidence import (
    NOW,
    OTHER_IMAGE,
    ROOTS,
    Signer,
    artifact,
    b64,
    counted,
    judge,
    only_rejection,
    statement,
)
from tests.unit.verification.legacy import CERTIFICATE, SIGNATURE

EMAIL, URI, DNS = x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName


ROOT = new_ca()
INTERMEDIATE = new_ca("Acme signing", above=ROOT)
OTHER = new_ca("Other root")
SIGNER = Signer()
PUBLIC = SIGNER.private.public_key()


def authority(
    chain: str = ROOT.chain,
    *,
    subject: str | None = WHO,
    pattern: str | None = None,
    usages: tuple[str, ...] = (CODE_SIGNING,),
    log: Need = Need.IGNORE,
    timestamp: Need = Need.OPTIONAL,
    trust_root: str = "main",
) -> Authority:
    """An authority for the CA's certificates of one subject."""
    identities = (CertificateIdentity(subject, pattern),)
    return Authority(
        "acme",
        certificate=CertificateAuthority(chain, identities, usages, trust_root=trust_root),
        transparency_log=log,
        timestamp=timestamp,
    )


def bundle(certificate: bytes, content: dict[str, Any] | None = None) -> dict[str, Any]:
    """A bundle that SIGNER signed, with this certificate."""
    made = SIGNER.envelope(statement() if content is None else content)
    return made | {"verificationMaterial": {"certificate": {"rawBytes": b64(certificate)}}}


def ask(certificate: bytes, wanted: Authority | None = None, **more: Any) -> VerifiedEvidence:
    """What the verifier makes of a certificate's signature."""
    return judge(artifact(bundle(certificate)), wanted or authority(), **more)


def test_a_certificate_of_an_own_ca_counts_and_says_who_signed() -> None:
    (signature,) = ask(ROOT.issue(PUBLIC)).signatures
    assert signature.proof.signer.subject == WHO
    assert signature.proof.signer.issuer.startswith("CA sha256:")
    assert any(WHO in step and CODE_SIGNING in step for step in signature.proof.steps)


VERSION = bytes.fromhex("a003020102")  # X.509 version 3, at the beginning of every certificate that is signed


def test_a_certificate_of_a_version_that_does_not_exist_is_malformed_and_no_more() -> None:
    leaf = ROOT.issue(PUBLIC)
    assert leaf.count(VERSION) == 1
    unknown = leaf.replace(VERSION, VERSION[:-1] + b"\x0a")
    assert only_rejection(ask(unknown)) == ("CertificateMalformed", True)


def test_a_chain_of_a_version_that_does_not_exist_is_a_problem_of_its_policy() -> None:
    root = ROOT.certificate.public_bytes(serialization.Encoding.DER).replace(VERSION, VERSION[:-1] + b"\x0a")
    chain = f"-----BEGIN CERTIFICATE-----\n{b64(root)}\n-----END CERTIFICATE-----\n"
    assert [problem.code for problem in check_chain(chain, "chain")] == ["ChainMalformed"]
    assert only_rejection(ask(ROOT.issue(PUBLIC), authority(chain))) == ("ChainMalformed", True)


def test_a_certificate_of_an_intermediate_counts_by_the_chain_that_the_policy_has() -> None:
    leaf = INTERMEDIATE.issue(PUBLIC)
    (signature,) = ask(leaf, authority(INTERMEDIATE.chain)).signatures
    (direct,) = ask(ROOT.issue(PUBLIC)).signatures
    assert signature.proof.signer == direct.proof.signer  # one CA and one subject are one signer
    assert only_rejection(ask(leaf, authority(ROOT.chain))) == ("CertificateUntrusted", False)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (EMAIL(WHO), {"subject": WHO}),
        (URI("spiffe://acme.example/release"), {"subject": "spiffe://acme.example/release"}),
        (DNS("release.acme.example"), {"subject": "release.acme.example"}),
        (EMAIL(WHO), {"subject": None, "pattern": r".*@acme\.example"}),
    ],
    ids=str,
)
def test_each_kind_of_subject_is_matched_whole(name: x509.GeneralName, wanted: dict[str, Any]) -> None:
    leaf = ROOT.issue(PUBLIC, [name])
    assert counted(ask(leaf, authority(**wanted))) == (1, 0)
    for other in ({"subject": "release"}, {"subject": ""}, {"subject": None, "pattern": r"acme\.example"}):
        assert only_rejection(ask(leaf, authority(**other))) == ("IdentityMismatch", False)


@pytest.mark.guarantee(2)
def test_identities_that_name_nobody_are_met_by_nobody() -> None:
    leaf = ROOT.issue(PUBLIC)
    assert only_rejection(ask(leaf, authority(subject=None))) == ("IdentityMismatch", False)
    base = authority()
    assert base.certificate is not None
    nobody = dataclasses.replace(base, certificate=dataclasses.replace(base.certificate, identities=()))
    assert only_rejection(ask(leaf, nobody)) == ("IdentityMismatch", False)
    unusable = dataclasses.replace(base, certificate=dataclasses.replace(base.certificate, extended_key_usages=()))
    assert only_rejection(ask(leaf, unusable)) == ("CertificateUsage", False)


@pytest.mark.guarantee(4)
@pytest.mark.parametrize(
    "names",
    [
        (),
        (EMAIL(WHO), EMAIL("other@acme.example")),
        (EMAIL(WHO), DNS("acme.example")),
        (x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, WHO)])),),
    ],
    ids=lambda names: f"{len(names)} {type(names[0]).__name__ if names else ''}",
)
def test_a_certificate_without_exactly_one_subject_counts_for_nobody(names: tuple[x509.GeneralName, ...]) -> None:
    assert only_rejection(ask(ROOT.issue(PUBLIC, names))) == ("CertificateSubjectAmbiguous", False)


@pytest.mark.parametrize(
    ("usages", "asked"),
    [
        ((), (CODE_SIGNING,)),
        ((ExtendedKeyUsageOID.SERVER_AUTH,), (CODE_SIGNING,)),
        ((ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,), (CODE_SIGNING,)),
        ((ExtendedKeyUsageOID.CODE_SIGNING,), (CODE_SIGNING, "1.3.6.1.4.1.99999.1")),
    ],
)
def test_a_certificate_that_is_for_something_else_is_refused(
    usages: tuple[ObjectIdentifier, ...], asked: tuple[str, ...]
) -> None:
    assert only_rejection(ask(ROOT.issue(PUBLIC, usages=usages), authority(usages=asked))) == (
        "CertificateUsage",
        False,
    )


def test_an_own_usage_counts_where_it_is_asked_for() -> None:
    own = "1.3.6.1.4.1.99999.1"
    leaf = ROOT.issue(PUBLIC, usages=(ObjectIdentifier(own), ExtendedKeyUsageOID.CODE_SIGNING))
    assert counted(ask(leaf, authority(usages=(own, CODE_SIGNING)))) == (1, 0)


def test_a_certificate_that_may_not_sign_is_refused() -> None:
    assert only_rejection(ask(ROOT.issue(PUBLIC, signing=False))) == ("CertificateUsage", False)


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(
    ("leaf", "code"),
    [
        (OTHER.issue(PUBLIC), "CertificateUntrusted"),
        (new_ca("Acme root").issue(PUBLIC), "CertificateUntrusted"),  # of the same name, with another key
        (ROOT.issue(PUBLIC, ends=NOW - timedelta(seconds=1)), "CertificateExpired"),
        (ROOT.issue(PUBLIC, began=NOW + timedelta(seconds=1)), "CertificateExpired"),
        (ROOT.issue(ec.generate_private_key(ec.SECP256R1()).public_key()), "SignatureInvalid"),
        (new_ca("no CA", above=ROOT, is_ca=False).issue(PUBLIC), "CertificateUntrusted"),
        (ROOT.certificate.public_bytes(serialization.Encoding.DER), "SignatureInvalid"),
    ],
    ids=[
        "another CA",
        "another CA of the same name",
        "expired",
        "not yet valid",
        "another key's",
        "issued by no CA",
        "the root itself",
    ],
)
def test_no_other_certificate_counts(leaf: bytes, code: str) -> None:
    assert only_rejection(ask(leaf)) == (code, False)


def test_a_certificate_counts_from_its_first_moment_to_its_last() -> None:
    assert counted(ask(ROOT.issue(PUBLIC, began=NOW))) == (1, 0)
    assert counted(ask(ROOT.issue(PUBLIC, ends=NOW))) == (1, 0)


@pytest.mark.guarantee(1)
def test_a_ca_must_be_believed_at_every_time_that_is_vouched_for() -> None:
    leaf = x509.load_der_x509_certificate(ROOT.issue(PUBLIC))
    early, late = NOW - timedelta(days=2), NOW - timedelta(days=1)
    whole = Chain((ROOT.certificate,), early, late)
    assert certified._issued(leaf, [whole], times=(early, late), authority=authority(), usages=(CODE_SIGNING,)) == whole
    for window in ((early + timedelta(seconds=1), None), (None, late - timedelta(seconds=1))):
        with pytest.raises(NotVerified, match="CertificateUntrusted"):
            certified._issued(
                leaf,
                [Chain((ROOT.certificate,), *window)],
                times=(early, late),
                authority=authority(),
                usages=(CODE_SIGNING,),
            )


@pytest.mark.guarantee(1)
def test_a_signers_certificate_cannot_issue_others() -> None:
    false = new_ca("a signer", above=ROOT, is_ca=False)
    assert only_rejection(ask(false.issue(PUBLIC), authority(false.chain))) == ("CertificateUntrusted", False)


def test_an_issuers_path_length_is_kept() -> None:
    short = new_ca("short", above=ROOT, length=0)
    deep = new_ca("deep", above=short)
    assert counted(ask(short.issue(PUBLIC), authority(short.chain))) == (1, 0)
    assert only_rejection(ask(deep.issue(PUBLIC), authority(deep.chain))) == ("CertificateUntrusted", False)


@pytest.mark.guarantee(1)
def test_another_image_never_counts() -> None:
    assert only_rejection(ask(ROOT.issue(PUBLIC), image=OTHER_IMAGE)) == ("SubjectMismatch", False)


def test_a_bare_key_is_no_certificate_and_a_certificate_no_key() -> None:
    assert only_rejection(judge(artifact(SIGNER.envelope(statement())), authority())) == ("SignedWithKey", False)
    leaf = ROOT.issue(PUBLIC)
    assert only_rejection(ask(leaf, SIGNER.authority())) == ("SignedWithCertificate", False)


def test_the_bundles_own_chain_is_never_believed() -> None:
    made = SIGNER.envelope(statement())
    leaf = INTERMEDIATE.issue(PUBLIC)
    chain = [leaf, *(c.public_bytes(serialization.Encoding.DER) for c in (INTERMEDIATE.certificate, ROOT.certificate))]
    material = {"x509CertificateChain": {"certificates": [{"rawBytes": b64(c)} for c in chain]}}
    made |= {"mediaType": "application/vnd.dev.sigstore.bundle+json;version=0.2", "verificationMaterial": material}
    assert only_rejection(judge(artifact(made), authority(OTHER.chain)))[0] == "CertificateUntrusted"


@pytest.mark.parametrize(
    ("log", "timestamp", "code"),
    [(Need.REQUIRED, Need.OPTIONAL, "LogEntryMissing"), (Need.IGNORE, Need.REQUIRED, "TimestampMissing")],
)
def test_a_required_witness_is_required_of_certificates_too(log: Need, timestamp: Need, code: str) -> None:
    assert only_rejection(ask(ROOT.issue(PUBLIC), authority(log=log, timestamp=timestamp))) == (code, False)


def own_root(**window: datetime) -> TrustRoot:
    """A trust root with ROOT as its own CA."""
    return TrustRoot("own", b"own", "sha256:00", certificate_authorities=(OwnAuthority(ROOT.chain, **window),))


def test_the_cas_of_a_trust_root_count_within_their_window_alone() -> None:
    wanted, leaf = authority("", trust_root="own"), ROOT.issue(PUBLIC)

    def asked(**window: datetime) -> VerifiedEvidence:
        return ask(leaf, wanted, roots=ROOTS | {"own": own_root(**window)})

    assert counted(asked()) == (1, 0)
    assert counted(asked(valid_from=NOW, valid_until=NOW)) == (1, 0)
    moment = timedelta(seconds=1)
    assert only_rejection(asked(valid_until=NOW - moment)) == ("CertificateUntrusted", False)
    assert only_rejection(asked(valid_from=NOW + moment)) == ("CertificateUntrusted", False)


@pytest.mark.guarantee(6)
@pytest.mark.parametrize(
    ("wanted", "roots", "code"),
    [
        (authority("", trust_root="own"), {}, "TrustRootMissing"),
        (authority("", trust_root="main"), ROOTS, "TrustRootIncomplete"),
        (authority("no PEM"), {}, "PemMalformed"),
        (authority(ROOT.chain.replace("M", "A")), {}, "ChainMalformed"),
    ],
)
def test_a_ca_that_is_not_there_is_no_verdict(wanted: Authority, roots: dict[str, TrustRoot], code: str) -> None:
    assert only_rejection(ask(ROOT.issue(PUBLIC), wanted, roots=roots)) == (code, True)


@pytest.mark.guarantee(1)
def test_a_chain_that_was_referred_to_and_is_not_there_is_replaced_by_no_other() -> None:
    base = authority("", trust_root="own")
    assert base.certificate is not None
    absent = dataclasses.replace(base.certificate, secret=KeyIn("ca", "chain.pem"))
    referring = dataclasses.replace(base, certificate=absent)
    found = ask(ROOT.issue(PUBLIC), referring, roots={"own": own_root()})
    assert only_rejection(found) == ("ReferenceMissing", True)


def test_no_refusal_shows_what_is_not_proven() -> None:
    leaf = OTHER.issue(PUBLIC, [EMAIL("secret@attacker.example")])
    (rejection,) = ask(leaf).rejections
    assert "attacker" not in json.dumps(rejection.message)


UNREADABLE = {
    "version": of_version(ROOT.issue(PUBLIC), 9),
    "key": of_unknown_key(ROOT.issue(PUBLIC)),
    "year": of_year_zero(ROOT.issue(PUBLIC)),
}


@pytest.mark.parametrize("der", UNREADABLE.values(), ids=UNREADABLE)
def test_a_certificate_that_no_library_reads_spoils_nothing_but_itself(der: bytes) -> None:
    found = judge([artifact(bundle(der), "bad"), artifact(bundle(ROOT.issue(PUBLIC)))], authority())
    assert counted(found) == (1, 0)
    assert [(rejection.location, rejection.unjudged) for rejection in found.rejections] == [("bad", True)]


@pytest.mark.parametrize("der", UNREADABLE.values(), ids=UNREADABLE)
def test_a_layer_with_a_certificate_that_no_library_reads_spoils_nothing_but_itself(der: bytes) -> None:
    payload, annotations = b"{}", ((SIGNATURE, b64(b"x")), (CERTIFICATE, pem_of(der)))
    kind, media_type = ArtifactKind.COSIGN_SIGNATURE, "application/vnd.dev.cosign.simplesigning.v1+json"
    layer = Artifact(kind, media_type, payload, Digest.of(payload), "tag", annotations)
    found = judge([layer, artifact(bundle(ROOT.issue(PUBLIC)))], authority())
    assert counted(found) == (1, 0)
    assert [rejection.unjudged for rejection in found.rejections] == [True]


@pytest.mark.guarantee(1)
def test_what_is_judged_by_the_date_says_when_it_ends() -> None:
    """A remembered verdict must not outlive the certificate, its CA's window or a key's window."""
    leaf, hour = ROOT.issue(PUBLIC), timedelta(hours=1)
    own, key = authority("", trust_root="own"), SIGNER.authority()
    assert key.key is not None
    kept = dataclasses.replace(key, key=dataclasses.replace(key.key, pem="", trust_root="keys"))

    def until(wanted: Authority, now: datetime = NOW, **window: datetime) -> datetime | None:
        keys = TrustRoot("keys", b"keys", "sha256:01", public_keys=(OwnKey(SIGNER.pem, **window),))
        content = bundle(leaf) if wanted.certificate is not None else SIGNER.envelope(statement())
        roots = {"own": own_root(**window), "keys": keys}
        return judge(artifact(content), wanted, roots=roots, now=now).valid_until

    assert until(authority()) == ENDS
    assert until(authority(), now=ENDS) == ENDS
    assert until(authority(), now=BEGAN - hour) == BEGAN
    assert until(authority(), now=ENDS + hour) == ROOT.certificate.not_valid_after_utc
    assert until(own, valid_until=NOW + hour) == NOW + hour
    assert until(own, valid_until=NOW) == NOW
    assert until(own, valid_from=NOW + hour) == NOW + hour
    assert until(kept, valid_until=NOW + hour) == NOW + hour
    assert until(kept, valid_from=NOW + hour) == NOW + hour
    assert until(kept) is None
    assert until(key) is None


@pytest.mark.guarantee(4)
@pytest.mark.parametrize("distinct", Distinct)
def test_one_signature_under_a_cross_signed_root_is_one_signer(distinct: Distinct) -> None:
    """A root that is renewed is in two chains: alone, and issued by the new root."""
    renewed = new_ca("New root")
    key, name = ROOT.certificate.public_key(), [x509.NameAttribute(NameOID.COMMON_NAME, ROOT.name)]
    builder = x509.CertificateBuilder(renewed.certificate.subject, x509.Name(name), key, 7, BEGAN, ENDS)
    for extension in ROOT.certificate.extensions:
        if not isinstance(extension.value, x509.AuthorityKeyIdentifier):
            builder = builder.add_extension(extension.value, extension.critical)
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(renewed.key.public_key())
    crossed = builder.add_extension(issued_by, False).sign(renewed.key, hashes.SHA256())
    chain = pem_of(crossed.public_bytes(serialization.Encoding.DER)) + renewed.chain
    both = [dataclasses.replace(authority(), name="old"), dataclasses.replace(authority(chain), name="new")]
    evidence = judge(artifact(bundle(ROOT.issue(PUBLIC))), both)
    assert counted(evidence) == (2, 0)
    wanted = SignatureRequirement(("old", "new"), minimum=2, distinct=distinct)
    identity = PolicyIdentity("ClusterEvidencePolicy", "", "p", "sha256:00")
    policy = Policy(identity, PolicySpec(authorities=tuple(both), signatures=wanted))
    findings, _ = requirements.check(policy, evidence)
    assert findings.outcome is Outcome.VIOLATED


CODE, CLIENT, ANY = (
    ExtendedKeyUsageOID.CODE_SIGNING,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)


@pytest.mark.guarantee(1)
@pytest.mark.parametrize(
    ("issuer", "good"),
    [
        ((), True),
        ((CODE,), True),
        ((CLIENT, CODE), True),
        ((ANY,), True),
        ((CLIENT,), False),
        ((ExtendedKeyUsageOID.SERVER_AUTH, CLIENT), False),
    ],
)
def test_an_issuer_gives_certificates_for_its_own_purposes_alone(
    issuer: tuple[ObjectIdentifier, ...], good: bool
) -> None:
    intermediate = new_ca("Issuing", above=ROOT, usages=issuer)
    found = ask(intermediate.issue(PUBLIC), authority(intermediate.chain))
    if good:
        assert counted(found) == (1, 0)
    else:
        assert only_rejection(found) == ("CertificateUntrusted", False)
