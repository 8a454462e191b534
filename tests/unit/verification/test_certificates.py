"""A certificate is the trust root's to give: issued, logged, for signing code, and valid when it signed."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import json
from collections.abc import Sequence

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.model.policy import TrustRoot
from controller.verification import certificates
from controller.verification.certificates import load_certificate, verify_certificate
from controller.verification.failures import EvidenceFailure, NotVerified, Unjudged
from controller.verification.trust import ParsedRoot, parse_root
from tests.fixtures.sigstore_stack.pki import Authority, certify
from tests.support.fixtures import recorded_layer
from tests.unit.verification.legacy import CERTIFICATE, LEGACY_ROOT

RECORDED = x509.load_pem_x509_certificate(
    dict(recorded_layer("workflow.rekor1.signature").annotations)[CERTIFICATE].encode()
)
SIGNED = RECORDED.not_valid_before_utc + dt.timedelta(seconds=1)
SECOND = dt.timedelta(seconds=1)
CODE = ExtendedKeyUsageOID.CODE_SIGNING
OWN = certify("issuer", is_ca=True)


def root_of(authority: Authority) -> ParsedRoot:
    """The recorded trust root with another certificate authority."""
    document = json.loads(LEGACY_ROOT.content)
    der = base64.b64encode(authority.certificate.public_bytes(serialization.Encoding.DER)).decode()
    document["certificateAuthorities"][0]["certChain"] = {"certificates": [{"rawBytes": der}]}
    content = json.dumps(document).encode()
    return parse_root(TrustRoot("own", content, ""))


def signing(
    *,
    usages: Sequence[x509.ObjectIdentifier] = (CODE,),
    digital_signature: bool = True,
    extra: Sequence[x509.ExtensionType] = (),
) -> x509.Certificate:
    """A certificate of the own authority, valid as long as the recorded one."""
    usage = x509.KeyUsage(digital_signature, *(False,) * 3, not digital_signature, *(False,) * 4)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "signer")]))
        .issuer_name(OWN.certificate.subject)
        .public_key(certify("signer").key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(RECORDED.not_valid_before_utc)
        .not_valid_after(RECORDED.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([x509.RFC822Name("dev@acme.example")]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(OWN.key.public_key()), critical=False)
        .add_extension(usage, critical=True)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    for extension in extra:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(OWN.key, hashes.SHA256())


def refused(certificate: x509.Certificate, root: ParsedRoot, *times: dt.datetime) -> str:
    """The code with which the certificate is refused."""
    with pytest.raises(EvidenceFailure) as caught:
        verify_certificate(certificate, times=times, root=root)
    assert isinstance(caught.value, NotVerified)
    return caught.value.code


def test_recorded_certificate_holds_from_its_first_to_its_last_second_and_no_longer() -> None:
    root = parse_root(LEGACY_ROOT)
    first, last = RECORDED.not_valid_before_utc, RECORDED.not_valid_after_utc
    verify_certificate(RECORDED, times=[first, last], root=root)
    assert refused(RECORDED, root, first - SECOND) == "CertificateExpired"
    assert refused(RECORDED, root, last + SECOND) == "CertificateExpired"


def test_every_time_that_is_vouched_for_must_be_within_its_validity() -> None:
    root = parse_root(LEGACY_ROOT)
    late = RECORDED.not_valid_after_utc + SECOND
    assert refused(RECORDED, root, SIGNED, late) == "CertificateExpired"
    assert refused(RECORDED, root, late, SIGNED) == "CertificateExpired"


def test_no_time_is_no_proof() -> None:
    assert refused(RECORDED, parse_root(LEGACY_ROOT)) == "TimeUnproven"


def test_certificate_of_an_issuer_that_the_root_does_not_have_is_refused() -> None:
    assert refused(RECORDED, root_of(OWN), SIGNED) == "CertificateUntrusted"
    assert refused(signing(), parse_root(LEGACY_ROOT), SIGNED) == "CertificateUntrusted"


def test_certificate_of_an_issuer_of_the_same_name_is_refused() -> None:
    namesake = root_of(certify("issuer", is_ca=True))
    assert refused(signing(), namesake, SIGNED) == "CertificateUntrusted"


def test_certificate_that_is_in_no_log_is_refused() -> None:
    assert refused(signing(), root_of(OWN), SIGNED) == "CertificateNotLogged"


def test_a_log_is_not_asked_about_where_the_policy_ignores_it() -> None:
    verify_certificate(signing(), times=[SIGNED], root=root_of(OWN), logged=False)
    with pytest.raises(NotVerified, match="CertificateExpired"):
        verify_certificate(signing(), times=[SIGNED - 24 * 3600 * SECOND], root=root_of(OWN), logged=False)
    with pytest.raises(NotVerified, match="CertificateUsage"):
        verify_certificate(signing(usages=()), times=[SIGNED], root=root_of(OWN), logged=False)
    with pytest.raises(NotVerified, match="CertificateUntrusted"):
        verify_certificate(signing(), times=[SIGNED], root=parse_root(LEGACY_ROOT), logged=False)


def test_proof_of_another_certificate_in_a_log_is_not_this_ones() -> None:
    proofs = RECORDED.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
    borrowed = signing(extra=[x509.PrecertificateSignedCertificateTimestamps(list(proofs))])
    assert refused(borrowed, root_of(OWN), SIGNED) == "CertificateNotLogged"


@pytest.mark.parametrize(
    ("usages", "digital_signature"),
    [
        ((), True),
        ((ExtendedKeyUsageOID.CLIENT_AUTH,), True),
        ((ExtendedKeyUsageOID.TIME_STAMPING,), True),
        ((CODE,), False),
    ],
)
def test_certificate_that_is_not_for_signing_code_is_refused(
    usages: Sequence[x509.ObjectIdentifier], digital_signature: bool
) -> None:
    certificate = signing(usages=usages, digital_signature=digital_signature)
    with pytest.raises(NotVerified, match="CertificateUsage"):
        certificates._check_usage(certificate)
    certificates._check_usage(signing())
    certificates._check_usage(RECORDED)


def test_usage_is_asked_of_every_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "CODE_SIGNING", ExtendedKeyUsageOID.TIME_STAMPING)
    assert refused(RECORDED, parse_root(LEGACY_ROOT), SIGNED) == "CertificateUsage"


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"certificate", RECORDED.public_bytes(serialization.Encoding.PEM)])
def test_certificate_that_is_none_is_no_verdict(der: bytes) -> None:
    with pytest.raises(Unjudged, match="CertificateMalformed"):
        load_certificate(der)


def test_windows_of_authorities_and_logs_are_for_the_time_of_signing() -> None:
    document = json.loads(LEGACY_ROOT.content)
    day = {"start": f"{SIGNED - dt.timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}", "end": f"{SIGNED:%Y-%m-%dT%H:%M:%SZ}"}
    document["certificateAuthorities"][0]["validFor"] = day
    root = parse_root(dataclasses.replace(LEGACY_ROOT, content=json.dumps(document).encode()))
    verify_certificate(RECORDED, times=[SIGNED], root=root)
    assert refused(RECORDED, root, SIGNED + SECOND) == "CertificateUntrusted"


def test_issuer_must_be_valid_at_the_time_of_signing_as_well() -> None:
    ends = RECORDED.not_valid_before_utc + dt.timedelta(seconds=60)
    short = (
        x509.CertificateBuilder()
        .subject_name(OWN.certificate.subject)
        .issuer_name(OWN.certificate.subject)
        .public_key(OWN.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(OWN.certificate.not_valid_before_utc)
        .not_valid_after(ends)
    )
    for extension in OWN.certificate.extensions:
        short = short.add_extension(extension.value, critical=extension.critical)
    root = root_of(Authority(short.sign(OWN.key, hashes.SHA256()), OWN.key))
    assert refused(signing(), root, ends) == "CertificateNotLogged"  # the chain holds until then
    assert refused(signing(), root, ends + SECOND) == "CertificateUntrusted"
