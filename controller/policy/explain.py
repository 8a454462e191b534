"""Says in plain sentences what a requirement asked for, what was found, and what to do. Read by people at a denial."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

from controller.errors import PolicyError
from controller.model.decision import Reason
from controller.model.evidence import Proof, Rejection, VerifiedAttestation, VerifiedSignature
from controller.model.policy import (
    AttestationRequirement,
    Authority,
    Distinct,
    Identity,
    KeyAuthority,
    Policy,
    SignatureRequirement,
)
from controller.policy.resolving import public_keys_der

MAX_FOUND = 8  # sentences about what was found; more are counted
MAX_SENTENCE = 400  # characters of one sentence: names in it come from outside


def signatures(
    policy: Policy,
    requirement: SignatureRequirement,
    *,
    count: int,
    counting: Sequence[VerifiedSignature],
    attested: Sequence[VerifiedAttestation],
    rejections: Sequence[Rejection],
) -> Reason:
    """Why `signatures` is not met: `count` of `requirement.minimum` were there.

    `attested` are attestations by those who may sign: people take them for signatures, so they are told.
    """
    who = _authorities(policy, requirement.authorities)
    by = "different authorities" if requirement.distinct is Distinct.AUTHORITY else "different signers"
    expected = f"{_number(requirement.minimum, 'signature')}{f' by {by}' if requirement.minimum > 1 else ''} of {who}"
    found = [f"a signature by {p.signer.identity} counts for {p.authority}" for p in _proofs(counting)]
    found += [f"{_attestation(a)} is no signature" for a in attested]
    found += _sentences(rejections)
    if count:
        code, message = "SignaturesTooFew", f"{count} of {requirement.minimum} required signatures are there"
    elif rejections:
        code, message = "SignatureNotTrusted", "no signature that was found counts"
    else:
        code, message = "SignatureMissing", "the image has no signature"
    return Reason(
        code=code,
        rule="signatures",
        message=message,
        expected=expected,
        found=_bounded(found) or ("nothing",),
        fix=f"{_signing(policy, _still_wanted(requirement, counting))}, or deploy a digest that is signed so",
    )


def attestations(
    policy: Policy,
    requirement: AttestationRequirement,
    *,
    count: int,
    met: Sequence[VerifiedAttestation],
    others: Sequence[VerifiedAttestation],
    rejections: Sequence[Rejection],
) -> Reason:
    """Why one entry of `attestations` is not met. `others` were verified and are of another type."""
    who = _authorities(policy, requirement.authorities)
    found = [f"{_attestation(a)} counts" for a in met]
    found += [f"{_attestation(a)} is of another type" for a in others]
    found += _sentences(rejections)
    if count:
        code, message = "AttestationsTooFew", f"{count} of {requirement.minimum} required attestations are there"
    elif rejections or others:
        code, message = "AttestationNotTrusted", f"no attestation that was found is a trusted {requirement.type}"
    else:
        code, message = "AttestationMissing", f"the image has no {requirement.type} attestation"
    return Reason(
        code=code,
        rule=f"attestations[{requirement.name}]",
        message=message,
        expected=f"{_number(requirement.minimum, f'{requirement.type} attestation')} of {who}",
        found=_bounded(found) or ("nothing",),
        fix=f"{_attesting(policy, requirement)}, or deploy a digest that has one",
    )


def authority(authority_: Authority) -> str:
    """An authority as people know it: its name, and its key's fingerprint or its identities."""
    if authority_.key is not None:
        return f"{authority_.name} ({_keys(authority_.key)})"
    if authority_.certificate is not None:
        subjects = [i.subject or f"a subject like {i.subject_reg_exp}" for i in authority_.certificate.identities]
        more = f" or {len(subjects) - 1} more" if len(subjects) > 1 else ""
        return f"{authority_.name} (a certificate of {subjects[0] if subjects else 'nobody'}{more})"
    if authority_.keyless is not None:
        identities = authority_.keyless.identities
        more = f" or {len(identities) - 1} more" if len(identities) > 1 else ""
        return f"{authority_.name} ({_identity(identities[0]) if identities else 'nobody'}{more})"
    return authority_.name


