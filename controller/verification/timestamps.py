"""RFC 3161 timestamps: when a signature was there at the latest, by somebody who is not the signer."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime

from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response
from rfc3161_client import VerificationError as TimestampError
from sigstore._internal.trust import CertificateAuthority

from controller.verification.failures import NotVerified, Unjudged
from controller.verification.trust import ParsedRoot


def verify_timestamps(
    timestamps: Iterable[bytes], *, stamped: Sequence[bytes], root: ParsedRoot
) -> tuple[datetime, ...]:
    """The times of these timestamps, each over one of `stamped`: one that is wrong spoils the bundle.

    Raises `NotVerified` (`TimestampInvalid`, `TimestampAuthorityUnknown`), `Unjudged` (`TimestampMalformed`).
    """
    return tuple(_verify(timestamp, stamped=stamped, root=root) for timestamp in timestamps)


def _verify(timestamp: bytes, *, stamped: Sequence[bytes], root: ParsedRoot) -> datetime:
    try:
        response = decode_timestamp_response(timestamp)
        when = response.tst_info.gen_time
    except ValueError as exc:
        raise Unjudged("TimestampMalformed", "its timestamp is no RFC 3161 response") from exc
    if not root.timestamp_authorities:
        raise NotVerified(
            "TimestampAuthorityUnknown",
            f"it carries a timestamp, and trust root {root.name} has no timestamp authority",
        )
    pairs = itertools.product(root.timestamp_authorities, stamped)
    if not any(_issued(response, when, content, authority) for authority, content in pairs):
        raise NotVerified(
            "TimestampInvalid", f"its timestamp is not one of trust root {root.name}'s authorities over this signature"
        )
    return when


def _issued(response: TimeStampResponse, when: datetime, content: bytes, authority: CertificateAuthority) -> bool:
    """Whether this authority, in the time in which it is to be believed, put this time on these bytes."""
    end = authority.validity_period_end
    if when < authority.validity_period_start or (end is not None and when > end):
        return False
    signer, *issuers = authority.certificates(allow_expired=True)
    if not issuers:
        return False
    builder = VerifierBuilder().tsa_certificate(signer).add_root_certificate(issuers[-1])
    for certificate in issuers[:-1]:
        builder = builder.add_intermediate_certificate(certificate)
    try:
        return bool(builder.build().verify_message(response, content))
    except (TimestampError, ValueError):
        return False
