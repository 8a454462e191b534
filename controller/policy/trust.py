"""TrustRoot resources: a Sigstore TrustedRoot document under a name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controller.errors import PolicyError
from controller.model.policy import Problem, TrustRoot
from controller.model.reference import Digest
from controller.policy.fields import MAX_TEXT, Fields
from controller.policy.kinds import API_VERSION, TRUST_ROOT

MAX_DOCUMENT = 8 * MAX_TEXT  # characters of one inline document, as in the CRD
_LATER = {
    "secretRef": "a document in a secret",
    "configMapRef": "a document in a config map",
    "tuf": "a TUF repository",
    "certificateAuthorities": "own certificate authorities",
    "publicKeys": "own keys",
}
_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot"


def parse_trust_root(obj: Mapping[str, Any]) -> TrustRoot | tuple[Problem, ...]:
    """Read a TrustRoot whose document is inline (`spec.trustedRoot`, a JSON string), or say what is wrong with it.

    Whether the document's certificates and keys are good is for verification to say. Raises `PolicyError`
    (`KindUnknown`, `NameMissing`) for an object that is no TrustRoot or has no name.
    """
    metadata = obj.get("metadata")
    if obj.get("kind") != TRUST_ROOT or obj.get("apiVersion") != API_VERSION:
        raise PolicyError("KindUnknown", f"not a TrustRoot of {API_VERSION}", "kind")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise PolicyError("NameMissing", "the trust root has no name", "metadata.name")
    problems: list[Problem] = []
    fields = Fields(obj.get("spec"), "spec", problems)
    for name, what in _LATER.items():
        fields.not_supported(name, what)
    document = fields.raw("trustedRoot")
    if document is None and not problems:
        fields.problem("FieldMissing", "is required: the TrustedRoot document as a JSON string", "trustedRoot")
    elif document is not None and not isinstance(document, str):
        fields.problem("WrongType", "must be a string that holds the JSON document", "trustedRoot")
    fields.close()
    if problems:
        return tuple(problems)
    try:
        return trust_root(metadata["name"], str(document).encode(errors="replace"))
    except PolicyError as exc:
        return (Problem(code=exc.code, field=exc.field, message=exc.message),)


def trust_root(name: str, content: bytes) -> TrustRoot:
    """A TrustedRoot document (protobuf-specs JSON) under a name.

    Raises `PolicyError` (`TrustRootMalformed`) for bytes that are no such document.
    """
    try:
        document = json.loads(content) if len(content) <= MAX_DOCUMENT else None
    except (ValueError, RecursionError) as exc:
        raise _malformed(f"is no JSON: {type(exc).__name__}") from exc
    if not isinstance(document, dict):
        raise _malformed(f"is no JSON object of at most {MAX_DOCUMENT} bytes")
    if not str(document.get("mediaType", "")).startswith(_MEDIA_TYPE):
        raise _malformed(f"has no mediaType {_MEDIA_TYPE}…, so it is no Sigstore TrustedRoot")
    return TrustRoot(name=name, content=content, hash=str(Digest.of(content)))


def _malformed(message: str) -> PolicyError:
    return PolicyError("TrustRootMalformed", message, "spec.trustedRoot")