def _authorities(policy: Policy, names: Sequence[str]) -> str:
    known = {a.name: a for a in policy.spec.authorities}
    return " or ".join(authority(known[name]) for name in names if name in known) or "nobody"


def _identity(identity: Identity) -> str:
    subject = identity.subject if identity.subject is not None else f"a subject like {identity.subject_reg_exp}"
    issuer = identity.issuer if identity.issuer is not None else f"an issuer like {identity.issuer_reg_exp}"
    return f"{subject} by {issuer}"


def _keys(key: KeyAuthority) -> str:
    if not key.pem:
        return "a key that is not there" if key.secret is not None else f"a key of trust root {key.trust_root}"
    try:
        first, *others = public_keys_der(key.pem)
    except (PolicyError, ValueError):
        return "key unreadable"
    more = f" or {len(others)} more" if others else ""
    return f"key sha256:{hashlib.sha256(first).hexdigest()[:16]}…{more}"


def _still_wanted(requirement: SignatureRequirement, counting: Sequence[VerifiedSignature]) -> Sequence[str]:
    """The authorities that have not signed, or all of them where each has and their number is still too small."""
    signed = {signature.proof.authority for signature in counting}
    return [name for name in requirement.authorities if name not in signed] or requirement.authorities


def _signing(policy: Policy, names: Sequence[str]) -> str:
    who, by_key = _hands(policy, names)
    if by_key:
        return f"sign this digest with the key of {who} (cosign sign --key)"
    return f"release this digest through {who}, which signs it (cosign sign)"


def _attesting(policy: Policy, requirement: AttestationRequirement) -> str:
    who, by_key = _hands(policy, requirement.authorities)
    if by_key:
        return f"attest the {requirement.type} of this digest with the key of {who} (cosign attest --key)"
    return f"release this digest through {who}, which attests its {requirement.type} (cosign attest)"


def _hands(policy: Policy, names: Sequence[str]) -> tuple[str, bool]:
    """Whose hands it takes, in words, and whether each of them has a key."""
    chosen = [a for a in policy.spec.authorities if a.name in names]
    return " or ".join(a.name for a in chosen) or "nobody", bool(chosen) and all(a.key is not None for a in chosen)


def _attestation(attestation: VerifiedAttestation) -> str:
    return f"an attestation {attestation.predicate_type} by {attestation.proof.signer.identity}"


def _proofs(counting: Iterable[VerifiedSignature]) -> Iterator[Proof]:
    return (signature.proof for signature in counting)


def _sentences(rejections: Iterable[Rejection]) -> list[str]:
    """One sentence for each cause: which artefacts, and why they did not count. All artefacts of one cause together."""
    ordered = sorted(rejections, key=lambda r: (r.location, str(r.artifact), r.authority, r.code))
    causes: dict[str, list[str]] = {}
    for rejection in ordered:
        places = causes.setdefault(rejection.message, [])
        place = rejection.location or str(rejection.artifact)
        if place not in places:
            places.append(place)
    return [f"{_places(places)}: {message}" for message, places in causes.items()]


def _places(places: Sequence[str]) -> str:
    first = places[0]
    return first if len(places) == 1 else f"{first} and {_number(len(places) - 1, 'other artefact')}"


def _bounded(found: Iterable[str]) -> tuple[str, ...]:
    unique = list(dict.fromkeys(found))
    shown = tuple(s if len(s) <= MAX_SENTENCE else s[: MAX_SENTENCE - 1] + "…" for s in unique[:MAX_FOUND])
    return shown if len(unique) <= MAX_FOUND else (*shown, f"and {len(unique) - MAX_FOUND} more")


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
