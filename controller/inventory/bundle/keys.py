"""The public keys by which evidence counted, found by their fingerprints in policies and among kept bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from controller.errors import AssayError
from controller.model.reference import Digest
from controller.policy.resolving import public_keys_der

_PEM = "-----BEGIN PUBLIC KEY-----"


def keys_in(content: bytes) -> Iterator[bytes]:
    """The keys (DER) that stand in a policy or in a trust root of one's own. What cannot be read has none."""
    try:
        waiting: list[Any] = [json.loads(content)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, str) and _PEM in value:
            try:
                yield from public_keys_der(value)
            except (AssayError, ValueError, UnsupportedAlgorithm):
                continue


def trust_root_of(content: bytes, authority: str) -> str:
    """The name of the trust root by which a policy's authority judges; empty if it has none."""
    for found in _authorities(content):
        if found.get("name") == authority:
            for kind in ("keyless", "key", "certificate"):
                value = found.get(kind)
                reference = value.get("trustRootRef") if isinstance(value, dict) else None
                if isinstance(reference, dict):
                    return str(reference.get("name", ""))
    return ""


def fingerprint(der: bytes) -> str:
    """The name under which records speak of a key."""
    return str(Digest.of(der))


def pem_of(der: bytes) -> bytes:
    """A key in the form that public tools take. Raises `ValueError`."""
    try:
        return load_der_public_key(der).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    except Exception as exc:
        raise ValueError("is no public key") from exc


def _authorities(content: bytes) -> list[Any]:
    try:
        found = json.loads(content)["spec"]["authorities"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return []
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []
