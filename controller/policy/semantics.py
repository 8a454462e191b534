"""What a well-formed policy may still get wrong: requirements that nothing meets, or that everything meets.

Each of these would otherwise be found at the first pod: as a denial of everything, or worse, as a denial of nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, SECP521R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import InvalidVersion, load_pem_x509_certificate

from controller.errors import InputError, PolicyError
from controller.model.policy import (
    Action,
    Authority,
    CertificateAuthority,
    DigestMode,
    Distinct,
    FailurePolicy,
    Identity,
    Match,
    Need,
    PolicySpec,
    Problem,
)
from controller.model.reference import Reference
from controller.policy.match import ImagePattern
from controller.policy.pems import blocks, is_oid
from controller.policy.predicates import NAMED_TYPES
from controller.policy.regex import compile_pattern

MAX_SOURCES = 4  # repositories beside the image's own in which one policy looks for evidence
MIN_RSA_BITS = 2048  # NIST SP 800-57 part 1: less is no longer acceptable
MAX_RSA_BITS = 16_384  # bounds the cost of one verification

# Fulcio's certificate extensions under their names in the policy API: oid-info.md of sigstore/fulcio
CLAIMS = frozenset(
    {
        "buildConfigDigest",
        "buildConfigURI",
        "buildSignerDigest",
        "buildSignerURI",
        "buildTrigger",
        "deploymentEnvironment",
        "runInvocationURI",
        "runnerEnvironment",
        "sourceRepositoryDigest",
        "sourceRepositoryIdentifier",
        "sourceRepositoryOwnerIdentifier",
        "sourceRepositoryOwnerURI",
        "sourceRepositoryRef",
        "sourceRepositoryURI",
        "sourceRepositoryVisibilityAtSigning",
    }
)


def check_spec(spec: PolicySpec) -> Iterator[Problem]:
    """Everything that is wrong with a spec whose fields were all read."""
    yield from _images(spec.match)
    yield from _modes(spec)
    yield from _unique("spec.match.conditions", (c.name for c in spec.match.conditions))
    yield from _unique("spec.authorities", (a.name for a in spec.authorities))
    yield from _unique("spec.attestations", (a.name for a in spec.attestations))
    yield from _unique("spec.variables", (v.name for v in spec.variables))
    sources = {authority.source for authority in spec.authorities if authority.source is not None}
    if len(sources) > MAX_SOURCES:
        message = f"name {len(sources)} other repositories; at most {MAX_SOURCES} are asked for one image (MAX_SOURCES)"
        yield Problem("TooMany", "spec.authorities", message)
    for i, authority in enumerate(spec.authorities):
        yield from _authority(authority, f"spec.authorities[{i}]")
    yield from _requirements(spec)


def _images(match: Match) -> Iterator[Problem]:
    for i, text in enumerate(match.images):
        try:
            ImagePattern.parse(text)
        except PolicyError as exc:
            yield Problem(exc.code, f"spec.match.images[{i}]", exc.message)


def _modes(spec: PolicySpec) -> Iterator[Problem]:
    if spec.digest is DigestMode.RESOLVE and Action.DENY in spec.validation_actions:
        yield Problem(
            "ResolveWithDeny",
            "spec.digest",
            "Resolve leaves the tag in place, so what runs may not be what was verified; with Deny use Pin or Require",
        )
    if spec.failure_policy is FailurePolicy.IGNORE:
        including = [text for text in spec.match.images if not text.startswith("!")]
        if not including:
            yield Problem(
                "IgnoreWithoutHost", "spec.failurePolicy", "Ignore needs match.images with named registry hosts"
            )
        for i, text in enumerate(spec.match.images):
            if not text.startswith("!") and "*" in text.partition("/")[0]:
                message = f"failurePolicy Ignore needs a named registry host, and {text!r} has a wildcard there"
                yield Problem("IgnoreWithoutHost", f"spec.match.images[{i}]", message)


def _unique(field: str, names: Iterable[str]) -> Iterator[Problem]:
    for name, count in Counter(names).items():
        if count > 1:
            yield Problem("NameDuplicate", field, f"{count} entries have the name {name!r}; names must differ")


def _authority(authority: Authority, field: str) -> Iterator[Problem]:
    if authority.source is not None and authority.source.repository:
        yield from _repository(authority.source.repository, f"{field}.source.repository")
    if authority.key is not None and authority.key.pem and authority.key.secret is None:
        yield from check_key(authority.key.pem, f"{field}.key.pem")
    if authority.certificate is not None:
        yield from _certificate(authority.certificate, f"{field}.certificate")
    if authority.keyless is not None:
        if Need.REQUIRED not in {authority.transparency_log, authority.timestamp}:
            message = (
                "needs a trusted time to judge a short-lived certificate by: transparencyLog or timestamp Required"
            )
            yield Problem("TrustedTimeMissing", f"{field}.transparencyLog", message)
        if not authority.keyless.identities:
            message = "names nobody: without an identity any account of the issuer could sign; add issuer and subject"
            yield Problem("IdentityMissing", f"{field}.keyless.identities", message)
        for i, identity in enumerate(authority.keyless.identities):
            yield from _identity(identity, f"{field}.keyless.identities[{i}]")


def _repository(text: str, field: str) -> Iterator[Problem]:
    try:
        reference = Reference.parse(text)
    except InputError as exc:
        yield Problem(exc.code, field, exc.message)
        return
    if reference.name != text:
        message = f"must be registry/repository alone, without tag or digest; is {reference.name!r} meant?"
        yield Problem("ReferenceMalformed", field, message)


def check_key(pem: str, field: str) -> Iterator[Problem]:
    """What is wrong with public keys, wherever they were written. No message quotes one."""
    if "PRIVATE KEY" in pem:
        message = "is a private key: put the public one here, and treat this one as disclosed"
        yield Problem("KeyMalformed", field, message)
        return
    try:
        keys = blocks(pem, "PUBLIC KEY")
    except PolicyError as exc:
        yield Problem("KeyMalformed", field, f"{exc.message}; expected a SubjectPublicKeyInfo")
        return
    for number, key in enumerate(keys, 1):
        message = _key_problem(key)
        if message:
            which = f"key {number} of {len(keys)} " if len(keys) > 1 else ""
            yield Problem("KeyMalformed", field, f"{which}{message}")


def check_chain(pem: str, field: str) -> Iterator[Problem]:
    """What is wrong with a chain of CA certificates, wherever it was written: intermediates first, the root last."""
    try:
        certificates = [load_pem_x509_certificate(block.encode()) for block in blocks(pem, "CERTIFICATE")]
    except PolicyError as exc:
        yield Problem("ChainMalformed", field, exc.message)
        return
    except (ValueError, InvalidVersion):
        yield Problem("ChainMalformed", field, "has a block that is no X.509 certificate")
        return
    for number, (certificate, issuer) in enumerate(
        zip(certificates, [*certificates[1:], certificates[-1]], strict=True), 1
    ):
        try:
            certificate.verify_directly_issued_by(issuer)
        except UnsupportedAlgorithm:
            yield Problem("ChainMalformed", field, f"certificate {number} has an issuer whose key is of no known kind")
        except (ValueError, TypeError, InvalidSignature):
            who = "the next one" if number < len(certificates) else "itself: the last must be a root"
            yield Problem("ChainMalformed", field, f"certificate {number} was not issued by {who}")


def _certificate(certificate: CertificateAuthority, field: str) -> Iterator[Problem]:
    if certificate.chain and certificate.secret is None:
        yield from check_chain(certificate.chain, f"{field}.chain")
    if not certificate.identities:
        message = "names nobody: without an identity any certificate of the CA could sign; add a subject"
        yield Problem("IdentityMissing", f"{field}.identities", message)
    for i, identity in enumerate(certificate.identities):
        yield from _name(f"{field}.identities[{i}]", "subject", identity.subject, identity.subject_reg_exp)
    for usage in certificate.extended_key_usages:
        if not is_oid(usage):
            message = f"{usage[:100]!r} is neither a name such as codeSigning nor a dotted number"
            yield Problem("UsageUnknown", f"{field}.extendedKeyUsages", message)


def _identity(identity: Identity, field: str) -> Iterator[Problem]:
    yield from _name(field, "issuer", identity.issuer, identity.issuer_reg_exp)
    yield from _name(field, "subject", identity.subject, identity.subject_reg_exp)
    for name, _ in identity.claims:
        if name not in CLAIMS:
            message = f"{name!r} is no claim of a Fulcio certificate; known are {', '.join(sorted(CLAIMS))}"
            yield Problem("ClaimUnknown", f"{field}.claims", message)


def _name(field: str, name: str, exact: str | None, pattern: str | None) -> Iterator[Problem]:
    if (exact is None) == (pattern is None):
        yield Problem("IdentityMalformed", field, f"must have exactly one of {name} and {name}RegExp")
    if pattern is not None:
        try:
            compile_pattern(pattern)
        except PolicyError as exc:
            yield Problem(exc.code, f"{field}.{name}RegExp", exc.message)


def _key_problem(pem: str) -> str:
    try:
        key = load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm):
        return "is no PEM public key (SubjectPublicKeyInfo, '-----BEGIN PUBLIC KEY-----')"
    if isinstance(key, EllipticCurvePublicKey):
        supported = isinstance(key.curve, SECP256R1 | SECP384R1 | SECP521R1)
        return "" if supported else f"is on curve {key.curve.name}; P-256, P-384 and P-521 are supported"
    if isinstance(key, RSAPublicKey):
        good = MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
        return "" if good else f"is an RSA key of {key.key_size} bits; {MIN_RSA_BITS} to {MAX_RSA_BITS} are accepted"
    return "" if isinstance(key, Ed25519PublicKey) else "is neither an ECDSA, an Ed25519 nor an RSA key"


def _requirements(spec: PolicySpec) -> Iterator[Problem]:
    only_notes = spec.validation_actions == (Action.AUDIT,) and bool(spec.audit_annotations)
    if spec.signatures is None and not spec.attestations and not spec.validations and not only_notes:
        message = "requires nothing, so everything would satisfy it; add signatures, attestations or validations"
        yield Problem("NothingRequired", "spec", message)
    known = {authority.name for authority in spec.authorities}
    if spec.signatures is not None:
        yield from _named_authorities(spec.signatures.authorities, known, "spec.signatures")
        most = len(spec.signatures.authorities)
        if spec.signatures.distinct is Distinct.AUTHORITY or _one_signer_each(spec, spec.signatures.authorities):
            yield from _minimum(spec.signatures.minimum, most, "spec.signatures")
    for i, requirement in enumerate(spec.attestations):
        field = f"spec.attestations[{i}]"
        yield from _named_authorities(requirement.authorities, known, field)
        if requirement.type not in NAMED_TYPES and ":" not in requirement.type:
            message = f"is {requirement.type!r}; it must be one of {', '.join(NAMED_TYPES)} or a predicate type URI"
            yield Problem("PredicateTypeUnknown", f"{field}.type", message)


def _one_signer_each(spec: PolicySpec, names: tuple[str, ...]) -> bool:
    """Whether each of these authorities is one signer: a key, or a single exact identity."""
    chosen = [authority for authority in spec.authorities if authority.name in names]
    return all(
        (a.key is not None and a.key.pem.count("-----BEGIN") == 1)
        or (a.keyless is not None and len(a.keyless.identities) == 1 and a.keyless.identities[0].subject is not None)
        or (a.certificate is not None and [i.subject is not None for i in a.certificate.identities] == [True])
        for a in chosen
    )


def _minimum(minimum: int, most: int, field: str) -> Iterator[Problem]:
    if minimum > most > 0:
        message = (
            f"asks for {minimum} where {most} {'authority' if most == 1 else 'authorities'} can give {most} at most"
        )
        yield Problem("MinimumUnreachable", f"{field}.minimum", message)


def _named_authorities(names: tuple[str, ...], known: set[str], field: str) -> Iterator[Problem]:
    if not names:
        yield Problem("AuthorityMissing", f"{field}.authorities", "names no authority, and empty never satisfies")
    for name in names:
        if name not in known:
            have = f"spec.authorities has {', '.join(sorted(known))}" if known else "spec.authorities is empty"
            yield Problem("AuthorityUnknown", f"{field}.authorities", f"there is no authority {name!r}; {have}")
