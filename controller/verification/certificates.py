"""That a certificate was the trust root's to give: issued by its authority, logged, and valid when it signed.

The same duties as sigstore's verifier has (https://github.com/sigstore/architecture-docs, client specification, section
4), and the windows in which the trust root believes its authorities and logs. It is put together from parts of sigstore
and `cryptography`, since that verifier takes neither old formats nor certificates without a log entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store
from cryptography.x509.verification import VerificationError as ChainError
from sigstore._internal.sct import verify_sct
from sigstore.errors import Error as SigstoreError

from controller.verification.failures import NotVerified, Unjudged
from controller.verification.trust import ParsedRoot

CODE_SIGNING = ExtendedKeyUsageOID.CODE_SIGNING


def load_certificate(der: bytes) -> x509.Certificate:
    """The certificate. Raises `Unjudged` (`CertificateMalformed`)."""
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as exc:
        raise Unjudged("CertificateMalformed", "its certificate cannot be read") from exc


def verify_certificate(
    certificate: x509.Certificate, *, times: Sequence[datetime], root: ParsedRoot, logged: bool = True
) -> None:
    """Return if `root` issued and logged the certificate for signing code, and it was valid at all of `times`.

    Without `logged` nothing is asked of its log.
    The caller's duty: that each time is one at which a trusted party saw the signature.
    Raises `NotVerified` (`TimeUnproven`, `CertificateExpired`, `CertificateUntrusted`, `CertificateNotLogged`,
    `CertificateUsage`) and `ConfigurationError` (`TrustRootIncomplete`).
    """
    # (1) Somebody trusted vouches for a time. Without one, a certificate of ten minutes would be good for ever.
    if not times:
        raise NotVerified("TimeUnproven", "nobody trusted vouches for the time of its signature")
    for time in times:
        # (2) It was valid then, and leads to an authority that the root believes for then.
        if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
            raise NotVerified("CertificateExpired", "its certificate was not valid when it signed")
        chain = _chain(certificate, time=time, root=root)
    # (3) It is in a certificate log, so its owner could have noticed it.
    if logged:
        _check_logged(certificate, chain, root=root)
    # (4) It is for signing code.
    _check_usage(certificate)


def _chain(certificate: x509.Certificate, *, time: datetime, root: ParsedRoot) -> list[x509.Certificate]:
    """The issuers of the certificate, nearest first."""
    issuers = root.issuers(time)
    if not issuers:
        raise NotVerified("CertificateUntrusted", f"trust root {root.name} believes no issuer for its time")
    # The web's rules, but for the extended key usage, which `_check_usage` asks for instead: servers and clients are
    # what the web's rules know, and code is what these sign.
    authority, leaf = (
        defaults.may_be_present(x509.ExtendedKeyUsage, Criticality.NON_CRITICAL, None)
        for defaults in (ExtensionPolicy.webpki_defaults_ca(), ExtensionPolicy.webpki_defaults_ee())
    )
    verifier = (
        PolicyBuilder()
        .store(Store(issuers))
        .time(time)
        .extension_policies(ca_policy=authority, ee_policy=leaf)
        .build_client_verifier()
    )
    try:
        return verifier.verify(certificate, []).chain[1:]
    except (ChainError, x509.UnsupportedGeneralNameType, ValueError) as exc:
        raise NotVerified("CertificateUntrusted", "its certificate is not of a trusted issuer") from exc


def _check_logged(certificate: x509.Certificate, chain: list[x509.Certificate], *, root: ParsedRoot) -> None:
    try:
        (proof,) = certificate.extensions.get_extension_for_class(x509.PrecertificateSignedCertificateTimestamps).value
        log = root.certificate_log(proof.log_id, proof.timestamp.replace(tzinfo=UTC))
        verify_sct(certificate, chain, log)
    except (SigstoreError, ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as exc:
        raise NotVerified(
            "CertificateNotLogged", "its certificate is not proven to be in a trusted certificate log"
        ) from exc


def _check_usage(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as exc:
        raise NotVerified("CertificateUsage", "its certificate does not say that it is for signing code") from exc
    if not usage.digital_signature or CODE_SIGNING not in purposes:
        raise NotVerified("CertificateUsage", "its certificate is not for signing code")
