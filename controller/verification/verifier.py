"""From bytes that anybody may have put beside an image to what is proven about exactly its digest.

This is the one door of the package, and what comes out of it is all that Assay calls *verified*. The proof of one
artefact for one authority, in order:

 1. Read the artefact strictly; what cannot be read is set aside with its reason and decides about nothing else.
 2. Prove who signed it: by the authority's key (`keyed`), by a certificate of its trust root (`keyless`) or of an own
    CA (`certified`); under the FIPS profile by approved algorithms alone (`fips`).
 3. Ask whether that is who the authority wants.
 4. Ask whether what was signed is about this very image (`statement`, `simple_signing`), and what it is: a signature
    or an attestation.

Nothing is verified for nobody: without authorities or artefacts the result is empty, and empty satisfies nothing.
Which requirement a verified piece meets, and how many are needed, is for `controller.policy.requirements`.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from controller import __version__
from controller.errors import AssayError, ConfigurationError
from controller.model.evidence import (
    Artifact,
    ArtifactKind,
    Proof,
    Rejection,
    Signer,
    VerifiedAttestation,
    VerifiedEvidence,
    VerifiedSignature,
)
from controller.model.policy import (
    Authority,
    CertificateAuthority,
    Cryptography,
    KeyAuthority,
    KeylessAuthority,
    Need,
    OwnAuthority,
    TrustRoot,
)
from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification import fips, legacy, validity
from controller.verification.bundle import Bundle, Envelope, MessageSignature, SimpleSigning, parse_bundle
from controller.verification.certificates import load_certificate
from controller.verification.certified import chain_of, prove_by_certificate
from controller.verification.failures import EvidenceFailure, NotVerified, Unjudged
from controller.verification.identities import meets
from controller.verification.keyed import KeyInForce, prove_by_key
from controller.verification.keyless import prove_keyless, translated
from controller.verification.keys import load_public_key, load_public_keys
from controller.verification.proof import Proven, shown
from controller.verification.simple_signing import check_payload
from controller.verification.statement import Statement, read_statement
from controller.verification.trust import ParsedRoot, check_root, parse_root

VERIFIER_VERSION = f"assay {__version__}, sigstore {importlib.metadata.version('sigstore')}"
"""Which code judged: part of every verdict's cache key and of the ledger."""

_Result = TypeVar("_Result")


def verify(
    image: Digest,
    artifacts: Iterable[Artifact],
    *,
    authorities: Iterable[Authority],
    trust_roots: Mapping[str, TrustRoot],
    now: datetime,
    limits: DocumentSettings,
    cryptography: Cryptography = Cryptography.DEFAULT,
) -> VerifiedEvidence:
    """Everything that these artefacts prove about `image`, for each of these authorities.

    `trust_roots` are by name; `cryptography` says which algorithms count. The same artefact twice counts once.
    Attestations come back without a `name`; whatever did not count is in `rejections`, once for each authority or, if
    it cannot even be read, once. Never raises for what an artefact holds, except `MemoryError`.
    """
    asked = tuple(authorities)
    signatures: list[VerifiedSignature] = []
    attestations: list[VerifiedAttestation] = []
    rejections: list[Rejection] = []
    dates: set[datetime] = set()
    for artifact in dict.fromkeys(artifacts):
        try:
            with _foreign():
                case = _Case(
                    artifact, image=image, trust_roots=trust_roots, now=now, limits=limits, cryptography=cryptography
                )
        except EvidenceFailure as failure:
            rejections.append(_rejection(artifact, "", failure))
            continue
        for authority in asked:
            try:
                with _foreign():
                    dates.update(case.ends(authority))
                    verified = case.prove(authority)
            except EvidenceFailure as failure:
                rejections.append(_rejection(artifact, authority.name, failure))
                continue
            if isinstance(verified, VerifiedSignature):
                signatures.append(verified)
            else:
                attestations.append(verified)
    # An end belongs to its window: at that very moment the next one has to be judged anew already.
    until = min((date for date in dates if date >= now), default=None)
    return VerifiedEvidence(image, tuple(signatures), tuple(attestations), tuple(rejections), until)


@contextmanager
def _foreign() -> Iterator[None]:
    """Whatever foreign bytes make foreign libraries raise proves nothing, and takes nothing else with it."""
    try:
        yield
    except (EvidenceFailure, AssayError, MemoryError):
        raise
    except Exception as exc:
        raise translated(exc) from exc


def _rejection(artifact: Artifact, authority: str, failure: EvidenceFailure) -> Rejection:
    return Rejection(
        artifact=artifact.digest,
        location=artifact.location,
        authority=authority,
        code=failure.code,
        message=failure.message,
        unjudged=not isinstance(failure, NotVerified),
    )


