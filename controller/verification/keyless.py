"""The proof who signed a keyless bundle: sigstore's own verifier, with an explicit trust root and nothing fetched.

It proves *who* first and lets the caller ask afterwards whether that is somebody wanted: so a message can name the true
signer of an image that a policy refuses, and the work is done once however many identities are compared.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from pydantic import ValidationError
from sigstore import errors as sigstore_errors
from sigstore.dsse import InvalidEnvelope
from sigstore.hashes import Hashed
from sigstore.models import Bundle as SigstoreBundle
from sigstore.models import IncompatibleEntry, InvalidBundle
from sigstore.oidc import IdentityError
from sigstore.verify import Verifier
from sigstore_models.common.v1 import HashAlgorithm

from controller.errors import AssayError
from controller.model.evidence import Signer
from controller.model.reference import Digest
from controller.verification.bundle import Bundle, Envelope, MessageSignature
from controller.verification.failures import EvidenceFailure, NotVerified, Unjudged
from controller.verification.fulcio import signer_of
from controller.verification.inclusion import proven_entry, verify_inclusion
from controller.verification.proof import Proven, check_times
from controller.verification.timestamps import verify_timestamps
from controller.verification.trust import ParsedRoot

LIBRARY_ERRORS: dict[type[Exception], type[EvidenceFailure]] = {
    sigstore_errors.CertValidationError: NotVerified,
    sigstore_errors.VerificationError: NotVerified,
    IncompatibleEntry: Unjudged,
    InvalidBundle: Unjudged,
    InvalidEnvelope: Unjudged,
    sigstore_errors.MetadataError: Unjudged,
    sigstore_errors.RootError: Unjudged,
    sigstore_errors.TUFError: Unjudged,
    sigstore_errors.NetworkError: Unjudged,
    IdentityError: Unjudged,
    sigstore_errors.Error: Unjudged,
    InvalidSignature: NotVerified,
    UnsupportedAlgorithm: Unjudged,
    x509.ExtensionNotFound: NotVerified,
    x509.DuplicateExtension: Unjudged,
    ValidationError: Unjudged,
}
"""What each error of the library means. A test fails when the library has one that is not here."""

_CAUSES: tuple[tuple[str, str, str], ...] = (
    ("invalid log entry", "LogEntryInvalid", "its log entry is not proven by a trusted transparency log"),
    (
        "failed to verify SCT",
        "CertificateNotLogged",
        "its certificate is not proven to be in a trusted certificate log",
    ),
    ("invalid signing cert: expired", "CertificateExpired", "its certificate was not valid when it signed"),
    ("not enough sources of verified time", "TimeUnproven", "nobody trusted vouches for the time of its signature"),
    ("no Timestamp Authorities", "TimestampAuthorityUnknown", "it carries a timestamp of an authority not trusted"),
    (
        "failed to build timestamp certificate chain",
        "CertificateUntrusted",
        "its certificate is not of a trusted issuer",
    ),
    ("DSSE: invalid signature", "SignatureInvalid", "its signature does not verify with its certificate"),
    ("Signature is invalid for input", "SignatureInvalid", "its signature does not verify with its certificate"),
    ("Bundle message digest mismatch", "SubjectMismatch", "its signature is over another digest than this image's"),
    ("transparency log entry is inconsistent", "LogEntryMismatch", "its log entry is that of another signature"),
    ("log entry payload hash does not match", "LogEntryMismatch", "its log entry is that of another signature"),
    ("log entry signatures do not match", "LogEntryMismatch", "its log entry is that of another signature"),
)
"""The library's words for why (its version is pinned) and Assay's. Its own text may quote the bundle: never shown."""


class _SignerRecorder:
    """Sigstore's `VerificationPolicy`: reads who the certificate is of, and accepts whoever it is.

    The caller's duty: to believe `signer` only after the verifier returned, and then to ask whether it is wanted.
    """

    def __init__(self) -> None:
        self.signer: Signer | None = None

    def verify(self, cert: x509.Certificate) -> None:
        self.signer = signer_of(cert)


def prove_keyless(bundle: Bundle, *, image: Digest, root: ParsedRoot, now: datetime) -> Proven:
    """Prove who signed the bundle's content; the signer's certificate, its log and time are those of `root`.

    The caller's duties: to compare `signer` with the identities that are wanted, to ask for a timestamp where one is
    required, and to check what a returned statement is about.
    Raises `NotVerified`, `Unjudged`, and `ConfigurationError` where the trust root lacks a part.
    """
    # (1) The bundle is of a kind that sigstore judges whole: one certificate, one log entry with an inclusion proof.
    _check_form(bundle)
    verifier = root.verifier
    try:
        # (2) Chain, certificate log, validity at the time of signing, log entry, signature, and the entry's body.
        signer, statement, inner = _verify(bundle, image=image, verifier=verifier)
    except (EvidenceFailure, AssayError, MemoryError):
        raise
    except Exception as exc:  # foreign bytes in a foreign library: whatever it raises proves nothing
        raise translated(exc) from exc
    # (3) The log entry once more, by the key of the log that it names, and with what sigstore leaves open.
    entry = verify_inclusion(bundle.log_entries[0], root)
    # (4) Every timestamp that it carries is a trusted authority's: sigstore lets others pass beside a log's promise.
    stamped = verify_timestamps(bundle.timestamps, signature=bundle.content.signature, root=root)
    # (5) Nobody vouches for a time that is yet to come.
    log_entry = proven_entry(entry)
    promised = (log_entry.integrated_at,) if log_entry.integrated_at else ()
    signed_at = check_times((*stamped, *promised), now=now)
    certificate = inner.signing_certificate
    kind = f"{entry.kind_version.kind}/{entry.kind_version.version}"
    over = "the signed statement and its type (DSSE)" if statement is not None else f"the digest {image}"
    issued = f"Trust root {root.name} issued and logged the certificate of {signer.identity}"
    valid = f"valid from {_time(certificate.not_valid_before_utc)} to {_time(certificate.not_valid_after_utc)}."
    witness = "a timestamp authority" if stamped else "the transparency log"
    return Proven(
        signer=signer,
        statement=statement,
        log_entry=log_entry,
        signed_at=signed_at,
        timestamped=bool(stamped),
        steps=(
            f"{issued}, {valid}",
            f"The signature was there at {_time(signed_at)}, says {witness} of the trust root.",
            f"The signature over {over} verifies with the certificate's key.",
            f"Entry {log_entry.index} ({kind}) is in the log {log_entry.log_id}, and is that of this signature.",
        ),
    )


def _time(when: datetime | None) -> str:
    return f"{when:%Y-%m-%dT%H:%M:%SZ}" if when else "a time unknown"


def _check_form(bundle: Bundle) -> None:
    if not bundle.certified:
        raise NotVerified("SignedWithKey", "it was signed with a bare key, and a certificate identity is required")
    if not bundle.log_entries:
        raise NotVerified("LogEntryMissing", "it is in no transparency log")
    if len(bundle.log_entries) > 1:
        raise Unjudged("SeveralLogEntriesUnsupported", "it has several log entries, which Assay does not judge yet")
    if bundle.log_entries[0].get("inclusionProof") is None:
        raise Unjudged("InclusionProofUnsupported", "its log entry has no inclusion proof, which Assay needs for now")
    if bundle.log_entries[0].get("inclusionPromise") is None and not bundle.timestamps:
        raise NotVerified("TimeUnproven", "nobody trusted vouches for the time of its signature")


def _verify(bundle: Bundle, *, image: Digest, verifier: Verifier) -> tuple[Signer, bytes | None, SigstoreBundle]:
    """Put the bundle to the library. What it read as the signed content must be what Assay read."""
    inner, recorder = SigstoreBundle.from_json(bundle.raw), _SignerRecorder()
    statement: bytes | None = None
    match bundle.content:
        case Envelope() as envelope:
            kind, statement = verifier.verify_dsse(inner, recorder)
            if (kind, statement, inner.signature) != (envelope.payload_type, envelope.payload, envelope.signature):
                raise Unjudged("BundleMalformed", "the bundle can be read in two ways")
        case MessageSignature() as message:
            if message.algorithm != "SHA2_256":
                raise Unjudged("DigestAlgorithmUnsupported", "its signature is over another digest than a SHA-256")
            if message.digest != bytes.fromhex(image.hex):
                raise NotVerified("SubjectMismatch", "its signature is over another digest than this image's")
            verifier.verify_artifact(
                Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(image.hex)), inner, recorder
            )
            if inner.signature != message.signature:
                raise Unjudged("BundleMalformed", "the bundle can be read in two ways")
    if recorder.signer is None:
        raise NotVerified("BundleNotVerified", "its certificate was not judged")
    return recorder.signer, statement, inner


def translated(error: Exception) -> EvidenceFailure:
    """What an error of the library means, in Assay's words. Raised nowhere else (guarantee 12)."""
    kind = next((LIBRARY_ERRORS[base] for base in type(error).__mro__ if base in LIBRARY_ERRORS), Unjudged)
    if kind is NotVerified:
        said = str(error)
        for words, code, message in _CAUSES:
            if words in said:
                return NotVerified(code, message)
        return NotVerified("BundleNotVerified", "its certificate or signature does not hold")
    return Unjudged("BundleMalformed", "the bundle is malformed, or of a form that Assay cannot judge")
