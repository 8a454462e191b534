"""A Sigstore bundle, parsed strictly and believed in nothing.

https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto, in its JSON form, versions 0.1 to
0.3. What is read here is what Assay's own proofs use; keyless bundles that sigstore can judge are read a second time by
it, and what that proves is compared with what stands here, so two readers can never disagree unnoticed. cosign's old
layers (`legacy`) come in the same form.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.settings import DocumentSettings
from controller.verification import strict_json
from controller.verification.failures import Unjudged

MEDIA_TYPES = {
    "application/vnd.dev.sigstore.bundle.v0.3+json": "0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.3": "0.3",
    "application/vnd.dev.sigstore.bundle+json;version=0.2": "0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.1": "0.1",
}
IN_TOTO = "application/vnd.in-toto+json"
MAX_LOG_ENTRIES = 8  # bounds the proofs checked for one bundle
MAX_TIMESTAMPS = 8  # bounds the timestamps checked for one bundle
MAX_CERTIFICATES = 8  # bounds a chain of which the first alone is read
MAX_CERTIFICATE_BYTES = 64 * 1024  # bounds what is parsed as a certificate; Fulcio's have about 1,700
MAX_SIGNATURE_BYTES = 2048  # an RSA-16384 signature; anything longer is none
_BASE64_GROWTH = 2  # a payload is at most this many times longer in its bundle (base64, escapes, the proof's parts)
_SMALL_BUNDLE = 1024 * 1024  # room for certificates, log entries and timestamps


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope with its one signature (https://github.com/secure-systems-lab/dsse/blob/v1.0.2/envelope.md)."""

    payload_type: str
    payload: bytes
    signature: bytes

    def pae(self) -> bytes:
        """What is signed: the pre-authentication encoding of type and payload."""
        kind = self.payload_type.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)


@dataclass(frozen=True, slots=True)
class MessageSignature:
    """A signature over some content, whose digest the bundle claims. `algorithm` is as written (`SHA2_256`)."""

    algorithm: str
    digest: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SimpleSigning:
    """cosign's old payload, which names the image (`simple_signing`), and the signature over its bytes."""

    payload: bytes
    signature: bytes


Content = Envelope | MessageSignature | SimpleSigning


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle's parts, as they were found.

    `certificate` is the signer's in DER, unparsed; None where it is signed with a bare key. `raw` is a Sigstore
    bundle's JSON; None for cosign's old formats. `by_promise`: its log entries are proven by the log's promise (v0.1
    and cosign's old formats; since v0.2 by an inclusion proof). A timestamp must be over one of `stamped`.
    """

    raw: bytes | None
    content: Content
    certificate: bytes | None
    by_promise: bool
    log_entries: tuple[Mapping[str, Any], ...]
    timestamps: tuple[bytes, ...]
    stamped: tuple[bytes, ...]


def parse_bundle(raw: bytes, *, limits: DocumentSettings) -> Bundle:
    """Read a bundle.

    Raises `Unjudged` (`BundleMalformed`, `BundleVersionUnsupported`, `PayloadTypeUnsupported`, `SignatureCount`,
    `LimitExceeded`).
    """
    value = strict_json.parse(
        raw,
        what="the bundle",
        max_bytes=limits.document_max_bytes * _BASE64_GROWTH + _SMALL_BUNDLE,
        max_depth=limits.document_max_depth,
    )
    bundle = mapping(value, "the bundle")
    media_type = text(bundle.get("mediaType"), "mediaType")
    if media_type not in MEDIA_TYPES:
        raise Unjudged("BundleVersionUnsupported", "the bundle is of a version that Assay does not know")
    version = MEDIA_TYPES[media_type]
    material = mapping(bundle.get("verificationMaterial"), "verificationMaterial")
    entries = items(material.get("tlogEntries"), "tlogEntries", most=MAX_LOG_ENTRIES)
    stamps = mapping(material.get("timestampVerificationData") or {}, "timestampVerificationData")
    timestamps = [
        decoded(mapping(stamp, "a timestamp").get("signedTimestamp"), "signedTimestamp")
        for stamp in items(stamps.get("rfc3161Timestamps"), "rfc3161Timestamps", most=MAX_TIMESTAMPS)
    ]
    if any(entry in entries[:at] for at, entry in enumerate(entries)) or len(set(timestamps)) != len(timestamps):
        raise malformed("a log entry or a timestamp stands there twice")
    content = _content(bundle, limits=limits)
    return Bundle(
        raw=raw,
        content=content,
        certificate=_certificate(material, version),
        by_promise=version == "0.1",
        log_entries=tuple(mapping(entry, "a log entry") for entry in entries),
        timestamps=tuple(timestamps),
        stamped=(content.signature,),
    )


def _certificate(material: Mapping[str, Any], version: str) -> bytes | None:
    """The signer's certificate, in the place that this version has for it; None for a bare key."""
    holders = [name for name in ("publicKey", "certificate", "x509CertificateChain") if material.get(name) is not None]
    if len(holders) != 1:
        raise malformed("verificationMaterial must hold exactly one of a certificate and a public key")
    if holders == ["publicKey"]:
        return None
    if holders != (["certificate"] if version == "0.3" else ["x509CertificateChain"]):
        raise malformed("its certificate is not where its version has it")
    holder = mapping(material[holders[0]], holders[0])
    if version != "0.3":
        # The first is the signer's. The others are nobody's word: issuers are those of the trust root.
        chain = items(holder.get("certificates"), "certificates", most=MAX_CERTIFICATES)
        if not chain:
            raise malformed("its certificate chain is empty")
        holder = mapping(chain[0], "a certificate")
    certificate = decoded(holder.get("rawBytes"), "the certificate")
    if not 0 < len(certificate) <= MAX_CERTIFICATE_BYTES:
        raise malformed("its certificate is empty or too long")
    return certificate


