"""Whether a signature is a key's over what it is said to be over: the same question for keys and certificates."""

from __future__ import annotations

from controller.model.reference import Digest
from controller.verification.bundle import Content, Envelope, MessageSignature, SimpleSigning
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.keys import PublicKey


def is_signed_by(content: Content, *, image: Digest, key: PublicKey) -> bool:
    """Whether the content's signature is the key's.

    The caller's duty: to ask of an envelope or a payload whether it is about the image. A message signature is over the
    image itself or over nothing: `NotVerified` (`SubjectMismatch`).
    Raises also `Unjudged` (`DigestAlgorithmUnsupported`, `KeyUnsupported`).
    """
    match content:
        case Envelope():
            return key.verifies(content.signature, content.pae())
        case SimpleSigning():
            return key.verifies(content.signature, content.payload)
        case MessageSignature():
            if content.algorithm != "SHA2_256":
                raise Unjudged("DigestAlgorithmUnsupported", "its signature is over another digest than a SHA-256")
            if content.digest != bytes.fromhex(image.hex):
                raise NotVerified("SubjectMismatch", "its signature is over another digest than this image's")
            valid = key.verifies_sha256(content.signature, content.digest)
            if valid is None:
                raise Unjudged("KeyUnsupported", "Ed25519 signatures over a bare digest are not supported")
            return valid


def signed_bytes(content: Content) -> bytes:
    """The bytes that the signature is over; of a message signature, which has not the message, nothing."""
    match content:
        case Envelope():
            return content.pae()
        case SimpleSigning():
            return content.payload
        case MessageSignature():
            return b""


def described(content: Content, image: Digest) -> str:
    """What the signature is over, for a proof's sentence."""
    match content:
        case Envelope():
            return "the signed statement and its type (DSSE)"
        case SimpleSigning():
            return "the signed payload (cosign's simple signing)"
        case MessageSignature():
            return f"the image's digest {image}"
