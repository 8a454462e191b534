"""When a judgement by today's date may come out otherwise: the ends of all that is believed for a time only.

Where nobody vouches for the time of a signature it is judged by *now*: what counts today may have expired tomorrow, and
what is remembered of it must not outlive that. Rather one end too many is named here than one too few.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from datetime import datetime

from cryptography import x509

from controller.errors import ConfigurationError
from controller.model.policy import Authority, OwnAuthority, TrustRoot
from controller.verification.certificates import load_certificate
from controller.verification.certified import chain_of
from controller.verification.failures import EvidenceFailure
from controller.verification.trust import parse_root


def ends(
    authority: Authority, *, certificate: bytes | None, trust_roots: Mapping[str, TrustRoot]
) -> Iterator[datetime]:
    """Both ends of every validity that the authority's judgement of a signature may hang on, past ones too.

    `certificate` is the signer's (DER). What cannot be read has none: it counts at no time.
    """
    if certificate is not None:
        with contextlib.suppress(EvidenceFailure):
            yield from _of_certificate(load_certificate(certificate))
    root = trust_roots.get(authority.kind.trust_root) if authority.kind is not None else None
    own: tuple[OwnAuthority, ...] = ()
    if authority.certificate is not None and authority.certificate.chain:
        own = (OwnAuthority(authority.certificate.chain),)
    elif root is not None:
        own = root.certificate_authorities
    for one in own:
        yield from _given(one.valid_from, one.valid_until)
        with contextlib.suppress(ConfigurationError):
            for issuer in chain_of(one).certificates:
                yield from _of_certificate(issuer)
    if root is not None:
        for key in root.public_keys:
            yield from _given(key.valid_from, key.valid_until)
        with contextlib.suppress(ConfigurationError):
            yield from parse_root(root).log_ends()


def _of_certificate(certificate: x509.Certificate) -> tuple[datetime, datetime]:
    return certificate.not_valid_before_utc, certificate.not_valid_after_utc


def _given(*times: datetime | None) -> Iterator[datetime]:
    yield from (time for time in times if time is not None)
