"""Trust roots, parsed once a process: whose certificates, logs and timestamps are believed.

A root is a Sigstore TrustedRoot document handed in as bytes. Nothing here fetches anything: no TUF, no cache on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

from pydantic import ValidationError
from sigstore._internal.trust import CertificateAuthority, Keyring, KeyringPurpose, RekorKeyring
from sigstore.errors import Error as SigstoreError
from sigstore.models import TrustedRoot
from sigstore.verify import Verifier
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

    def log(self, log_id: bytes) -> RekorKeyring:
        """The key of the transparency log with this id, alone. Raises also `NotVerified` (`LogUnknown`)."""
        logs = [log for log in self.root._inner.tlogs if log_id == log.log_id.key_id]  # noqa: SLF001 - version pinned
        if not logs:
            raise NotVerified("LogUnknown", f"its log entry is of a log that trust root {self.name} does not know")
        try:
            return RekorKeyring(Keyring([log.public_key for log in logs]))
        except (SigstoreError, ValueError) as exc:
            raise self._incomplete("readable key for the log of the entry") from exc

    @cached_property
    def timestamp_authorities(self) -> tuple[CertificateAuthority, ...]:
        """The timestamp authorities; may be empty."""
        try:
            return tuple(self.root.get_timestamp_authorities())
        except (SigstoreError, ValueError) as exc:
            raise self._incomplete("readable timestamp authorities") from exc

    def _incomplete(self, what: str) -> ConfigurationError:
        return ConfigurationError("TrustRootIncomplete", f"trust root {self.name} has no {what}")


def parse_root(trust_root: TrustRoot) -> ParsedRoot:
    """The parsed root; remembered by its name and bytes.

    Raises `ConfigurationError` (`TrustRootUnreadable`).
    """
    return _parse(trust_root.name, trust_root.content)


@lru_cache(maxsize=MAX_ROOTS)
def _parse(name: str, content: bytes) -> ParsedRoot:
    try:
        return ParsedRoot(name, TrustedRoot(trustroot_v1.TrustedRoot.from_json(content)))
    except (ValidationError, SigstoreError, ValueError, RecursionError) as exc:
        raise ConfigurationError(
            "TrustRootUnreadable", f"trust root {name} is no Sigstore TrustedRoot document that Assay can read"
        ) from exc
