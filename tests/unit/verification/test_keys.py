"""Which signatures are a key's: every scheme that cosign uses, and nothing of another key."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import PolicyError
from controller.verification import ed25519ph
from controller.verification.keys import MAX_RSA_BITS, MIN_RSA_BITS, checked_key, load_public_key

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256, P384, P521 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()))
ED25519 = ed25519.Ed25519PrivateKey.generate()
MESSAGE = b"what is signed"
PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


def pem(private: object) -> str:
    public = private.public_key()  # type: ignore[attr-defined]
    return str(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    )


SIGNED = {
    "P-256": (P256, P256.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))),
    "P-384 by its own hash": (P384, P384.sign(MESSAGE, ec.ECDSA(hashes.SHA384()))),
    "P-384 by SHA-256, as cosign 2": (P384, P384.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))),
    "P-521 by its own hash": (P521, P521.sign(MESSAGE, ec.ECDSA(hashes.SHA512()))),
    "P-521 by SHA-256, as cosign 2": (P521, P521.sign(MESSAGE, ec.ECDSA(hashes.SHA256()))),
    "RSA PKCS #1 v1.5": (RSA, RSA.sign(MESSAGE, padding.PKCS1v15(), hashes.SHA256())),
    "RSA PSS": (RSA, RSA.sign(MESSAGE, PSS, hashes.SHA256())),
    "Ed25519": (ED25519, ED25519.sign(MESSAGE)),
}


@pytest.mark.parametrize("name", SIGNED)
def test_own_signature_verifies_and_a_changed_one_does_not(name: str) -> None:
    private, signature = SIGNED[name]
    key = load_public_key(pem(private))
    assert key.verifies(signature, MESSAGE)
    assert not key.verifies(signature, MESSAGE + b".")
    for at in (0, len(signature) // 2, len(signature) - 1):
        changed = bytearray(signature)
        changed[at] ^= 1
        assert not key.verifies(bytes(changed), MESSAGE)
    for other in (b"", signature[:-1], signature + b"\x00", bytes(len(signature))):
        assert not key.verifies(other, MESSAGE)


@pytest.mark.parametrize("private", [P256, P384, P521, RSA, ED25519])
def test_no_key_takes_another_keys_signature(private: object) -> None:
    key = load_public_key(pem(private))
    assert not any(key.verifies(signature, MESSAGE) for owner, signature in SIGNED.values() if owner is not private)


@pytest.mark.parametrize("hash_", [hashes.SHA1(), hashes.SHA224()])  # noqa: S303 - shown to be refused
def test_weak_hashes_are_not_tried(hash_: hashes.HashAlgorithm) -> None:
    assert not load_public_key(pem(P256)).verifies(P256.sign(MESSAGE, ec.ECDSA(hash_)), MESSAGE)
    assert not load_public_key(pem(RSA)).verifies(RSA.sign(MESSAGE, padding.PKCS1v15(), hash_), MESSAGE)


def test_signature_over_a_digest_is_judged_by_ecdsa_and_rsa_and_by_ed25519_not_at_all() -> None:
    digest = hashlib.sha256(MESSAGE).digest()
    for name in ("P-256", "P-384 by SHA-256, as cosign 2", "RSA PKCS #1 v1.5", "RSA PSS"):
        private, signature = SIGNED[name]
        key = load_public_key(pem(private))
        assert key.verifies_sha256(signature, digest) is True
        assert key.verifies_sha256(signature, bytes(32)) is False
    assert load_public_key(pem(ED25519)).verifies_sha256(SIGNED["Ed25519"][1], digest) is None


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "KeyMalformed"),
        ("no key", "KeyMalformed"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "KeyMalformed"),
        (pem(rsa.generate_private_key(public_exponent=65537, key_size=1024)), "KeyTooWeak"),  # noqa: S505 - as above
        (pem(ec.generate_private_key(ec.SECP256K1())), "KeyUnsupported"),
        (pem(x25519.X25519PrivateKey.generate()), "KeyUnsupported"),
    ],
)
def test_key_that_cannot_be_used_is_a_policy_error(text: str, code: str) -> None:
    with pytest.raises(PolicyError) as caught:
        load_public_key(text)
    assert caught.value.code == code


RFC_KEY = bytes.fromhex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf")
RFC_SIGNATURE = bytes.fromhex(
    "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae41"
    "31f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406"
)
RFC_PREHASH = hashlib.sha512(b"abc").digest()
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493


def test_ed25519ph_agrees_with_the_vector_of_rfc_8032() -> None:
    assert ed25519ph.verify(RFC_KEY, RFC_SIGNATURE, RFC_PREHASH)


@given(st.integers(0, 511))
def test_ed25519ph_refuses_a_signature_with_any_bit_changed(bit: int) -> None:
    changed = bytearray(RFC_SIGNATURE)
    changed[bit // 8] ^= 1 << bit % 8
    assert not ed25519ph.verify(RFC_KEY, bytes(changed), RFC_PREHASH)


def test_ed25519ph_refuses_what_is_malleable_or_degenerate() -> None:
    s = int.from_bytes(RFC_SIGNATURE[32:], "little") + GROUP_ORDER
    assert not ed25519ph.verify(RFC_KEY, RFC_SIGNATURE[:32] + s.to_bytes(32, "little"), RFC_PREHASH)
    assert not ed25519ph.verify(RFC_KEY, RFC_SIGNATURE, hashlib.sha512(b"abd").digest())
    assert not ed25519ph.verify(RFC_KEY, RFC_SIGNATURE, b"abc")
    neutral = (1).to_bytes(32, "little")  # with a key of small order anything would verify
    assert not ed25519ph.verify(neutral, neutral + bytes(32), RFC_PREHASH)
    beyond = (2**255 - 18).to_bytes(32, "little")  # y = 1 written another way
    assert ed25519ph._decode(beyond) is None
    assert ed25519ph._decode(neutral) is not None
    assert not ed25519ph.verify(RFC_KEY, beyond + RFC_SIGNATURE[32:], RFC_PREHASH)


def test_pure_ed25519_signature_is_no_prehashed_one() -> None:
    raw = ED25519.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    prehash = hashlib.sha512(MESSAGE).digest()
    assert not ed25519ph.verify(raw, ED25519.sign(prehash), prehash)


def test_rsa_keys_count_from_their_least_to_their_most_bits() -> None:
    for bits, counts in (
        (MIN_RSA_BITS - 8, False),
        (MIN_RSA_BITS, True),
        (MAX_RSA_BITS, True),
        (MAX_RSA_BITS + 8, False),
    ):
        # A modulus of that length is enough: nothing is signed.
        key = rsa.RSAPublicNumbers(65537, 2 ** (bits - 1) + 1).public_key()
        if counts:
            assert checked_key(key).key.key_size == bits
        else:
            with pytest.raises(PolicyError, match="KeyTooWeak"):
                checked_key(key)


def test_points_are_equal_only_in_both_coordinates() -> None:
    x, y, z, t = ed25519ph._BASE
    other_x, other_y = (-x, y, z, -t), (x, -y, z, -t)
    assert ed25519ph._equal((x, y, z, t), (2 * x, 2 * y, 2 * z, 2 * t))
    assert not ed25519ph._equal((x, y, z, t), other_x)
    assert not ed25519ph._equal((x, y, z, t), other_y)


def test_a_coordinate_has_one_encoding() -> None:
    zero, again = bytes(32), ed25519ph._P.to_bytes(32, "little")
    assert ed25519ph._decode(zero) is not None
    assert ed25519ph._decode(again) is None
