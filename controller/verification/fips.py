"""The FIPS profile: only algorithms that FIPS 186-5 (signatures) and FIPS 180-4 (SHA-2) approve, on the whole way.

FIPS 186-5: RSA of at least 2,048 bits with an odd public exponent above 2^16 (section 5.1), ECDSA on P-256, P-384 and
P-521 (section 6.1, SP 800-186), Ed25519 (section 7). Prehashed Ed25519 is approved too, but Assay computes it itself
(`ed25519ph`), and what counts under this profile must be computed by a library that can be a validated module. Which
module `cryptography` is linked to is for whoever builds the image to see to.
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from rfc3161_client import decode_timestamp_response

from controller.errors import PolicyError
from controller.verification.bundle import Envelope, MessageSignature, SimpleSigning
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.keys import PublicKey, checked_key
from controller.verification.signatures import signed_bytes
from controller.verification.trust import ParsedRoot

CODE = "AlgorithmNotApproved"
_SHA_2 = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_SHA_2_IDENTIFIERS = frozenset(f"2.16.840.1.101.3.4.2.{number}" for number in (1, 2, 3))


def check_signer(key: PublicKey, content: Envelope | SimpleSigning | MessageSignature) -> str:
    """Say by which approved algorithm the key made the content's signature.

    Raises `NotVerified` (`AlgorithmNotApproved`).
    """
    why = _unapproved(key.key)
    if why:
        raise NotVerified(CODE, f"its key is {why}, which the FIPS profile does not let count")
    is_ed25519 = isinstance(key.key, ed25519.Ed25519PublicKey)
    if is_ed25519 and not key.verifies_pure(content.signature, signed_bytes(content)):
        raise NotVerified(CODE, "its signature is prehashed Ed25519, which the FIPS profile does not let count")
    return f"Every algorithm on the way is approved (FIPS 186-5, FIPS 180-4); the signer's is {described(key)}."


def check_certificate(certificate: x509.Certificate) -> None:
    """Return if the certificate's key is approved, and so is how it was signed.

    Raises `NotVerified` (`AlgorithmNotApproved`).
    """
    try:
        key = checked_key(certificate.public_key())
        why = _unapproved(key.key)
    except (PolicyError, ValueError):
        why = "of an unknown kind"
    hashed = certificate.signature_hash_algorithm  # None for Ed25519, which brings its own SHA-512
    if why or not (hashed is None or isinstance(hashed, _SHA_2)):
        raise NotVerified(CODE, "a certificate on the way to its issuer has an algorithm that is not approved")


def check_timestamp(timestamp: bytes) -> None:
    """Return if the timestamp, which was verified, was signed over SHA-2.

    Its list of digests is signed by nobody, but what is not in it cannot be verified by (RFC 5652, section 5.1).
    Raises `NotVerified` (`AlgorithmNotApproved`).
    """
    digests = {found.dotted_string for found in decode_timestamp_response(timestamp).signed_data.digest_algorithms}
    if not digests <= _SHA_2_IDENTIFIERS:
        raise NotVerified(CODE, "its timestamp was signed over a digest that is not approved")


def check_root(root: ParsedRoot) -> None:
    """Return if every log, authority and timestamp authority of the trust root has approved algorithms alone.

    Raises `Unjudged` (`AlgorithmNotApproved`): the root is not one that this profile can be judged by.
    """
    try:
        for key in root.log_keys():
            why = _unapproved(checked_key(key).key)
            if why:
                raise NotVerified(CODE, why)
        for certificate in root.certificates():
            check_certificate(certificate)
    except (NotVerified, PolicyError) as exc:
        raise Unjudged(CODE, f"trust root {root.name} has an algorithm that is not approved (FIPS)") from exc


def described(key: PublicKey) -> str:
    """The key's algorithm in the standards' words."""
    match key.key:
        case ec.EllipticCurvePublicKey() as found:
            return f"ECDSA P-{found.key_size}"
        case rsa.RSAPublicKey() as found:
            return f"RSA of {found.key_size} bits"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"


def _unapproved(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> str:
    """What makes the key one that is not approved, beside what `checked_key` refuses anyway; empty if nothing."""
    if isinstance(key, rsa.RSAPublicKey):
        exponent = key.public_numbers().e
        if exponent <= 2**16 or exponent % 2 == 0 or exponent >= 2**256:
            return f"RSA with the public exponent {exponent if exponent < 2**64 else 'of too many bits'}"
        if key.key_size % 2:
            return "RSA with an odd number of bits"
    return ""
