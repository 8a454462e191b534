"""Evidence: what was fetched about an image, and — a type of its own — what of it was verified.

An `Artifact` is bytes and nothing more: no field of it may be believed. `VerifiedSignature` and
`VerifiedAttestation` are made by `controller.verification` alone, for exactly one image digest (guarantee 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from controller.errors import AssayError
from controller.model.reference import Digest


class ArtifactKind(StrEnum):
    """What the manifest in the registry says an artefact is; only verification finds out whether that is true."""

    BUNDLE = "sigstore-bundle"
    COSIGN_SIGNATURE = "cosign-signature"
    COSIGN_ATTESTATION = "cosign-attestation"


@dataclass(frozen=True, slots=True)
class Artifact:
    """One piece of evidence as it lies in the registry, unverified.

    `content` hashes to `digest`; `location` says to a person where it was found
    (`referrer sha256:…`, `tag sha256-….sig, layer 0`); `annotations` are those of the layer, for legacy formats.
    """

    kind: ArtifactKind
    media_type: str
    content: bytes
    digest: Digest
    location: str
    annotations: tuple[tuple[str, str], ...] = ()


UNSIGNED = "Unsigned"
"""The code of what lies beside an image and carries no signature at all: it counts for nothing, and that is certain."""


@dataclass(frozen=True, slots=True)
class EvidenceSet:
    """All evidence found for one digest in one repository at one time.

    `problems` are artefacts that could not be read (each with its code): they never count, and they never vanish.
    `held` accounts for the bytes in memory for as long as the set, or a copy of it, is there
    (`controller.review.budget`). `stale` is set where
    the registry could not be asked again, and says why: then nothing is *missing* for certain.
    """

    image: Digest
    repository: str
    artifacts: tuple[Artifact, ...]
    fetched_at: datetime
    problems: tuple[AssayError, ...] = ()
    held: object = field(default=None, repr=False, compare=False)
    stale: AssayError | None = field(default=None, compare=False)
    _hash: Digest | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def hash(self) -> Digest:
        """A name for exactly this set of evidence, whatever the order in which it was found. Made once: a set that is
        remembered is asked for it by every review."""
        if self._hash is None:
            parts = sorted(f"{a.kind} {a.media_type!r} {a.digest} {sorted(a.annotations)}" for a in self.artifacts)
            object.__setattr__(self, "_hash", Digest.of("\n".join(parts).encode()))
        return self._hash  # type: ignore[return-value]


OWN_CA = "CA sha256:"


@dataclass(frozen=True, slots=True)
class Signer:
    """Who made a signature: a key (`key`: SHA-256 of its SubjectPublicKeyInfo) or a certificate identity.

    Two signatures are by the same signer when `who` is equal, whatever authorities they satisfy (guarantee 4).
    `issuer` is who vouches for the subject: an OIDC issuer, or an own CA by its root's key (`OWN_CA` and its SHA-256).
    `claims` are Fulcio's certificate extensions under their names in the policy API, sorted.
    """

    key: str = ""
    issuer: str = ""
    subject: str = ""
    claims: tuple[tuple[str, str], ...] = ()

    @property
    def who(self) -> tuple[str, str, str]:
        """What makes two signatures one signer's: the claims of a certificate (which commit, which run) do not.

        Nor does which own CA it was: one that is renewed leads to two roots by cross-certificates, with one signature.
        """
        return (self.key, "" if self.issuer.startswith(OWN_CA) else self.issuer, self.subject)

    @property
    def identity(self) -> str:
        """`key sha256:…` or `subject (issuer)`: what people read and what is counted."""
        return f"key {self.key}" if self.key else f"{self.subject} ({self.issuer})"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A transparency-log entry that was verified: which log (base64 key id), which index, and when, if it says."""

    log_id: str
    index: int
    integrated_at: datetime | None


@dataclass(frozen=True, slots=True)
class Proof:
    """What every verified piece of evidence carries: the artefact, the authority it satisfied, who, and when.

    `steps` are the checks in their order, as sentences that a person can follow.
    """

    artifact: Digest
    location: str
    authority: str
    signer: Signer
    log_entry: LogEntry | None
    signed_at: datetime | None
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class VerifiedSignature:
    """A signature over exactly this image digest: simple signing, or a statement of a signing predicate."""

    proof: Proof


@dataclass(frozen=True, slots=True)
class VerifiedAttestation:
    """A verified in-toto statement whose subject holds exactly this image digest.

    `predicate_type` is the statement's own. `predicate` is its JSON value. `name` is the policy's `attestations`
    entry that it met. `document` is the predicate's normal form (`model.documents`) where Assay knows the type.
    """

    name: str
    predicate_type: str
    predicate: Any
    statement: Digest
    proof: Proof
    document: Any = None


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one artefact did not count for one authority (or for any: `authority` empty).

    `unjudged` tells *could not be judged* (malformed, unsupported, past a bound, trust root missing: an Error where the
    requirement is not met without it) from *not verified* (guarantee 6). `message` names a signer only where that is
    proven; it is a plain sentence without the artefact's name, which `location` has.
    """

    artifact: Digest
    location: str
    authority: str
    code: str
    message: str
    unjudged: bool = False


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """The outcome of verification for one image and one policy. Only what is in the first two counts for anything.

    `valid_until` is the first moment from which another date may change it; None if none can.
    """

    image: Digest
    signatures: tuple[VerifiedSignature, ...] = ()
    attestations: tuple[VerifiedAttestation, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    valid_until: datetime | None = None
