"""Out of what a document came in: a Sigstore bundle, a DSSE envelope, or nothing.

What is here was recorded as evidence; whether somebody signed it was found out before, by `verification`, and is told
by the leaves. So this looks for the payload alone. It reads strictly all the same: of two values for one key nobody can
say which one was meant.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never

from controller.documents import types
from controller.documents.unwrap import malformed
from controller.errors import LimitExceeded
from controller.settings import DocumentSettings

MAX_SUBJECTS = 4096  # of one statement that are indexed
MAX_TYPE_LENGTH = 512  # characters of a predicate type
_GROWTH = 2  # a payload is at most this many times longer in its envelope
_SMALL = 1024 * 1024  # room for certificates and proofs
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SIGNING = "https://sigstore.dev/cosign/sign/v1"  # a statement that says nothing but that something is signed


@dataclass(frozen=True, slots=True)
class Statement:
    """A predicate, its type, and the images that it is about. `predicate` is None for a signature."""

    predicate_type: str
    predicate: Any
    subjects: tuple[str, ...]

    @property
    def is_signature(self) -> bool:
        """Whether it says nothing."""
        return self.predicate is None


_SIGNATURE = Statement("", None, ())


def find(content: bytes, limits: DocumentSettings) -> Statement:
    """The statement in an artefact's bytes. Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`."""
    if len(content) > limits.document_max_bytes * _GROWTH + _SMALL:
        raise LimitExceeded("document_max_bytes", f"an artefact of {len(content)} bytes")
    value = _load(content)
    if "messageSignature" in value or "critical" in value:  # a bundle's, or cosign's simple signing
        return _SIGNATURE
    envelope = value.get("dsseEnvelope", value)
    if not isinstance(envelope, Mapping):
        raise malformed("the bundle's envelope is no object")
    if "payload" in envelope and "payloadType" in envelope:
        value = _load(_payload(envelope, limits))
    if "predicateType" not in value:
        return Statement(_bare(value), value, ())
    kind = value["predicateType"]
    if not isinstance(kind, str) or len(kind) > MAX_TYPE_LENGTH:
        raise malformed("the statement's predicateType is no short text")
    if kind == _SIGNING:
        return _SIGNATURE
    predicate = value.get("predicate")
    return Statement(kind, {} if predicate is None else predicate, tuple(_subjects(value.get("subject"))))


def _payload(envelope: Mapping[str, Any], limits: DocumentSettings) -> bytes:
    try:
        payload = base64.b64decode(envelope["payload"], validate=True)
    except (binascii.Error, ValueError, TypeError) as exc:
        raise malformed("the envelope's payload is not base64") from exc
    if len(payload) > limits.document_max_bytes:
        raise LimitExceeded("document_max_bytes", f"a document of {len(payload)} bytes")
    return payload


def _bare(value: Mapping[str, Any]) -> str:
    """The type of a document without a statement, by the word that its format begins with; empty if it is none."""
    if "spdxVersion" in value or "spdx.org" in str(value.get("@context", "")):
        return types.SPDX
    if value.get("bomFormat") == "CycloneDX":
        return types.CYCLONEDX
    return types.OPENVEX if str(value.get("@context", "")).startswith(types.OPENVEX) else ""


def _subjects(listed: Any) -> list[str]:
    if not isinstance(listed, list):
        return []
    found = []
    for subject in listed[:MAX_SUBJECTS]:
        digests = subject.get("digest") if isinstance(subject, Mapping) else None
        value = digests.get("sha256") if isinstance(digests, Mapping) else None
        if isinstance(value, str) and _SHA256.fullmatch(value):
            found.append(f"sha256:{value}")
    return list(dict.fromkeys(found))


def _load(content: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(content, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
        if _SURROGATE.search(content):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError as exc:
        raise LimitExceeded("document_max_depth", "a document is nested too deeply to be read") from exc
    except ValueError as exc:
        raise malformed("the artefact is no JSON") from exc
    if not isinstance(value, Mapping):
        raise malformed("the artefact is no JSON object")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("an object has the same key twice")
    return value


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)
