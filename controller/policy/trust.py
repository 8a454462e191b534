"""TrustRoot resources: a Sigstore TrustedRoot document under a name, inline or in a Secret or ConfigMap."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controller.errors import PolicyError
from controller.model.policy import Problem, TrustRoot
from controller.model.reference import Digest
from controller.policy.fields import MAX_TEXT, Fields
from controller.policy.kinds import API_VERSION, TRUST_ROOT
from controller.policy.references import CONFIG_MAP, NOTHING, SECRET, Materials, ObjectRef, key_in

MAX_DOCUMENT = 8 * MAX_TEXT  # characters of one inline document, as in the CRD
_LATER = {
    "tuf": "a TUF repository",
    "certificateAuthorities": "own certificate authorities",
    "publicKeys": "own keys",
}
_REFERENCES = {"secretRef": SECRET, "configMapRef": CONFIG_MAP}
_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot"


def parse_trust_root(obj: Mapping[str, Any], materials: Materials = NOTHING) -> TrustRoot | tuple[Problem, ...]:
    """Read a TrustRoot, or say what is wrong with it.

    Its document is inline (`trustedRoot`, a JSON string) or in a Secret or ConfigMap of Assay's own namespace. Whether
    the document's certificates and keys are good is for verification to say. Raises `PolicyError` (`KindUnknown`,
    `NameMissing`) for an object that is no TrustRoot or has no name.
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
    references = {name: key_in(fields.node(name)) for name in _REFERENCES if fields.has(name)}
    given = [*(["trustedRoot"] if document is not None else []), *references]
    if not given and not problems:
        fields.problem("FieldMissing", "is required: the TrustedRoot document as a JSON string", "trustedRoot")
    elif len(given) > 1:
        fields.problem("TrustRootMalformed", f"must have exactly one source; it has {' and '.join(given)}")
    elif document is not None and not isinstance(document, str):
        fields.problem("WrongType", "must be a string that holds the JSON document", "trustedRoot")
    fields.close()
    if problems:
        return tuple(problems)
    source = f"spec.{given[0]}"
    try:
        if document is None:
            where = references[given[0]]
            held = ObjectRef(_REFERENCES[given[0]], materials.namespace, where.name)
            content = materials.read(held, where.key, field=source)
        else:
            content = str(document).encode(errors="replace")
        return trust_root(metadata["name"], content, field=source)
    except PolicyError as exc:
        return (Problem(code=exc.code, field=exc.field, message=exc.message),)


def faulty(name: str, fault: Problem) -> TrustRoot:
    """A trust root of which only its name is known: what needs it says why it cannot be judged."""
    content = f"{fault.code}: {fault.field}: {fault.message}".encode(errors="replace")
    return TrustRoot(name=name, content=content, hash=str(Digest.of(content)), fault=fault)


def trust_root(name: str, content: bytes, *, field: str = "spec.trustedRoot") -> TrustRoot:
    """A TrustedRoot document (protobuf-specs JSON) under a name.

    Raises `PolicyError` (`TrustRootMalformed`, with `field`) for bytes that are no such document.
    """
    try:
        document = json.loads(content) if len(content) <= MAX_DOCUMENT else None
    except (ValueError, RecursionError) as exc:
        raise _malformed(field, f"is no JSON: {type(exc).__name__}") from None  # its message quotes what it read
    if not isinstance(document, dict):
        raise _malformed(field, f"is no JSON object of at most {MAX_DOCUMENT} bytes")
    if not str(document.get("mediaType", "")).startswith(_MEDIA_TYPE):
        raise _malformed(field, f"has no mediaType {_MEDIA_TYPE}…, so it is no Sigstore TrustedRoot")
    return TrustRoot(name=name, content=content, hash=str(Digest.of(content)))


def _malformed(field: str, message: str) -> PolicyError:
    return PolicyError("TrustRootMalformed", message, field)
