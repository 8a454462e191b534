"""Certificate authorities of one's own, made on the spot."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
WHO = "release@acme.example"
NOW = datetime(2100, 1, 1, tzinfo=UTC)
YEARS = timedelta(days=3650)
BEGAN, ENDS = NOW - timedelta(days=30), NOW + timedelta(days=30)


@dataclass(frozen=True)
class Ca:
    """A certificate authority of one's own, a root or an intermediate."""

    name: str
    key: PrivateKey
    certificate: x509.Certificate
    above: Ca | None = None

    @property
    def chain(self) -> str:
        """Its certificates, itself first, the root last."""
        own = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return own + (self.above.chain if self.above is not None else "")

    def issue(
        self,
        public: ec.EllipticCurvePublicKey,
        names: Sequence[x509.GeneralName] = (x509.RFC822Name(WHO),),
        *,
        usages: Sequence[ObjectIdentifier] = (ExtendedKeyUsageOID.CODE_SIGNING,),
        began: datetime = BEGAN,
        ends: datetime = ENDS,
        signing: bool = True,
    ) -> bytes:
        """A signer's certificate, DER."""
        builder = _builder(self.name, "", public, began, ends)
        builder = builder.add_extension(_usage(signs=signing, issues=False), critical=True)
        if usages:
            builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        builder = builder.add_extension(_issued_by(self.key), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def _usage(*, signs: bool, issues: bool) -> x509.KeyUsage:
    """signs: content; issues: certificates; nothing else."""
    return x509.KeyUsage(signs, False, False, False, False, issues, issues, False, False)


def _issued_by(key: PrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _builder(issuer: str, subject: str, public: PublicKey, began: datetime, ends: datetime) -> x509.CertificateBuilder:
    names = [x509.NameAttribute(NameOID.COMMON_NAME, subject)] if subject else []
    return (
        x509.CertificateBuilder()
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .subject_name(x509.Name(names))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(ends)
    )


def new_ca(
    name: str = "Acme root",
    *,
    above: Ca | None = None,
    is_ca: bool = True,
    length: int | None = None,
    usages: Sequence[ObjectIdentifier] = (),
    now: datetime = NOW,
    key: PrivateKey | None = None,
) -> Ca:
    """A CA, of itself or of another, valid for years around `now`; with a new P-256 key unless one is given."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    issuer = above or Ca(name, key, None)  # type: ignore[arg-type]  # of itself: its certificate is not asked for
    builder = _builder(issuer.name, name, key.public_key(), now - YEARS, now + YEARS)
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=is_ca, path_length=length if is_ca else None), critical=True)
        .add_extension(_usage(signs=not is_ca, issues=is_ca), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_issued_by(issuer.key), critical=False)
    )
    if usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    return Ca(name, key, builder.sign(issuer.key, hashes.SHA256()), above)


def of_version(der: bytes, number: int) -> bytes:
    """The certificate with another version in it: what no X.509 library reads, and anybody can write."""
    version = bytes.fromhex("a003020102")
    return der.replace(version, version[:-1] + bytes([number]), 1)


def of_unknown_key(der: bytes) -> bytes:
    """The certificate with a key of a kind that nobody knows (id-ecPublicKey made another number)."""
    return der.replace(bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a8648ce3d0209"), 1)


def of_year_zero(der: bytes) -> bytes:
    """The certificate valid from the year 0, which X.509 can write down and a calendar cannot."""
    return der.replace(b"\x18\x0f2099", b"\x18\x0f0000", 1)


def pem_of(der: bytes) -> str:
    """A certificate's PEM block, whatever is in it."""
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
