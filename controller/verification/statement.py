"""What a verified payload says: an in-toto statement, and whether it is about this image.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md (and v0.1). Only bytes whose signature was
verified come here; the statement's own words decide, never an annotation's or a media type's (guarantee 4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification import strict_json
from controller.verification.failures import NotVerified, Unjudged

STATEMENT_TYPES = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
SIGNING_PREDICATES = frozenset({"https://sigstore.dev/cosign/sign/v1"})
"""Predicates that say nothing but *I sign this image*: the only statements that are signatures."""

MAX_SUBJECTS = 4096  # bounds the search for the image's digest
MAX_TYPE_LENGTH = 512  # bounds a predicate type, which is shown and indexed


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement whose subjects include the image that was asked for. `digest` names its exact bytes."""

    predicate_type: str
    predicate: Any
    digest: Digest

    @property
    def is_signature(self) -> bool:
        """Whether it is a signature, and so never an attestation; everything else is never a signature."""
        return self.predicate_type in SIGNING_PREDICATES


def read_statement(payload: bytes, *, image: Digest, limits: DocumentSettings) -> Statement:
    """The statement, which is about `image`.

    Raises `NotVerified` (`SubjectMismatch`) when it is about something else, `Unjudged` (`StatementMalformed`,
    `StatementTypeUnsupported`, `DigestAlgorithmUnsupported`, `JsonMalformed`, `LimitExceeded`).
    """
    value = strict_json.parse(
        payload,
        what="the signed statement",
        max_bytes=limits.document_max_bytes,
        max_depth=limits.document_max_depth,
        max_values=None,  # its signer is one that the policy trusts
    )
    if not isinstance(value, dict):
        raise _malformed("it is no object")
    if value.get("_type") not in STATEMENT_TYPES:  # a tuple: what stands there may have no hash
        raise Unjudged("StatementTypeUnsupported", "the signed payload is no in-toto statement that Assay knows")
    predicate_type = value.get("predicateType")
    if not isinstance(predicate_type, str) or not 0 < len(predicate_type) <= MAX_TYPE_LENGTH:
        raise _malformed("it has no predicateType")
    _check_subject(value.get("subject"), image)
    return Statement(predicate_type=predicate_type, predicate=value.get("predicate"), digest=Digest.of(payload))


def _check_subject(subjects: Any, image: Digest) -> None:
    if not isinstance(subjects, list) or not subjects:
        raise _malformed("it has no subject")
    if len(subjects) > MAX_SUBJECTS:
        raise Unjudged("LimitExceeded", f"the signed statement has {len(subjects)} subjects (bound: MAX_SUBJECTS)")
    digests = [_digests(subject) for subject in subjects]
    if any(digest.get("sha256") == image.hex for digest in digests):
        return
    if any("sha256" in digest for digest in digests):
        raise NotVerified("SubjectMismatch", "its statement is about another digest, not about this image")
    raise Unjudged("DigestAlgorithmUnsupported", "its statement names its subjects by another algorithm than sha256")


def _digests(subject: Any) -> Mapping[str, str]:
    digests = subject.get("digest") if isinstance(subject, dict) else None
    if not isinstance(digests, dict) or not digests or not all(isinstance(value, str) for value in digests.values()):
        raise _malformed("a subject has no digest")
    return digests


def _malformed(what: str) -> Unjudged:
    return Unjudged("StatementMalformed", f"the signed statement is malformed: {what}")
