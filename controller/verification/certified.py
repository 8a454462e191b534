"""The proof that a certificate of an own CA made a signature: a chain that the policy or its trust root names.

No certificate log vouches for it, so its owner's CA is believed as it is: the policy says who may be in the certificate
and what it must be for. Issuers are the policy's alone; what a bundle or an annotation brings as a chain is not read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import Criticality, ExtensionPolicy, Policy, PolicyBuilder, Store
from cryptography.x509.verification import VerificationError as ChainError

from controller.errors import PolicyError
from controller.model.evidence import OWN_CA, Signer
from controller.model.policy import Authority, CertificateAuthority, CertificateIdentity, OwnAuthority
from controller.model.reference import Digest
from controller.policy.pems import blocks
from controller.settings import DocumentSettings
from controller.verification.bundle import Bundle
from controller.verification.certificates import load_certificate
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.identities import whole_match
from controller.verification.keys import PublicKey, checked_key
from controller.verification.proof import Proven, shown, shown_time, told
from controller.verification.signatures import described, is_signed_by
from controller.verification.transparency import Verifier
from controller.verification.trust import believed
from controller.verification.witnesses import RootSource, witnessed

_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string
MAX_CHAINS = 64  # bounds the parsed chains that a process remembers


@dataclass(frozen=True, slots=True)
class Chain:
    """CA certificates, intermediates first, the root last, and the window in which they are believed."""

    certificates: tuple[x509.Certificate, ...]
    valid_from: datetime | None = None
    valid_until: datetime | None = None

    @property
    def name(self) -> str:
        """Which CA this is: the SHA-256 of its root's key."""
        encoded = (
            self.certificates[-1]
            .public_key()
            .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
        return f"{OWN_CA}{hashlib.sha256(encoded).hexdigest()}"


def chain_of(own: OwnAuthority) -> Chain:
    """A chain, parsed once a process. Raises `PolicyError` (`PemMalformed`, `ChainMalformed`)."""
    return Chain(_certificates(own.chain), own.valid_from, own.valid_until)


@lru_cache(maxsize=MAX_CHAINS)
def _certificates(pem: str) -> tuple[x509.Certificate, ...]:
    try:
        return tuple(x509.load_pem_x509_certificate(block.encode()) for block in blocks(pem, "CERTIFICATE"))
    except (ValueError, x509.InvalidVersion) as exc:
        raise PolicyError("ChainMalformed", "the chain has a block that is no X.509 certificate") from exc


def prove_by_certificate(
    bundle: Bundle,
    *,
    image: Digest,
    authority: Authority,
    wanted: CertificateAuthority,
    chains: Sequence[Chain],
    root: RootSource,
    now: datetime,
    limits: DocumentSettings,
) -> Proven:
    """Prove that a certificate of one of `chains`, of one of the wanted identities, signed the bundle's content.

    The caller's duty: to check what the content is about (`read_statement`, `check_payload`).
    Raises `NotVerified` and `Unjudged`.
    """
    if bundle.certificate is None:
        raise NotVerified("SignedWithKey", f"it was signed with a bare key, and authority {authority.name} is a CA")
    certificate = load_certificate(bundle.certificate)
    key = _key_of(certificate)
    # (1) The signature is the certificate's key's, over exactly this content.
    if not is_signed_by(bundle.content, image=image, key=key):
        raise NotVerified("SignatureInvalid", "its signature does not verify with its certificate")
    # (2) Those who must vouch for it do.
    by = Verifier(key, bundle.certificate)
    seen = witnessed(bundle, by=by, authority=authority, root=root, now=now, limits=limits)
    # (3) At each time that is vouched for, or now if none is, the certificate was valid and one CA's to give.
    chain = _issued(certificate, chains, times=seen.times, authority=authority, usages=wanted.extended_key_usages)
    # (4) It is for what the policy asks.
    _check_usage(certificate, wanted)
    # (5) Who it is, by the certificate's word, which now counts; and that is somebody wanted.
    signer = Signer(issuer=chain.name, subject=_subject(certificate))
    if not _meets(signer.subject, wanted.identities):
        raise NotVerified(
            "IdentityMismatch",
            f"it was signed by {shown(signer.subject)}, who is none of the identities of authority {authority.name}",
        )
    window = f"{shown_time(certificate.not_valid_before_utc)} to {shown_time(certificate.not_valid_after_utc)}"
    valid = f"valid from {window}, for {', '.join(wanted.extended_key_usages)}"
    return Proven(
        signer=signer,
        key=key,
        log_entry=seen.entries[0].entry if seen.entries else None,
        signed_at=seen.signed_at,
        timestamped=bool(seen.stamped),
        steps=(
            f"{chain.name} of authority {authority.name} issued the certificate of {shown(signer.subject)}, {valid}.",
            f"The signature over {described(bundle.content, image)} verifies with the certificate's key.",
            *told(seen.entries, seen.stamped),
        ),
    )


def _key_of(certificate: x509.Certificate) -> PublicKey:
    try:
        return checked_key(certificate.public_key())
    except (PolicyError, UnsupportedAlgorithm, ValueError) as exc:
        raise Unjudged(
            "CertificateMalformed", "its certificate's key is of a kind or length that does not count"
        ) from exc


def _issued(
    certificate: x509.Certificate,
    chains: Sequence[Chain],
    *,
    times: Sequence[datetime],
    authority: Authority,
    usages: Sequence[str],
) -> Chain:
    """The one chain that the certificate leads to at all of these times."""
    for time in times:
        if not certificate.not_valid_before_utc <= time <= certificate.not_valid_after_utc:
            raise NotVerified("CertificateExpired", "its certificate was not valid when it signed")
    for chain in chains:
        if all(
            believed(time, chain.valid_from, chain.valid_until) and _leads(certificate, chain, time, usages)
            for time in times
        ):
            return chain
    raise NotVerified("CertificateUntrusted", f"its certificate is not of a CA that authority {authority.name} names")


def _leads(certificate: x509.Certificate, chain: Chain, time: datetime, usages: Sequence[str]) -> bool:
    # Issuers must keep the web's rules (RFC 5280 and more), but for the extended key usage: servers and clients are
    # what the web's rules know. Signers keep only what `_check_usage` and `_subject` ask, since own CAs leave out what
    # web browsers need.
    issuers = ExtensionPolicy.webpki_defaults_ca().may_be_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, partial(_check_issuer, usages)
    )
    verifier = (
        PolicyBuilder()
        .store(Store([chain.certificates[-1]]))
        .time(time)
        .extension_policies(ca_policy=issuers, ee_policy=ExtensionPolicy.permit_all())
        .build_client_verifier()
    )
    try:
        verifier.verify(certificate, list(chain.certificates[:-1]))
    except (ChainError, x509.UnsupportedGeneralNameType, ValueError):
        return False
    return True


