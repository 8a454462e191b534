"""Ed25519ph (RFC 8032, section 5.1): what cosign 3 signs with when it is given an Ed25519 key.

The `cryptography` library knows pure Ed25519 only, so the verification is written out here. It handles public values
alone (no secret passes through it), so it needs no constant time. Points are in extended homogeneous coordinates.
Encodings that are not canonical and keys of small order are refused; the equation has no cofactor, as in Go.
"""

from __future__ import annotations

import hashlib
from typing import Final

_P: Final = 2**255 - 19
_L: Final = 2**252 + 27742317777372353535851937790883648493
_D: Final = -121665 * pow(121666, -1, _P) % _P
_SQRT_M1: Final = pow(2, (_P - 1) // 4, _P)
_DOM2: Final = b"SigEd25519 no Ed25519 collisions\x01\x00"  # phflag 1, empty context

_Point = tuple[int, int, int, int]
_IDENTITY: Final[_Point] = (0, 1, 1, 0)


def verify(public_key: bytes, signature: bytes, prehash: bytes) -> bool:
    """Whether `signature` is the key's over the content whose SHA-512 is `prehash` (64 bytes), with empty context."""
    if len(public_key) != 32 or len(signature) != 64 or len(prehash) != 64:
        return False
    key, r = _decode(public_key), _decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if key is None or r is None or s >= _L or _equal(_multiply(8, key), _IDENTITY):
        return False
    k = int.from_bytes(hashlib.sha512(_DOM2 + signature[:32] + public_key + prehash).digest(), "little") % _L
    return _equal(_multiply(s, _BASE), _add(r, _multiply(k, key)))


def _add(left: _Point, right: _Point) -> _Point:
    a = (left[1] - left[0]) * (right[1] - right[0]) % _P
    b = (left[1] + left[0]) * (right[1] + right[0]) % _P
    c = 2 * left[3] * right[3] * _D % _P
    d = 2 * left[2] * right[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _multiply(scalar: int, point: _Point) -> _Point:
    result = _IDENTITY
    while scalar:
        if scalar & 1:
            result = _add(result, point)
        point = _add(point, point)
        scalar >>= 1
    return result


def _equal(left: _Point, right: _Point) -> bool:
    return (left[0] * right[2] - right[0] * left[2]) % _P == 0 and (left[1] * right[2] - right[1] * left[2]) % _P == 0


def _decode(encoded: bytes) -> _Point | None:
    value = int.from_bytes(encoded, "little")
    sign, y = value >> 255, value & ((1 << 255) - 1)
    x = _x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % _P)


def _x_of(y: int, sign: int) -> int | None:
    if y >= _P:
        return None
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    if square == 0:
        return None if sign else 0
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _SQRT_M1 % _P
    if (x * x - square) % _P:
        return None
    return _P - x if x & 1 != sign else x


_BASE_X: Final = 15112221349535400772501151409588531511454012693041857206046113283949847762202
_BASE_Y: Final = 4 * pow(5, -1, _P) % _P
_BASE: Final[_Point] = (_BASE_X, _BASE_Y, 1, _BASE_X * _BASE_Y % _P)
