"""cosign's formats before bundles: `.sig` layers (simple signing) and `.att` layers (DSSE).

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md. Signature, certificate, log entry and timestamp
lie in the layer's annotations, which anybody may write: each is a claim that a proof is tried with, and none is
believed. So a layer is brought into a bundle's form here, and judged as one. `dev.sigstore.cosign/chain` and
`predicateType` are not read at all: issuers are the trust root's, and the signed statement has its own predicate type.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from controller.model.evidence import Artifact, ArtifactKind
from controller.settings import DocumentSettings
from controller.verification import strict_json
from controller.verification.bundle import (
    MAX_CERTIFICATE_BYTES,
    Bundle,
    Content,
    SimpleSigning,
    decoded,
    malformed,
    mapping,
    parse_envelope,
    signature_of,
    text,
)
from controller.verification.failures import Unjudged

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
DSSE_ENVELOPE = "application/vnd.dsse.envelope.v1+json"
_SIGNATURE = "dev.cosignproject.cosign/signature"
_CERTIFICATE, _BUNDLE, _TIMESTAMP = (
    f"dev.sigstore.cosign/{name}" for name in ("certificate", "bundle", "rfc3161timestamp")
)
MAX_PAYLOAD_BYTES = 1024 * 1024  # bounds a simple-signing payload; cosign's have about 250
MAX_ANNOTATION_BYTES = 4 * 1024 * 1024  # bounds one annotation, as a manifest is bounded
_ENVELOPE_GROWTH = 2  # an envelope is at most this many times longer than its payload (base64, and what is around it)


def read(artifact: Artifact, *, limits: DocumentSettings) -> Bundle:
    """The layer in a bundle's form.

    Raises `Unjudged` (`LayerMalformed`, `MediaTypeUnsupported`, `JsonMalformed`, `PayloadTypeUnsupported`,
    `SignatureCount`, `LimitExceeded`).
    """
    annotations = dict(artifact.annotations)
    try:
        content = _content(artifact, annotations, limits=limits)
        entry, timestamp = annotations.get(_BUNDLE), annotations.get(_TIMESTAMP)
        return Bundle(
            raw=None,
            content=content,
            certificate=_certificate(annotations.get(_CERTIFICATE)),
            by_promise=True,
            log_entries=(_entry(entry, limits=limits),) if entry else (),
            timestamps=(_timestamp(timestamp, limits=limits),) if timestamp else (),
            # cosign 2 has an attestation timestamped whole (and verifies only that), cosign 3 its signature.
            stamped=(content.signature,)
            if isinstance(content, SimpleSigning)
            else (content.signature, artifact.content),
        )
    except Unjudged as failure:
        if failure.code != "BundleMalformed":
            raise
        raise Unjudged("LayerMalformed", "the layer, or an annotation of cosign's on it, is malformed") from failure


def _content(artifact: Artifact, annotations: Mapping[str, str], *, limits: DocumentSettings) -> Content:
    match artifact.kind, artifact.media_type:
        case ArtifactKind.COSIGN_SIGNATURE, media_type if media_type == SIMPLE_SIGNING:
            if len(artifact.content) > MAX_PAYLOAD_BYTES:
                raise Unjudged("LimitExceeded", "its payload is too long (bound: MAX_PAYLOAD_BYTES)")
            return SimpleSigning(artifact.content, signature_of(annotations.get(_SIGNATURE)))
        case ArtifactKind.COSIGN_ATTESTATION, media_type if media_type == DSSE_ENVELOPE:
            return parse_envelope(_json(artifact.content, "the envelope", limits=limits), limits=limits)
        case _:
            raise Unjudged("MediaTypeUnsupported", "its media type is none of cosign's layers")


def _certificate(pem: str | None) -> bytes | None:
    """The annotated certificate in DER; exactly one."""
    if not pem:
        return None
    if len(pem) > MAX_CERTIFICATE_BYTES:
        raise malformed("its certificate is too long")
    try:
        (certificate,) = x509.load_pem_x509_certificates(pem.encode())
    except (ValueError, x509.InvalidVersion) as exc:
        raise malformed("its certificate annotation does not hold exactly one certificate") from exc
    return certificate.public_bytes(serialization.Encoding.DER)


def _entry(annotation: str, *, limits: DocumentSettings) -> Mapping[str, Any]:
    """cosign's record of a log entry (`RekorBundle`) as the log entry of a v0.1 bundle."""
    record = mapping(_json(_encoded(annotation), "the log entry's annotation", limits=limits), "it")
    payload = mapping(record.get("Payload"), "Payload")
    body = text(payload.get("body"), "body")
    stated = mapping(_json(decoded(body, "body"), "the log entry's body", limits=limits), "body")
    try:
        log_id = bytes.fromhex(text(payload.get("logID"), "logID"))
    except ValueError as exc:
        raise malformed("logID is no hexadecimal number") from exc
    return {
        "logIndex": payload.get("logIndex"),
        "logId": {"keyId": base64.b64encode(log_id).decode()},
        "kindVersion": {"kind": stated.get("kind"), "version": stated.get("apiVersion")},
        "integratedTime": payload.get("integratedTime"),
        "inclusionPromise": {"signedEntryTimestamp": record.get("SignedEntryTimestamp")},
        "canonicalizedBody": body,
    }


def _timestamp(annotation: str, *, limits: DocumentSettings) -> bytes:
    record = mapping(_json(_encoded(annotation), "the timestamp's annotation", limits=limits), "it")
    return decoded(record.get("SignedRFC3161Timestamp"), "SignedRFC3161Timestamp")


def _encoded(annotation: str) -> bytes:
    try:
        return annotation.encode()
    except UnicodeEncodeError as exc:  # half a surrogate pair, which JSON can write and UTF-8 cannot
        raise malformed("an annotation is no text") from exc


def _json(content: bytes, what: str, *, limits: DocumentSettings) -> Any:
    most = limits.document_max_bytes * _ENVELOPE_GROWTH + MAX_ANNOTATION_BYTES
    return strict_json.parse(content, what=what, max_bytes=most, max_depth=limits.document_max_depth)
