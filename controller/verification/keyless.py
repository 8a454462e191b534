"""The proof who signed with a certificate, with an explicit trust root and nothing fetched.

Every format takes one way through here. What sigstore's own verifier can judge must hold before it as well, so that no
such bundle counts by one program's word alone.

It proves *who* first and lets the caller ask afterwards whether that is somebody wanted: so a message can name the true
signer of an image that a policy refuses, and the work is done once however many identities are compared.
"""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError
from sigstore import errors as sigstore_errors
from sigstore.dsse import InvalidEnvelope
from sigstore.hashes import Hashed
from sigstore.models import Bundle as SigstoreBundle
from sigstore.models import IncompatibleEntry, InvalidBundle
from sigstore.oidc import IdentityError
from sigstore.verify import Verifier as SigstoreVerifier
from sigstore_models.common.v1 import HashAlgorithm

from controller.errors import AssayError, PolicyError
from controller.model.evidence import Signer
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification.bundle import Bundle, Envelope, MessageSignature, SimpleSigning
from controller.verification.certificates import load_certificate, verify_certificate
from controller.verification.failures import EvidenceFailure, NotVerified, Unjudged
from controller.verification.fulcio import signer_of
from controller.verification.keys import PublicKey, checked_key
from controller.verification.proof import Proven, check_times, shown_time, told
from controller.verification.signatures import described, is_signed_by
from controller.verification.timestamps import verify_timestamps
from controller.verification.transparency import Verifier, verify_entries
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


_TAKEN_BY_SIGSTORE: dict[type[Envelope | MessageSignature], frozenset[str]] = {
    Envelope: frozenset({"hashedrekord/0.0.2", "dsse/0.0.1"}),
    MessageSignature: frozenset({"hashedrekord/0.0.2", "hashedrekord/0.0.1"}),
}
"""The kinds of log entries that sigstore's verifier takes for each content."""


class _SignerRecorder:
    """Sigstore's `VerificationPolicy`: reads who the certificate is of, and accepts whoever it is.

    The caller's duty: to believe `signer` only after the verifier returned, and then to ask whether it is wanted.
    """

    def __init__(self) -> None:
        self.signer: Signer | None = None

    def verify(self, cert: x509.Certificate) -> None:
        self.signer = signer_of(cert)


def prove_keyless(
    bundle: Bundle,
    *,
    image: Digest,
    root: ParsedRoot,
    now: datetime,
    limits: DocumentSettings,
    with_log: bool,
    logged: bool = True,
) -> Proven:
    """Prove who signed the bundle's content; the signer's certificate, its log and time are those of `root`.

    `with_log`: log entries are judged, and say when it was signed; without them a timestamp must.
    `logged`: the certificate must prove that it is in a certificate log.
    The caller's duties: to compare `signer` with the identities that are wanted, to ask for a log entry or a timestamp
    where one is required, and to check what the content is about.
    Raises `NotVerified`, `Unjudged`, and `ConfigurationError` where the trust root lacks a part.
    """
    if bundle.certificate is None:
        raise NotVerified("SignedWithKey", "it was signed with a bare key, and a certificate identity is required")
    try:
        return _prove(
            bundle,
            bundle.certificate,
            image=image,
            root=root,
            now=now,
            limits=limits,
            with_log=with_log,
            logged=logged,
        )
    except (EvidenceFailure, AssayError, MemoryError):
        raise
    except Exception as exc:  # foreign bytes in foreign libraries: whatever they raise proves nothing
        raise translated(exc) from exc


