"""Trust roots, parsed once a process: whose certificates, logs and timestamps are believed, and for which times.

A root is a Sigstore TrustedRoot document handed in as bytes. Nothing here fetches anything: no TUF, no cache on disk.
What has a validity window is believed for times within it alone: a key that was retired, stolen later and used to
write history does not count. Both ends belong to a window, and one without an end is still open.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from pydantic import ValidationError
from sigstore._internal.trust import CertificateAuthority, CTKeyring, Keyring, KeyringPurpose, RekorKeyring
from sigstore.errors import Error as SigstoreError
from sigstore.models import TrustedRoot
from sigstore.verify import Verifier
from sigstore_models.common.v1 import TimeRange
from sigstore_models.trustroot import v1 as trustroot_v1

from controller.errors import ConfigurationError
from controller.model.policy import TrustRoot
from controller.verification.failures import NotVerified

MAX_ROOTS = 32  # bounds the parsed roots that a process remembers


@dataclass(frozen=True)
class ParsedRoot:
    """A trust root ready for use. A property that it lacks raises `ConfigurationError` (`TrustRootIncomplete`)."""

    name: str
    root: TrustedRoot

    @cached_property
    def verifier(self) -> Verifier:
        """sigstore's verifier for keyless bundles: needs certificate authorities, certificate logs and a log."""
        try:
            self.root.ct_keyring(KeyringPurpose.VERIFY)
            return Verifier(trusted_root=self.root)
        except (SigstoreError, ValueError) as exc:
            raise self._incomplete("certificate authorities, certificate logs and transparency logs") from exc

    def log(self, log_id: bytes, times: Iterable[datetime]) -> RekorKeyring:
        """The key of the transparency log with this id, alone, if it is to be believed at all of these times.

        Raises also `NotVerified` (`LogUnknown`, `LogOutsideValidity`).
        """
        if not self._inner.tlogs:
            raise self._incomplete("transparency logs")
        logs = [log for log in self._inner.tlogs if log_id == log.log_id.key_id]
        if not logs:
            raise NotVerified("LogUnknown", f"its log entry is of a log that trust root {self.name} does not know")
        when = tuple(times)
        keys = [log.public_key for log in logs if all(_within(log.public_key.valid_for, time) for time in when)]
        if not keys:
            raise NotVerified(
                "LogOutsideValidity",
                f"its log entry is not of a time for which trust root {self.name} believes the log's key",
            )
        try:
            return RekorKeyring(Keyring(keys))
        except (SigstoreError, ValueError) as exc:
            raise self._incomplete("readable key for the log of the entry") from exc

    def certificate_log(self, log_id: bytes, time: datetime) -> CTKeyring:
        """The key of the certificate log with this id, alone, if it is to be believed at this time.

        Raises also `NotVerified` (`CertificateNotLogged`).
        """
        if not self._inner.ctlogs:
            raise self._incomplete("certificate logs")
        keys = [log.public_key for log in self._inner.ctlogs if log_id == log.log_id.key_id]
        keys = [key for key in keys if _within(key.valid_for, time)]
        if not keys:
            raise NotVerified(
                "CertificateNotLogged",
                f"its certificate is of no certificate log that trust root {self.name} believes for its time",
            )
        try:
            return CTKeyring(Keyring(keys))
        except (SigstoreError, ValueError) as exc:
            raise self._incomplete("readable key for the certificate's log") from exc

    def issuers(self, time: datetime) -> list[x509.Certificate]:
        """The certificates of the authorities that are to be believed at this time; may be empty."""
        if not self._certificate_authorities:
            raise self._incomplete("certificate authorities")
        return [
            certificate
            for authority in self._certificate_authorities
            if _within(authority._inner.valid_for, time)  # noqa: SLF001 - version pinned
            for certificate in authority.certificates(allow_expired=True)
        ]

    @cached_property
    def _certificate_authorities(self) -> tuple[CertificateAuthority, ...]:
        try:
            return tuple(CertificateAuthority(authority) for authority in self._inner.certificate_authorities)
        except (SigstoreError, ValueError) as exc:
            raise self._incomplete("readable certificate authorities") from exc

    @property
    def _inner(self) -> trustroot_v1.TrustedRoot:
        return self.root._inner  # noqa: SLF001 - version pinned

    def log_ends(self) -> Iterator[datetime]:
        """Both ends of the windows in which it believes its transparency logs' keys."""
        windows = (log.public_key.valid_for for log in self._inner.tlogs)
        for window in (window for window in windows if window is not None):
            yield from (end for end in (window.start, window.end) if end is not None)

    def log_keys(self) -> Iterator[PublicKeyTypes]:
        """The keys of all its logs. Raises `ConfigurationError` (`TrustRootIncomplete`) for one that cannot be read."""
        for log in (*self._inner.tlogs, *self._inner.ctlogs):
            try:
                yield serialization.load_der_public_key(log.public_key.raw_bytes or b"")
            except (ValueError, UnsupportedAlgorithm) as exc:
                raise self._incomplete("readable keys of its logs") from exc

    def certificates(self) -> Iterator[x509.Certificate]:
        """The certificates of all its authorities, those for timestamps too."""
        for authority in (*self._certificate_authorities, *self.timestamp_authorities):
            yield from authority.certificates(allow_expired=True)

    @cached_property
    def timestamp_authorities(self) -> tuple[CertificateAuthority, ...]:
        """The timestamp authorities; may be empty."""
        try:
            return tuple(self.root.get_timestamp_authorities())
        except (SigstoreError, ValueError) as exc:
            raise self._incomplete("readable timestamp authorities") from exc

    def _incomplete(self, what: str) -> ConfigurationError:
        return ConfigurationError("TrustRootIncomplete", f"trust root {self.name} has no {what}")