class _Case:
    """One artefact, read; put to each authority in turn. What does not depend on the authority is done once."""

    def __init__(
        self,
        artifact: Artifact,
        *,
        image: Digest,
        trust_roots: Mapping[str, TrustRoot],
        now: datetime,
        limits: DocumentSettings,
        cryptography: Cryptography,
    ) -> None:
        self._artifact, self._image, self._now, self._limits = artifact, image, now, limits
        self._trust_roots = trust_roots
        self._fips = cryptography is Cryptography.FIPS
        self._done: dict[tuple[str, str], object] = {}
        self._bundle: Bundle = (
            parse_bundle(artifact.content, limits=limits)
            if artifact.kind is ArtifactKind.BUNDLE
            else legacy.read(artifact, limits=limits)
        )

    def ends(self, authority: Authority) -> Iterator[datetime]:
        """The dates that may change what it proves."""
        return validity.ends(authority, certificate=self._bundle.certificate, trust_roots=self._trust_roots)

    def prove(self, authority: Authority) -> VerifiedSignature | VerifiedAttestation:
        """What the artefact proves for this authority. Raises `EvidenceFailure`."""
        # (2) + (3) Who signed it, and is that who is wanted?
        try:
            proven = self._signer(authority)
            if self._fips:
                proven = self._approved(proven, authority)
        except ConfigurationError as exc:  # a trust root that lacks what is to be judged
            raise Unjudged(exc.code, exc.message) from exc
        # (4) What did they sign? The image's digest itself, or something that must be about the image.
        proof = Proof(
            artifact=self._artifact.digest,
            location=self._artifact.location,
            authority=authority.name,
            signer=proven.signer,
            log_entry=proven.log_entry,
            signed_at=proven.signed_at,
            steps=proven.steps,
        )
        match self._bundle.content:
            case MessageSignature():
                return VerifiedSignature(proof)
            case SimpleSigning(payload=payload):
                self._check_payload(payload, proven)
                about = f"The payload, cosign's image signature, names the digest {self._image}."
                return VerifiedSignature(dataclasses.replace(proof, steps=(*proof.steps, about)))
            case Envelope(payload=payload):
                return self._stated(self._statement(payload, proven), proof)

    def _stated(self, statement: Statement, proof: Proof) -> VerifiedSignature | VerifiedAttestation:
        about = f"The statement, of type {shown(statement.predicate_type)}, has {self._image} as its subject."
        proof = dataclasses.replace(proof, steps=(*proof.steps, about))
        if statement.is_signature:
            return VerifiedSignature(proof)
        return VerifiedAttestation(
            name="",
            predicate_type=statement.predicate_type,
            predicate=statement.predicate,
            statement=statement.digest,
            proof=proof,
        )

    def _signer(self, authority: Authority) -> Proven:
        if authority.key is not None:
            return self._by_key(authority, authority.key)
        if authority.keyless is not None:
            return self._keyless(authority, authority.keyless)
        if authority.certificate is not None:
            return self._by_certificate(authority, authority.certificate)
        raise Unjudged("AuthorityUnsupported", f"authority {authority.name} is of a kind that is not supported")

    def _by_key(self, authority: Authority, key: KeyAuthority) -> Proven:
        keys = self._keys(authority, key)
        return prove_by_key(
            self._bundle,
            image=self._image,
            keys=keys,
            authority=authority,
            root=lambda: self._root(key.trust_root),
            now=self._now,
            limits=self._limits,
        )

    def _keys(self, authority: Authority, key: KeyAuthority) -> tuple[KeyInForce, ...]:
        """The policy's own keys, or those of its trust root."""
        try:
            if key.pem:
                return tuple(map(KeyInForce, load_public_keys(key.pem)))
            if key.secret is not None:  # what it refers to is not here: no other key may stand in for it
                raise Unjudged("ReferenceMissing", f"the key of authority {authority.name} is not there")
            root = self._named(key.trust_root)
            keys = tuple(KeyInForce(load_public_key(k.pem), k.valid_from, k.valid_until) for k in root.public_keys)
        except ConfigurationError as exc:
            raise Unjudged(exc.code, f"the keys of authority {authority.name} cannot be used") from exc
        if not keys:
            raise Unjudged("TrustRootIncomplete", f"trust root {key.trust_root} has no public keys of its own")
        return keys

    def _by_certificate(self, authority: Authority, wanted: CertificateAuthority) -> Proven:
        if not wanted.chain and wanted.secret is not None:  # no other CA may stand in for it
            raise Unjudged("ReferenceMissing", f"the CA certificates of authority {authority.name} are not there")
        try:
            own: tuple[OwnAuthority, ...] = (OwnAuthority(wanted.chain),)
            if not wanted.chain:
                own = self._named(wanted.trust_root).certificate_authorities
            chains = tuple(map(chain_of, own))
        except ConfigurationError as exc:
            raise Unjudged(exc.code, f"the CA certificates of authority {authority.name} cannot be used") from exc
        if not chains:
            raise Unjudged(
                "TrustRootIncomplete", f"trust root {wanted.trust_root} has no certificate authorities of its own"
            )
        proven = prove_by_certificate(
            self._bundle,
            image=self._image,
            authority=authority,
            wanted=wanted,
            chains=chains,
            root=lambda: self._root(wanted.trust_root),
            now=self._now,
            limits=self._limits,
        )
        if self._fips:
            for certificate in (certificate for chain in chains for certificate in chain.certificates):
                fips.check_certificate(certificate)
        return proven

    def _approved(self, proven: Proven, authority: Authority) -> Proven:
        """What was proven, if every algorithm that it rests on is approved (`cryptography: FIPS`)."""
        said = fips.check_signer(proven.key, self._bundle.content)
        if self._bundle.certificate is not None:
            fips.check_certificate(load_certificate(self._bundle.certificate))
        for timestamp in self._bundle.timestamps if proven.timestamped else ():
            fips.check_timestamp(timestamp)
        if authority.kind is not None and (proven.log_entry is not None or proven.timestamped):  # so is what is keyless
            root = self._root(authority.kind.trust_root)
            self._once(("approved", root.name), lambda: fips.check_root(root))
        return dataclasses.replace(proven, steps=(*proven.steps, said))

    def _keyless(self, authority: Authority, keyless: KeylessAuthority) -> Proven:
        bundle, need = self._bundle, authority.transparency_log
        if bundle.certificate is not None and not bundle.log_entries and need is Need.REQUIRED:
            raise NotVerified(
                "LogEntryMissing",
                f"it is in no transparency log, and authority {authority.name} requires that "
                f"(transparencyLog: Required)",
            )
        # Where the log is ignored, a timestamp says when it was signed; where there is none, only the log can.
        with_log = need is not Need.IGNORE or not bundle.timestamps
        logged = keyless.certificate_log is not Need.IGNORE
        proven = self._once(
            (f"keyless, log {with_log}, logged {logged}", keyless.trust_root),
            lambda: prove_keyless(
                bundle,
                image=self._image,
                root=self._root(keyless.trust_root),
                now=self._now,
                limits=self._limits,
                with_log=with_log,
                logged=logged,
            ),
        )
        if authority.timestamp is Need.REQUIRED and not proven.timestamped:
            raise NotVerified("TimestampMissing", f"it has no timestamp, and authority {authority.name} requires one")
        if not meets(proven.signer, keyless.identities):
            raise NotVerified(
                "IdentityMismatch",
                f"it was signed by {shown(proven.signer.identity)}, who is none of the identities of authority "
                f"{authority.name}",
            )
        return proven

    def _statement(self, payload: bytes, proven: Proven) -> Statement:
        def read() -> Statement:
            with _naming(proven.signer):
                return read_statement(payload, image=self._image, limits=self._limits)

        return self._once(("statement", proven.signer.identity), read)

    def _check_payload(self, payload: bytes, proven: Proven) -> None:
        with _naming(proven.signer):
            check_payload(payload, image=self._image, limits=self._limits)

    def _named(self, name: str) -> TrustRoot:
        """The trust root of this name, which has no fault."""
        if name not in self._trust_roots:
            raise Unjudged("TrustRootMissing", f"trust root {name} is not there to judge it by")
        check_root(self._trust_roots[name])
        return self._trust_roots[name]

    def _root(self, name: str) -> ParsedRoot:
        return parse_root(self._named(name))

    def _once(self, key: tuple[str, str], work: Callable[[], _Result]) -> _Result:
        """The result of `work`, or its failure, done at most once for this artefact."""
        if key not in self._done:
            try:
                self._done[key] = work()
            except EvidenceFailure as failure:
                self._done[key] = failure
            except ConfigurationError as exc:
                self._done[key] = Unjudged(exc.code, exc.message)
        done = self._done[key]
        if isinstance(done, EvidenceFailure):
            raise type(done)(done.code, done.message) from done
        return done  # type: ignore[return-value]  # what this key's work gave


@contextmanager
def _naming(signer: Signer) -> Iterator[None]:
    """Say in a failure whose signature it is: it held, so that may be said."""
    try:
        yield
    except EvidenceFailure as failure:
        raise type(failure)(
            failure.code, f"it was signed by {shown(signer.identity)}, but {failure.message}"
        ) from failure
