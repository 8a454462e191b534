"""How the evidence in a bundle is verified with cosign 3, offline: the very command, or why cosign cannot."""

from __future__ import annotations

import base64
import binascii
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from controller.inventory.bundle.plan import Proven
from controller.inventory.bundle.signing import pae

ATTESTED, BLOB = "cosign verify-blob-attestation", "cosign verify-blob"
_TRUSTED_ROOT = "application/vnd.dev.sigstore.trustedroot"
_SIGNED = "it can only be verified by Assay (the last step): "


@dataclass(frozen=True, slots=True)
class Material:
    """What a proof is verified with: the signer's key (DER, and its file), the trust root (bytes, and its file)."""

    key: bytes | None = None
    key_path: str = ""
    trust_root: bytes | None = None
    trust_root_path: str = ""


def command(proven: Proven, path: str, content: bytes, material: Material) -> tuple[str, str]:
    """The command that verifies this evidence of this image, and if there is none, why.

    `content` are the bytes at `path`. The command is one line for a POSIX shell, run in the bundle's folder.
    """
    if not path.endswith(".sigstore.json"):
        return "", f"{_SIGNED}it is in a format of cosign's from before bundles"
    bundle = _parsed(content)
    if bundle is None:
        return "", f"{_SIGNED}it is no bundle that cosign reads"
    signer, logged = proven.proof["signer"], proven.proof["logEntry"] is not None
    words: list[str] = []
    if signer["key"]:
        trouble = _unfit(bundle, material.key)
        if trouble:
            return "", f"{_SIGNED}{trouble}"
        words += ["--key", material.key_path]
    else:
        words += ["--certificate-identity", signer["subject"], "--certificate-oidc-issuer", signer["issuer"]]
    rooted = _is_trusted_root(material.trust_root)
    if rooted and (logged or not signer["key"]):
        words += ["--trusted-root", material.trust_root_path]
    elif not signer["key"]:
        return "", f"{_SIGNED}its certificate is of no Sigstore trust root"
    if not logged or not rooted:
        words.append("--insecure-ignore-tlog=true")
        if not signer["key"]:
            words.append("--use-signed-timestamps")
    words += ["--bundle", path]
    if "messageSignature" in bundle:
        verb, words = BLOB, [*words, proven.image]
    else:
        kind, hex_of = proven.predicate_type or _predicate_type(bundle), proven.image.removeprefix("sha256:")
        verb, words = ATTESTED, [*words, "--type", kind, "--digest", hex_of, "--digestAlg", "sha256"]
    if any(not word.isprintable() for word in words):
        return "", f"{_SIGNED}a name in it has characters that no command should have"
    return f"{verb} {shlex.join(words)}", ""


def _unfit(bundle: Mapping[str, Any], der: bytes | None) -> str:
    """Why cosign does not verify with this key; empty if it does."""
    if der is None:
        return "its key is not in the bundle"
    try:
        key = load_der_public_key(der)
    except Exception:  # noqa: BLE001 - whatever the library says of it: there is no key to verify with
        return "its key cannot be read"
    if isinstance(key, EllipticCurvePublicKey) and not isinstance(key.curve, SECP256R1):
        return "cosign takes every elliptic curve's signature to be over SHA-256"
    if isinstance(key, Ed25519PublicKey) and ("messageSignature" in bundle or not _is_plain(bundle, key)):
        return "cosign verifies Ed25519 signatures of envelopes alone, and not those over a hash"
    return ""


def _is_plain(bundle: Mapping[str, Any], key: Ed25519PublicKey) -> bool:
    try:
        envelope = bundle["dsseEnvelope"]
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        key.verify(signature, pae(envelope["payloadType"], payload))
    except (InvalidSignature, KeyError, IndexError, TypeError, AttributeError, ValueError, binascii.Error):
        return False
    return True


def _predicate_type(bundle: Mapping[str, Any]) -> str:
    try:
        return str(json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))["predicateType"])
    except (KeyError, TypeError, ValueError, RecursionError, binascii.Error):
        return "custom"


def _is_trusted_root(content: bytes | None) -> bool:
    found = _parsed(content or b"")
    return found is not None and str(found.get("mediaType", "")).startswith(_TRUSTED_ROOT)


def _parsed(content: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