def _check_issuer(
    usages: Sequence[str], policy: Policy, issuer: x509.Certificate, purposes: x509.ExtendedKeyUsage | None
) -> None:
    """An issuer that is for some purposes alone gives certificates for no others. Raises `ValueError`."""
    del policy, issuer
    allowed = None if purposes is None else {purpose.dotted_string for purpose in purposes}
    if allowed is not None and _ANY not in allowed and not set(usages) <= allowed:
        raise ValueError("the issuer is for other purposes")


def _check_usage(certificate: x509.Certificate, wanted: CertificateAuthority) -> None:
    message = f"its certificate is not for {', '.join(wanted.extended_key_usages)}, or not for signing"
    try:
        has = {
            purpose.dotted_string
            for purpose in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        }
        signing = certificate.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound as exc:
        raise NotVerified("CertificateUsage", message) from exc
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise Unjudged("CertificateMalformed", "its certificate has extensions that cannot be read") from exc
    if not signing or not wanted.extended_key_usages or not set(wanted.extended_key_usages) <= has:
        raise NotVerified("CertificateUsage", message)


def _subject(certificate: x509.Certificate) -> str:
    """The certificate's one subject alternative name: with several, one signer could count as many."""
    try:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as exc:
        raise Unjudged("CertificateMalformed", "its certificate has extensions that cannot be read") from exc
    if len(names) != 1:
        raise NotVerified("CertificateSubjectAmbiguous", f"its certificate has {len(names)} subjects instead of one")
    match names[0]:
        case x509.RFC822Name(value=value) | x509.UniformResourceIdentifier(value=value) | x509.DNSName(value=value) if (
            value
        ):
            return value
    raise NotVerified("CertificateSubjectAmbiguous", "its certificate's subject is no e-mail address, URI or DNS name")


def _meets(subject: str, identities: Sequence[CertificateIdentity]) -> bool:
    """Whether the subject is one of these. None of none is false, and an identity that names nobody meets nobody."""
    return any(
        (identity.subject is not None or identity.subject_reg_exp is not None)
        and identity.subject in {None, subject}
        and (identity.subject_reg_exp is None or whole_match(identity.subject_reg_exp, subject))
        for identity in identities
    )
