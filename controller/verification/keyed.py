"""The proof that one of a policy's keys made a signature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from controller.model.evidence import Signer
from controller.model.policy import Authority
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.bundle import Bundle
from controller.verification.failures import NotVerified
from controller.verification.keys import PublicKey
from controller.verification.proof import Proven, told
from controller.verification.signatures import described, is_signed_by
from controller.verification.transparency import Verifier
from controller.verification.trust import believed
from controller.verification.witnesses import RootSource, witnessed

MAX_NAMED = 3  # keys that a message names; the rest is counted


@dataclass(frozen=True, slots=True)
class KeyInForce:
    """A key and the window in which it is believed; both ends belong to it, and None is open."""

    key: PublicKey
    valid_from: datetime | None = None
    valid_until: datetime | None = None


def prove_by_key(
    bundle: Bundle,
    *,
    image: Digest,
    keys: Sequence[KeyInForce],
    authority: Authority,
    root: RootSource,
    now: datetime,
    limits: DocumentSettings,
) -> Proven:
    """Prove that one of `keys` signed the bundle's content, with the log entry and timestamp that is asked for.

    The caller's duty: to check what the content is about (`read_statement`, `check_payload`).
    Raises `NotVerified` and `Unjudged`.
    """
    # (1) The signature is the key's, over exactly this content.
    key = _used(bundle, image=image, keys=keys, authority=authority)
    # (2) Those who must vouch for it do.
    seen = witnessed(bundle, by=Verifier(key), authority=authority, root=root, now=now, limits=limits)
    # (3) At each time that is vouched for, or now if none is, the key was to be believed: within one of its windows.
    windows = [(one.valid_from, one.valid_until) for one in keys if one.key.fingerprint == key.fingerprint]
    if not any(all(believed(time, *window) for time in seen.times) for window in windows):
        raise NotVerified(
            "KeyOutsideValidity",
            f"the key {key.fingerprint} is not believed for the time of its signature (authority {authority.name})",
        )
    over = described(bundle.content, image)
    return Proven(
        signer=Signer(key=key.fingerprint),
        key=key,
        log_entry=seen.entries[0].entry if seen.entries else None,
        signed_at=seen.signed_at,
        timestamped=bool(seen.stamped),
        steps=(
            f"The signature over {over} verifies with the key {key.fingerprint} of authority {authority.name}.",
            *told(seen.entries, seen.stamped),
        ),
    )


def _used(bundle: Bundle, *, image: Digest, keys: Sequence[KeyInForce], authority: Authority) -> PublicKey:
    """The key that made the signature. None of none made any."""
    if bundle.certificate is not None:
        raise NotVerified(
            "SignedWithCertificate", f"it was signed with a certificate, and authority {authority.name} is a key"
        )
    for candidate in keys:
        if is_signed_by(bundle.content, image=image, key=candidate.key):
            return candidate.key
    names = ", ".join(candidate.key.fingerprint for candidate in keys[:MAX_NAMED]) or "none"
    more = f" and {len(keys) - MAX_NAMED} more" if len(keys) > MAX_NAMED else ""
    which = "the key" if len(keys) == 1 else "a key"
    raise NotVerified(
        "SignatureInvalid", f"its signature was not made with {which} of authority {authority.name} ({names}{more})"
    )
