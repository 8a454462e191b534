"""Signed notes (https://c2sp.org/signed-note): a text, and who says so. Ed25519 signatures and witness cosignatures.

A key has a name; its id is four bytes of a hash over name and key, so that one signature is never taken for another's.
A cosignature (https://c2sp.org/tlog-cosignature) is a witness's, over the text and the time at which it saw it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ED25519 = 0x01
COSIGNATURE = 0x04
MAX_NOTE = 65_536  # bytes of one note
MAX_SIGNATURES = 100  # of one note, as the specification allows to bound
_MARK = "\N{EM DASH} "
_SIZES = {ED25519: 64, COSIGNATURE: 72}


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A public key under a name, for signatures of one kind (`ED25519` or `COSIGNATURE`)."""

    name: str
    kind: int
    public: bytes

    @property
    def id(self) -> bytes:
        """The key's id: four bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public).digest()[:4]

    @classmethod
    def parse(cls, text: str) -> NoteKey:
        """Read a verifier key, `NAME+ID+KEY`. Raises `ValueError` saying what is wrong with it."""
        parts = text.strip().split("+", 2)
        if len(parts) != 3 or not _is_name(parts[0]):
            raise ValueError("is no verifier key (NAME+ID+KEY)")
        try:
            decoded = base64.b64decode(parts[2], validate=True)
            Ed25519PublicKey.from_public_bytes(decoded[1:])
        except (binascii.Error, ValueError) as exc:
            raise ValueError("holds no Ed25519 key") from exc
        key = cls(parts[0], decoded[0], decoded[1:])
        if key.kind not in _SIZES:
            raise ValueError(f"is for signatures of kind {key.kind}, which are not known")
        if parts[1] != key.id.hex():
            raise ValueError("has an id that is not its key's")
        return key

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.kind]) + self.public).decode()}"


@dataclass(frozen=True, slots=True)
class Signed:
    """Who signed a note: the key, and for a cosignature when the witness saw it."""

    key: NoteKey
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """A private key under a name."""

    name: str
    private: Ed25519PrivateKey

    @classmethod
    def of_seed(cls, name: str, seed: bytes) -> NoteSigner:
        """The signer of a 32-byte seed. Raises `ValueError` for a name that no key may have."""
        if not _is_name(name):
            raise ValueError("a key's name has no spaces and no plus sign, and is not empty")
        return cls(name, Ed25519PrivateKey.from_private_bytes(seed))

    def key(self, kind: int = ED25519) -> NoteKey:
        """The public half."""
        return NoteKey(self.name, kind, self.private.public_key().public_bytes_raw())

    def sign(self, text: str) -> str:
        """The signature's line for a text that ends with a newline."""
        return _line(self.key(), self.private.sign(text.encode()))

    def cosign(self, text: str, at: datetime) -> str:
        """A witness's line: it has seen this text, and nothing that contradicts it, until then (to the second)."""
        seconds = int(at.timestamp())
        signature = self.private.sign(_cosigned(text, seconds))
        return _line(self.key(COSIGNATURE), struct.pack(">Q", seconds) + signature)


def note(text: str, lines: Iterable[str]) -> str:
    """The whole note. Raises `ValueError` for a text that no note may have."""
    if not text.endswith("\n") or any(ord(c) < 0x20 and c != "\n" for c in text):
        raise ValueError("a note's text ends with a newline and has no other control characters")
    return f"{text}\n{''.join(lines)}"


def open_note(content: bytes, keys: Iterable[NoteKey]) -> tuple[str, tuple[Signed, ...]]:
    """The text of a note, and which of these keys signed it. Signatures by other keys are passed over.

    One by a known key that does not verify spoils the note, and so does it that no known key signed it, as the
    specification says. Raises `ValueError`.
    """
    text, lines = split(content)
    known = {(key.name, key.id): key for key in keys}
    found: dict[NoteKey, Signed] = {}
    for line in lines:
        name, key_id, signature = _parsed(line)
        key = known.get((name, key_id))
        if key is not None and key not in found:
            found[key] = _verified(key, text, signature)
    if not found:
        raise ValueError("is signed by no known key")
    return text, tuple(found.values())


def split(content: bytes) -> tuple[str, tuple[str, ...]]:
    """A note's text and its signatures' lines, unverified. Raises `ValueError` for what is no note."""
    if len(content) > MAX_NOTE:
        raise ValueError(f"a note has at most {MAX_NOTE} bytes")
    try:
        whole = content.decode()
    except UnicodeDecodeError as exc:
        raise ValueError("a note is text") from exc
    text, gap, signatures = whole.rpartition("\n\n")
    if not gap or not signatures.endswith("\n") or any(ord(c) < 0x20 and c != "\n" for c in whole):
        raise ValueError("is no signed note")
    lines = tuple(f"{line}\n" for line in signatures.removesuffix("\n").split("\n"))
    if len(lines) > MAX_SIGNATURES:
        raise ValueError(f"a note has at most {MAX_SIGNATURES} signatures")
    return f"{text}\n", lines


def _verified(key: NoteKey, text: str, signature: bytes) -> Signed:
    if len(signature) != _SIZES[key.kind]:
        raise ValueError(f"the signature of {key.name} has a wrong length")
    at: datetime | None = None
    message = text.encode()
    if key.kind == COSIGNATURE:
        (seconds,) = struct.unpack_from(">Q", signature)
        signature, message = signature[8:], _cosigned(text, seconds)
        try:
            at = datetime.fromtimestamp(seconds, tz=UTC)
        except (OverflowError, OSError, ValueError) as exc:
            raise ValueError(f"the cosignature of {key.name} is of a time that no calendar has") from exc
    try:
        Ed25519PublicKey.from_public_bytes(key.public).verify(signature, message)
    except InvalidSignature as exc:
        raise ValueError(f"the signature of {key.name} does not verify") from exc
    return Signed(key, at)


def _parsed(line: str) -> tuple[str, bytes, bytes]:
    name, gap, encoded = line.removesuffix("\n").removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not gap or not _is_name(name):
        raise ValueError("a signature's line is malformed")
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise ValueError("a signature's line is malformed") from exc
    if len(decoded) < 5:
        raise ValueError("a signature's line is malformed")
    return name, decoded[:4], decoded[4:]


def _line(key: NoteKey, signature: bytes) -> str:
    return f"{_MARK}{key.name} {base64.b64encode(key.id + signature).decode()}\n"


def _cosigned(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(c.isspace() or not c.isprintable() for c in name)