def parse_envelope(value: Any, *, limits: DocumentSettings) -> Envelope:
    """Read a DSSE envelope with exactly one signature over an in-toto statement. Raises as `parse_bundle`."""
    envelope = mapping(value, "the envelope")
    signatures = items(envelope.get("signatures"), "signatures", most=MAX_LOG_ENTRIES)
    if len(signatures) != 1:
        # Sigstore's client specification: more than one says "signed by", and nobody agrees whose identity it is.
        raise Unjudged("SignatureCount", f"its envelope has {len(signatures)} signatures; exactly one is supported")
    if envelope.get("payloadType") != IN_TOTO:
        raise Unjudged("PayloadTypeUnsupported", f"its envelope holds something other than {IN_TOTO}")
    payload = decoded(envelope.get("payload"), "payload")
    if len(payload) > limits.document_max_bytes:
        raise Unjudged("LimitExceeded", f"its payload has {len(payload)} bytes (bound: document_max_bytes)")
    return Envelope(IN_TOTO, payload, signature_of(mapping(signatures[0], "a signature").get("sig")))


def _content(bundle: Mapping[str, Any], *, limits: DocumentSettings) -> Envelope | MessageSignature:
    envelope, message = bundle.get("dsseEnvelope"), bundle.get("messageSignature")
    if (envelope is None) == (message is None):
        raise malformed("it must hold exactly one of dsseEnvelope and messageSignature")
    if envelope is not None:
        return parse_envelope(envelope, limits=limits)
    message = mapping(message, "messageSignature")
    digest = mapping(message.get("messageDigest"), "messageDigest")
    return MessageSignature(
        algorithm=text(digest.get("algorithm", "HASH_ALGORITHM_UNSPECIFIED"), "messageDigest.algorithm"),
        digest=decoded(digest.get("digest", ""), "messageDigest.digest"),
        signature=signature_of(message.get("signature")),
    )


def signature_of(value: Any) -> bytes:
    """`value` as a signature (base64, of a sane length), or `Unjudged`."""
    signature = decoded(value, "the signature")
    if not 0 < len(signature) <= MAX_SIGNATURE_BYTES:
        raise malformed("its signature is empty or too long")
    return signature


def malformed(what: str) -> Unjudged:
    """The failure for a bundle that is not as the specification says. `what` must quote nothing from it."""
    return Unjudged("BundleMalformed", f"the bundle is malformed: {what}")


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """`value` as a JSON object, or `Unjudged`."""
    if not isinstance(value, dict):
        raise malformed(f"{what} is no object")
    return value


def items(value: Any, what: str, *, most: int) -> list[Any]:
    """`value` as a JSON array (absent is empty, as in protobuf's JSON) of at most `most` items, or `Unjudged`."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise malformed(f"{what} is no list")
    if len(value) > most:
        raise Unjudged("LimitExceeded", f"{what} has {len(value)} items (bound: {most})")
    return value


def text(value: Any, what: str) -> str:
    """`value` as a string, or `Unjudged`."""
    if not isinstance(value, str):
        raise malformed(f"{what} is no text")
    return value


def decoded(value: Any, what: str) -> bytes:
    """`value` as base64 (standard alphabet, padded, nothing else in it), or `Unjudged`."""
    try:
        return base64.b64decode(text(value, what), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise malformed(f"{what} is not base64") from exc
