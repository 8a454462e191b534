"""Public keys of policies, and the one question put to them: is this signature yours?

ECDSA signatures are taken over the hash that the curve calls for (cosign 3) and over SHA-256 (cosign 1 and 2, for every
curve); RSA ones with PKCS #1 v1.5 and PSS padding; Ed25519 ones pure and prehashed. Each is a sound signature by the
key, so trying them all never lets another key's pass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from controller.errors import PolicyError
from controller.policy.pems import blocks
from controller.verification import ed25519ph

MIN_RSA_BITS = 2048  # NIST SP 800-131A: anything shorter is no longer allowed
MAX_RSA_BITS = 16384  # bounds the work of one verification
MAX_KEYS = 256  # bounds the parsed keys that a process remembers

_CURVES: dict[type[ec.EllipticCurve], hashes.HashAlgorithm] = {
    ec.SECP256R1: hashes.SHA256(),
    ec.SECP384R1: hashes.SHA384(),
    ec.SECP521R1: hashes.SHA512(),
}
_Key = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key that a policy trusts. `spki` is its DER form; `fingerprint` the SHA-256 of that, as `sha256:<hex>`."""

    key: _Key
    spki: bytes
    fingerprint: str

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's over `message`."""
        match self.key:
            case ec.EllipticCurvePublicKey() as key:
                wanted = {h.name: h for h in (_CURVES[type(key.curve)], hashes.SHA256())}
                return any(_ecdsa(key, signature, message, algorithm) for algorithm in wanted.values())
            case rsa.RSAPublicKey() as key:
                return _rsa(key, signature, message, hashes.SHA256())
            case ed25519.Ed25519PublicKey() as key:
                if _pure(key, signature, message):
                    return True
                raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
                return ed25519ph.verify(raw, signature, hashlib.sha512(message).digest())
        assert_never(self.key)

    def verifies_pure(self, signature: bytes, message: bytes) -> bool:
        """Whether an Ed25519 key made the signature over the message itself, not over its hash."""
        return isinstance(self.key, ed25519.Ed25519PublicKey) and _pure(self.key, signature, message)

    def verifies_sha256(self, signature: bytes, digest: bytes) -> bool | None:
        """Whether the signature is this key's over the content with this SHA-256; None if that cannot be told.

        (Ed25519 signs the content itself, or its SHA-512: the digest alone does not do.)
        """
        algorithm = Prehashed(hashes.SHA256())
        match self.key:
            case ec.EllipticCurvePublicKey() as key:
                return _ecdsa(key, signature, digest, algorithm)
            case rsa.RSAPublicKey() as key:
                return _rsa(key, signature, digest, algorithm)
            case ed25519.Ed25519PublicKey():
                return None
        assert_never(self.key)


@lru_cache(maxsize=MAX_KEYS)
def load_public_key(pem: str) -> PublicKey:
    """The key of a PEM block (`PUBLIC KEY`, SubjectPublicKeyInfo).

    Raises `PolicyError` (`KeyMalformed`, `KeyUnsupported`, `KeyTooWeak`), whose message never quotes the PEM.
    """
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise PolicyError("KeyMalformed", "the key is no PEM public key (BEGIN PUBLIC KEY)") from exc
    return checked_key(key)


@lru_cache(maxsize=MAX_KEYS)
def load_public_keys(pem: str) -> tuple[PublicKey, ...]:
    """The keys of one or more PEM blocks, each once.

    Raises as `load_public_key`, and `PolicyError` (`PemMalformed`).
    """
    keys = map(load_public_key, blocks(pem, "PUBLIC KEY"))
    return tuple({key.fingerprint: key for key in keys}.values())


def checked_key(key: PublicKeyTypes) -> PublicKey:
    """The key, if it is of a kind and length that counts. Raises `PolicyError` (`KeyUnsupported`, `KeyTooWeak`)."""
    match key:
        case ec.EllipticCurvePublicKey():
            if type(key.curve) not in _CURVES:
                raise PolicyError("KeyUnsupported", f"the curve {key.curve.name} is not supported")
        case rsa.RSAPublicKey():
            if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
                raise PolicyError("KeyTooWeak", f"RSA keys need {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
        case ed25519.Ed25519PublicKey():
            pass
        case _:
            raise PolicyError("KeyUnsupported", "keys are ECDSA (P-256, P-384, P-521), RSA or Ed25519")
    spki = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(key=key, spki=spki, fingerprint=f"sha256:{hashlib.sha256(spki).hexdigest()}")


def _ecdsa(
    key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes, algorithm: hashes.HashAlgorithm | Prehashed
) -> bool:
    try:
        key.verify(signature, message, ec.ECDSA(algorithm))
    except InvalidSignature:
        return False
    return True


def _rsa(key: rsa.RSAPublicKey, signature: bytes, message: bytes, algorithm: hashes.SHA256 | Prehashed) -> bool:
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=padding.PSS.AUTO)
    for scheme in (padding.PKCS1v15(), pss):
        try:
            key.verify(signature, message, scheme, algorithm)
        except InvalidSignature:
            continue
        return True
    return False


def _pure(key: ed25519.Ed25519PublicKey, signature: bytes, message: bytes) -> bool:
    try:
        key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
