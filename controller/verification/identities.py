"""Whether a proven identity is one that a policy asks for. Identities are *or*; an identity's fields are *and*."""

from __future__ import annotations

from collections.abc import Iterable

import re2  # type: ignore[import-untyped]

from controller.model.evidence import Signer
from controller.model.policy import Identity
from controller.verification.failures import Unjudged


def meets(signer: Signer, identities: Iterable[Identity]) -> bool:
    """Whether the signer is one of these. None of none is false; an identity without issuer or subject meets nobody.

    Raises `Unjudged` (`PatternInvalid`).
    """
    return any(_meets(signer, identity) for identity in identities)


def _meets(signer: Signer, identity: Identity) -> bool:
    claims = dict(signer.claims)
    return (
        _field(signer.issuer, identity.issuer, identity.issuer_reg_exp)
        and _field(signer.subject, identity.subject, identity.subject_reg_exp)
        and all(claims.get(name) == value for name, value in identity.claims)
    )


def _field(value: str, exact: str | None, pattern: str | None) -> bool:
    """All that is given must hold, and something must be given."""
    wanted = [value == exact] if exact is not None else []
    if pattern is not None:
        wanted.append(whole_match(pattern, value))
    return bool(value) and bool(wanted) and all(wanted)


def whole_match(pattern: str, value: str) -> bool:
    """Whether the RE2 pattern matches the whole value. Raises `Unjudged` (`PatternInvalid`)."""
    try:
        return re2.fullmatch(pattern, value) is not None
    except re2.error as exc:
        raise Unjudged("PatternInvalid", "the policy's regular expression is not valid RE2") from exc
