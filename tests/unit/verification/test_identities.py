"""Who a certificate says somebody is, and whether that is somebody wanted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from sigstore import errors as sigstore_errors

from controller.model.evidence import Signer
from controller.model.policy import Identity
from controller.verification.failures import EvidenceFailure, NotVerified, Unjudged
from controller.verification.fulcio import MAX_CLAIM_BYTES, signer_of
from controller.verification.identities import meets
from controller.verification.keyless import LIBRARY_ERRORS, translated

ARC = "1.3.6.1.4.1.57264.1."
ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1"
KEY = ec.generate_private_key(ec.SECP256R1())


def der(text: str) -> bytes:
    """A DER UTF8String."""
    content = text.encode()
    if len(content) < 0x80:
        return bytes([0x0C, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([0x0C, 0x80 | len(length)]) + length + content


def certificate(*names: x509.GeneralName, **extensions: bytes) -> x509.Certificate:
    """A certificate with these subjects and Fulcio extensions (`_8=…` is 1.3.6.1.4.1.57264.1.8)."""
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sigstore")]))
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(minutes=10))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
    for number, value in extensions.items():
        oid = x509.ObjectIdentifier(ARC + number.removeprefix("_"))
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return builder.sign(KEY, hashes.SHA256())


URI = x509.UniformResourceIdentifier(SUBJECT)


def test_identity_and_claims_have_their_names_in_the_policy_api() -> None:
    signer = signer_of(
        certificate(URI, _1=ISSUER.encode(), _8=der(ISSUER), _2=b"push", _12=der("https://github.com/acme"))
    )
    assert signer == Signer(
        issuer=ISSUER,
        subject=SUBJECT,
        claims=(("githubWorkflowTrigger", "push"), ("sourceRepositoryURI", "https://github.com/acme")),
    )


@pytest.mark.parametrize(
    ("name", "subject"),
    [
        (x509.RFC822Name("person@example.test"), "person@example.test"),
        (URI, SUBJECT),
        (x509.OtherName(x509.ObjectIdentifier(f"{ARC}7"), der("somebody!idp.test")), "somebody!idp.test"),
    ],
)
def test_each_kind_of_subject_that_fulcio_gives_is_read(name: x509.GeneralName, subject: str) -> None:
    assert signer_of(certificate(name, _8=der(ISSUER))).subject == subject


@pytest.mark.parametrize(
    "names",
    [
        (),
        (URI, URI),
        (URI, x509.RFC822Name("a@example.test")),
        (x509.DNSName("example.test"),),
        (x509.OtherName(x509.ObjectIdentifier("1.2.3"), der("x")),),
    ],
)
def test_subject_that_is_not_one_and_of_a_known_kind_is_nobodys(names: tuple[x509.GeneralName, ...]) -> None:
    with pytest.raises(NotVerified) as caught:
        signer_of(certificate(*names, _8=der(ISSUER)))
    assert caught.value.code == "CertificateSubjectAmbiguous"


@pytest.mark.parametrize(
    ("extensions", "code"),
    [
        ({}, "CertificateIssuerMissing"),
        ({"_12": der(ISSUER)}, "CertificateIssuerMissing"),
        ({"_8": der("")}, "CertificateIssuerMissing"),
        ({"_1": b"https://evil.test", "_8": der(ISSUER)}, "CertificateIssuerAmbiguous"),
        ({"_1": ISSUER.encode(), "_8": der("https://evil.test")}, "CertificateIssuerAmbiguous"),
        ({"_8": ISSUER.encode()}, "CertificateMalformed"),
        ({"_8": der(ISSUER) + b"\x00"}, "CertificateMalformed"),
        ({"_8": b"\x0c\x81" + der(ISSUER)[1:]}, "CertificateMalformed"),
        ({"_8": b"\x13" + der(ISSUER)[1:]}, "CertificateMalformed"),
        ({"_8": b"\x0c\x80x\x00\x00"}, "CertificateMalformed"),
        ({"_8": b"\x0c\x01\xff"}, "CertificateMalformed"),
        ({"_8": b""}, "CertificateMalformed"),
        ({"_8": der(ISSUER), "_12": b"\x0c\x05x"}, "CertificateMalformed"),
        ({"_8": der(ISSUER), "_12": der("x" * 4097)}, "LimitExceeded"),
    ],
)
def test_issuer_that_is_missing_doubtful_or_malformed_is_nobodys(extensions: dict[str, bytes], code: str) -> None:
    with pytest.raises(EvidenceFailure) as caught:
        signer_of(certificate(URI, **extensions))
    assert caught.value.code == code


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=400))
def test_claims_of_every_length_are_read_as_written(text: str) -> None:
    assert dict(signer_of(certificate(URI, _8=der(ISSUER), _14=der(text))).claims) == {"sourceRepositoryRef": text}


SIGNER = Signer(
    issuer=ISSUER, subject=SUBJECT, claims=(("buildTrigger", "push"), ("runnerEnvironment", "github-hosted"))
)


@pytest.mark.parametrize(
    ("identity", "wanted"),
    [
        (Identity(issuer=ISSUER, subject=SUBJECT), True),
        (Identity(issuer=ISSUER, subject=SUBJECT, claims=(("buildTrigger", "push"),)), True),
        (Identity(issuer=ISSUER, subject_reg_exp=r"https://github\.com/acme/.+@refs/tags/.+"), True),
        (Identity(issuer_reg_exp=r"https://token\.actions\..*", subject=SUBJECT), True),
        (Identity(issuer=ISSUER, subject=SUBJECT, subject_reg_exp=".*"), True),
        (Identity(issuer=ISSUER, subject=SUBJECT, subject_reg_exp="nobody"), False),
        (Identity(issuer=ISSUER), False),
        (Identity(subject=SUBJECT), False),
        (Identity(), False),
        (Identity(issuer="", subject=SUBJECT), False),
        (Identity(issuer=ISSUER.upper(), subject=SUBJECT), False),
        (Identity(issuer=ISSUER, subject=SUBJECT + "/"), False),
        (Identity(issuer=ISSUER, subject_reg_exp=r"https://github\.com/acme/"), False),
        (Identity(issuer=ISSUER, subject_reg_exp=r"refs/tags/v1"), False),
        (Identity(issuer=ISSUER, subject_reg_exp=""), False),
        (Identity(issuer=ISSUER, subject=SUBJECT, claims=(("buildTrigger", "pull_request"),)), False),
        (Identity(issuer=ISSUER, subject=SUBJECT, claims=(("noSuchClaim", ""),)), False),
    ],
)
def test_all_that_an_identity_names_must_hold_and_it_must_name_both(identity: Identity, wanted: bool) -> None:
    assert meets(SIGNER, [identity]) is wanted


@pytest.mark.guarantee(2)
def test_no_identity_is_met_by_nobody_and_a_key_meets_none() -> None:
    assert not meets(SIGNER, [])
    assert not meets(Signer(key="sha256:0"), [Identity(issuer_reg_exp=".*", subject_reg_exp=".*")])


def test_any_one_of_the_identities_suffices() -> None:
    nobody, somebody = Identity(issuer="x", subject="y"), Identity(issuer=ISSUER, subject=SUBJECT)
    assert meets(SIGNER, [nobody, somebody])
    assert meets(SIGNER, [somebody, nobody])


def test_pattern_does_not_end_at_a_line_break() -> None:
    two_lines = Signer(issuer=ISSUER, subject=f"{SUBJECT}\nhttps://evil.test")
    assert not meets(two_lines, [Identity(issuer=ISSUER, subject_reg_exp=r"https://github\.com/acme/.*")])


def test_invalid_pattern_is_no_verdict() -> None:
    with pytest.raises(Unjudged):
        meets(SIGNER, [Identity(issuer=ISSUER, subject_reg_exp="(?=x)")])


def _all_kinds(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(_all_kinds(sub) for sub in kind.__subclasses__()))


def test_every_error_of_the_library_has_a_meaning() -> None:
    assert _all_kinds(sigstore_errors.Error) <= set(LIBRARY_ERRORS)


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyError("x"), TypeError("x"), sigstore_errors.Error("x")])
def test_unexpected_error_is_no_verdict_and_is_not_quoted(error: Exception) -> None:
    failure = translated(error)
    assert isinstance(failure, Unjudged)
    assert failure.code == "BundleMalformed"


def test_librarys_text_is_never_shown() -> None:
    failure = translated(sigstore_errors.VerificationError("invalid log entry: SECRET BYTES"))
    assert (failure.code, "SECRET" in failure.message) == ("LogEntryInvalid", False)


@pytest.mark.guarantee(10)
def test_a_claim_may_be_as_long_as_its_bound_and_no_longer() -> None:
    longest = certificate(URI, _8=der(ISSUER), _2=b"x" * MAX_CLAIM_BYTES)
    assert dict(signer_of(longest).claims).popitem()[1] == "x" * MAX_CLAIM_BYTES
    with pytest.raises(Unjudged, match="MAX_CLAIM_BYTES"):
        signer_of(certificate(URI, _8=der(ISSUER), _2=b"x" * (MAX_CLAIM_BYTES + 1)))


def test_an_issuer_of_indefinite_length_is_no_text() -> None:
    with pytest.raises(Unjudged, match="CertificateMalformed"):
        signer_of(certificate(URI, _8=b"\x0c\x80" + b"x" * 128))


@pytest.mark.parametrize("length", [0x7F, 0x80, 0xFF, 0x100])
def test_a_claim_has_the_shortest_length_that_der_knows_and_no_other(length: int) -> None:
    text = "x" * length
    assert dict(signer_of(certificate(URI, _8=der(ISSUER), _9=der(text))).claims).popitem()[1] == text
    longer = {
        0x7F: b"\x0c\x81\x7f",
        0x80: b"\x0c\x82\x00\x80",
        0xFF: b"\x0c\x82\x00\xff",
        0x100: b"\x0c\x83\x00\x01\x00",
    }
    with pytest.raises(Unjudged, match="CertificateMalformed"):
        signer_of(certificate(URI, _8=der(ISSUER), _9=longer[length] + text.encode()))