def _within(window: TimeRange | None, time: datetime) -> bool:
    """Whether the time lies in the window; a part without one is believed for all times."""
    return window is None or believed(time, window.start, window.end)


def believed(time: datetime, valid_from: datetime | None, valid_until: datetime | None) -> bool:
    """Whether the time lies in the window; both ends belong to it, and None is open."""
    return (valid_from is None or valid_from <= time) and (valid_until is None or time <= valid_until)


def check_root(trust_root: TrustRoot) -> None:
    """Return if the root has no fault of its own. Raises `ConfigurationError` with the fault's code."""
    if trust_root.fault is not None:
        fault = trust_root.fault
        raise ConfigurationError(
            fault.code, f"trust root {trust_root.name} is not ready: {fault.field} {fault.message}"
        )


def parse_root(trust_root: TrustRoot) -> ParsedRoot:
    """The parsed root; remembered by its name and bytes.

    Raises `ConfigurationError` (`TrustRootUnreadable`, or the code of the root's own fault).
    """
    check_root(trust_root)
    if not trust_root.trusted_root:
        raise ConfigurationError(
            "TrustRootIncomplete", f"trust root {trust_root.name} has no logs and no timestamp authorities"
        )
    return _parse(trust_root.name, trust_root.trusted_root)


@lru_cache(maxsize=MAX_ROOTS)
def _parse(name: str, content: bytes) -> ParsedRoot:
    try:
        root = TrustedRoot(trustroot_v1.TrustedRoot.from_json(content))
        _check_windows(root._inner)  # noqa: SLF001 - version pinned
        return ParsedRoot(name, root)
    except (ValidationError, SigstoreError, ValueError, RecursionError) as exc:
        raise ConfigurationError(
            "TrustRootUnreadable", f"trust root {name} is no Sigstore TrustedRoot document that Assay can read"
        ) from exc


def _check_windows(root: trustroot_v1.TrustedRoot) -> None:
    """Raise `ValueError` for a window whose ends are of no time zone: nobody could say what lies in it."""
    logs = (*root.tlogs, *root.ctlogs)
    authorities = (*root.certificate_authorities, *root.timestamp_authorities)
    windows = [*(log.public_key.valid_for for log in logs), *(authority.valid_for for authority in authorities)]
    for end in (end for window in windows if window is not None for end in (window.start, window.end)):
        if end is not None and end.tzinfo is None:
            raise ValueError("a validity window without a time zone")