def _prove(
    bundle: Bundle,
    der: bytes,
    *,
    image: Digest,
    root: ParsedRoot,
    now: datetime,
    limits: DocumentSettings,
    with_log: bool,
    logged: bool,
) -> Proven:
    certificate = load_certificate(der)
    key = _key_of(certificate)
    # (1) The signature is the certificate's key's, over exactly this content.
    if not is_signed_by(bundle.content, image=image, key=key):
        raise NotVerified("SignatureInvalid", "its signature does not verify with its certificate")
    # (2) Every timestamp that it carries is a trusted authority's, over this signature.
    stamped = verify_timestamps(bundle.timestamps, stamped=bundle.stamped, root=root)
    # (3) Every log entry is in a trusted log, and is that of this signature, certificate and content.
    by = Verifier(key, der)
    entries = verify_entries(bundle, by=by, root=root, times=stamped or (now,), limits=limits) if with_log else ()
    # (4) At each time that is vouched for, the certificate was valid, its issuer's to give, and it was logged.
    promised = tuple(found.entry.integrated_at for found in entries if found.entry.integrated_at is not None)
    verify_certificate(certificate, times=(*stamped, *promised), root=root, logged=logged)
    # (5) Nobody vouches for a time that is yet to come.
    signed_at = check_times((*stamped, *promised), now=now)
    # (6) Who it is, by the certificate's word, which now counts.
    signer = signer_of(certificate)
    # (7) What sigstore itself can judge is put to it as well: a second opinion, by other hands.
    if with_log and logged and _asked_of_sigstore(bundle, key, image=image, root=root) not in {None, signer}:
        raise Unjudged("BundleMalformed", "the bundle can be read in two ways")
    valid = f"{shown_time(certificate.not_valid_before_utc)} to {shown_time(certificate.not_valid_after_utc)}"
    issued = "issued and logged" if logged else "issued"
    return Proven(
        signer=signer,
        key=key,
        log_entry=entries[0].entry if entries else None,
        signed_at=signed_at,
        timestamped=bool(stamped),
        steps=(
            f"Trust root {root.name} {issued} the certificate of {signer.identity}, valid from {valid}.",
            f"The signature over {described(bundle.content, image)} verifies with the certificate's key.",
            *told(entries, stamped),
        ),
    )


def _key_of(certificate: x509.Certificate) -> PublicKey:
    try:
        return checked_key(certificate.public_key())
    except PolicyError as exc:
        raise Unjudged(exc.code, f"its certificate cannot be judged: {exc.message}") from exc


def _asked_of_sigstore(bundle: Bundle, key: PublicKey, *, image: Digest, root: ParsedRoot) -> Signer | None:
    """Who signed, by sigstore's verifier; None for what that does not take.

    It takes a bundle (no old format) with one log entry that has an inclusion proof, of two kinds, by a P-256 key.
    """
    if bundle.raw is None or len(bundle.log_entries) != 1 or isinstance(bundle.content, SimpleSigning):
        return None
    (entry,) = bundle.log_entries
    proof, version = entry.get("inclusionProof"), entry.get("kindVersion")
    whole = isinstance(proof, dict) and proof.get("checkpoint") is not None
    taken = _TAKEN_BY_SIGSTORE[type(bundle.content)]
    known = isinstance(version, dict) and f"{version.get('kind')}/{version.get('version')}" in taken
    timed = entry.get("inclusionPromise") is not None or bool(bundle.timestamps)
    if not (whole and known and timed and isinstance(key.key, ec.EllipticCurvePublicKey) and key.key.key_size == 256):
        return None
    return _verify(bundle.raw, bundle.content, image=image, verifier=root.verifier)


def _verify(raw: bytes, content: Envelope | MessageSignature, *, image: Digest, verifier: SigstoreVerifier) -> Signer:
    """Put the bundle to the library. What it read as the signed content must be what Assay read."""
    inner, recorder = SigstoreBundle.from_json(raw), _SignerRecorder()
    match content:
        case Envelope():
            read = (*verifier.verify_dsse(inner, recorder), inner.signature)
            if read != (content.payload_type, content.payload, content.signature):
                raise Unjudged("BundleMalformed", "the bundle can be read in two ways")
        case MessageSignature():
            hashed = Hashed(algorithm=HashAlgorithm.SHA2_256, digest=bytes.fromhex(image.hex))
            verifier.verify_artifact(hashed, inner, recorder)
            if inner.signature != content.signature:
                raise Unjudged("BundleMalformed", "the bundle can be read in two ways")
    if recorder.signer is None:
        raise NotVerified("BundleNotVerified", "its certificate was not judged")
    return recorder.signer


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
