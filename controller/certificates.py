"""The webhook's own certificates: made and renewed here, so that Assay needs no cert-manager and no openssl.

The API server must never meet a serving certificate whose CA it does not know yet. So a new CA first only stands beside
the old one in the bundle, and signs once it has been there for `SETTLE`; the old one stays in the bundle until it ends.

Pure but for `in_directory`: `renewed` takes what there is and the time, and returns what there should be.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controller.errors import ConfigurationError

AUTHORITY_VALIDITY = timedelta(days=2 * 365)
SERVING_VALIDITY = timedelta(days=365)
SETTLE = timedelta(hours=1)  # from a new CA's entry in the bundle to its first signature: every caBundle has it by then
SKEW = timedelta(minutes=5)  # how far a clock may be behind
CA_CERTIFICATES, CA_KEYS, SERVING_CERTIFICATE, SERVING_KEY = "ca.crt", "ca.key", "tls.crt", "tls.key"
FILES = (CA_CERTIFICATES, CA_KEYS, SERVING_CERTIFICATE, SERVING_KEY)
_END = b"-----END PRIVATE KEY-----\n"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key. `key` is None for an old CA that no longer signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Certificates:
    """The serving certificate, and the CAs that its clients should trust, newest first."""

    authorities: tuple[Pair, ...]
    serving: Pair

    def ca_bundle(self) -> bytes:
        """All CA certificates, PEM: what `caBundle` should hold."""
        return b"".join(_pem(pair.certificate) for pair in self.authorities)

    def as_files(self) -> dict[str, bytes]:
        """File name (a Secret's key) to PEM. `tls.crt` has the chain as a server presents it."""
        keys = [_private(pair.key) for pair in self.authorities if pair.key is not None]
        return {
            CA_CERTIFICATES: self.ca_bundle(),
            CA_KEYS: b"".join(keys),
            SERVING_CERTIFICATE: _pem(self.serving.certificate),
            SERVING_KEY: _private(self.serving.key) if self.serving.key is not None else b"",
        }

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Certificates:
        """Read what `as_files` gave.

        Raises `ConfigurationError` (`CertificatesMalformed`), which never quotes a key.
        """
        try:
            keys = {_spki(key): key for key in map(_load_key, _split_keys(files[CA_KEYS]))}
            authorities = tuple(
                Pair(certificate, keys.get(_spki_of(certificate)))
                for certificate in x509.load_pem_x509_certificates(files[CA_CERTIFICATES])
            )
            serving = Pair(x509.load_pem_x509_certificate(files[SERVING_CERTIFICATE]), _load_key(files[SERVING_KEY]))
            if serving.key is None or _spki(serving.key) != _spki_of(serving.certificate):
                raise ValueError("key and certificate differ")
            return cls(authorities, serving)
        except (KeyError, ValueError, TypeError) as exc:
            raise ConfigurationError(
                "CertificatesMalformed", f"the webhook's certificates cannot be read: {type(exc).__name__}"
            ) from exc


def renewed(present: Certificates | None, *, names: tuple[str, ...], now: datetime) -> Certificates:
    """What there should be now: `present` itself where nothing is due.

    A certificate is due when less than a third of its validity is left; the serving one also when its names are not
    `names` (DNS names and IP addresses) or no CA of the bundle signed it.
    """
    authorities = _authorities(() if present is None else present.authorities, now)
    signing = _signing(authorities, now)
    serving = None if present is None else present.serving
    if serving is None or not _serves(serving, names=names, authorities=authorities, now=now):
        serving = _issue(signing, names=names, now=now)
    if present is not None and authorities == present.authorities and serving == present.serving:
        return present
    return Certificates(authorities, serving)


def in_directory(directory: Path, *, names: tuple[str, ...], now: datetime | None = None) -> Certificates:
    """The certificates kept in a directory, made or renewed if due; processes that share it take turns.

    Files are for the owner's eyes only and replaced whole. Raises `ConfigurationError` (`CertificatesUnwritable`,
    `CertificatesMalformed`).
    """
    moment = now or datetime.now(UTC)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _turn(directory / ".lock"):
            there = {name: (directory / name).read_bytes() for name in FILES if (directory / name).exists()}
            present = Certificates.from_files(there) if there else None
            wanted = renewed(present, names=names, now=moment)
            if wanted is not present:
                for name, content in wanted.as_files().items():
                    _replace(directory / name, content)
            return wanted
    except OSError as exc:
        raise ConfigurationError(
            "CertificatesUnwritable", f"the webhook's certificates cannot be kept in {directory}: {exc.strerror}"
        ) from exc


def _authorities(present: tuple[Pair, ...], now: datetime) -> tuple[Pair, ...]:
    valid = tuple(pair for pair in present if pair.certificate.not_valid_after_utc > now)
    usable = [pair for pair in valid if pair.key is not None]
    if not usable or _is_due(usable[0].certificate, now):
        return (_make_authority(now), *valid)
    if len(usable) > 1 and _has_settled(usable[0], now):
        # The new one signs from now on: the key of an old one is a risk and no use.
        return tuple(pair if pair is usable[0] else Pair(pair.certificate, None) for pair in valid)
    return valid


def _signing(authorities: tuple[Pair, ...], now: datetime) -> Pair:
    usable = [pair for pair in authorities if pair.key is not None]
    return next((pair for pair in usable if _has_settled(pair, now)), usable[-1])


def _has_settled(authority: Pair, now: datetime) -> bool:
    return authority.certificate.not_valid_before_utc + SKEW + SETTLE <= now


def _is_due(certificate: x509.Certificate, now: datetime) -> bool:
    validity = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    return certificate.not_valid_after_utc - now < validity / 3


def _serves(serving: Pair, *, names: tuple[str, ...], authorities: tuple[Pair, ...], now: datetime) -> bool:
    if _is_due(serving.certificate, now) or _names_of(serving.certificate) != {
        str(_general_name(name).value) for name in names
    }:
        return False
    return any(_signed_by(serving.certificate, pair.certificate) for pair in authorities)


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _make_authority(now: datetime) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # A serial in the name: two CAs of one name would make a verifier try the wrong one.
    serial = x509.random_serial_number()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Assay webhook CA {serial:x}"[:64])])
    certificate = (
        _builder(name, name, key, serial=serial, now=now, validity=AUTHORITY_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _issue(authority: Pair, *, names: tuple[str, ...], now: datetime) -> Pair:
    if authority.key is None or not names:
        raise ConfigurationError("CertificateNamesMissing", "webhook_names must name the webhook at least once")
    key = ec.generate_private_key(ec.SECP256R1())
    issuer = authority.certificate
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Assay webhook")])
    validity = min(SERVING_VALIDITY, issuer.not_valid_after_utc - now)
    certificate = (
        _builder(name, issuer.subject, key, serial=x509.random_serial_number(), now=now, validity=validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(_issuer_key(issuer), critical=False)
        .sign(authority.key, hashes.SHA256())
    )
    return Pair(certificate, key)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    serial: int,
    now: datetime,
    validity: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - SKEW)
        .not_valid_after(now + validity)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_of(certificate: x509.Certificate) -> set[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {str(name.value) for name in names}


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(pem, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("not an elliptic curve key")
    return key


def _split_keys(pem: bytes) -> list[bytes]:
    return [part + _END for part in pem.split(_END) if part.strip()]


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _spki_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


@contextlib.contextmanager
def _turn(lock: Path) -> Iterator[None]:
    with lock.open("wb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _replace(file: Path, content: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # mode 0600
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
