"""The values that expressions see, made from what was verified and what was asked (names: `policy.compiled`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from controller.documents.dates import as_of
from controller.documents.exploitability import Subject
from controller.errors import AssayError, Unacceptable
from controller.model.documents import Provenance, Sbom, Vex, VulnerabilityReport
from controller.model.evidence import Proof, VerifiedAttestation, VerifiedEvidence, VerifiedSignature
from controller.model.image import ImageConfigs, ImageUse, ResolvedImage
from controller.model.policy import Namespace, PolicySpec
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest
from controller.policy.cel.libraries.images import ImageValue
from controller.policy.cel.libraries.provenances import present
from controller.policy.cel.libraries.sboms import Sboms
from controller.policy.cel.libraries.vex import VexDocuments
from controller.policy.cel.libraries.vulnerabilities import Vulnerabilities
from controller.policy.cel.values import Unreadable
from controller.policy.predicates import read_as

_DOCUMENTS: Mapping[str, type[Any]] = {
    "sboms": Sbom,
    "provenances": Provenance,
    "vulnerabilities": VulnerabilityReport,
    "vex": Vex,
}
"""The names of documents, each with the normal form that it holds."""


def of_image(image: ResolvedImage, configs: ImageConfigs, now: datetime) -> ImageValue:
    """`image` after it was resolved. `tag` is the user's word; empty when only a digest was written."""
    plain = of_reference(image.reference) | {
        "digest": str(image.digest),
        "mediaType": image.media_type,
        "platforms": [str(p.platform) for p in image.platforms if p.platform is not None],
    }
    if not isinstance(configs, AssayError):
        configs = tuple(as_of(config, now) for config in configs)
    return ImageValue(plain, configs, now)


def of_reference(reference: Reference) -> dict[str, Any]:
    """`image` before it is resolved."""
    return {
        "reference": reference.text,
        "registry": reference.registry,
        "repository": reference.repository,
        "tag": reference.tag or "",
    }


def of_evidence(spec: PolicySpec, evidence: VerifiedEvidence, *, image: ResolvedImage, now: datetime) -> dict[str, Any]:
    """`signatures`, `attestations` and the documents, of evidence that `requirements.check` selected.

    `now` is the time of the judgement: what a document says of the future is not true yet.
    """
    found: dict[str, Any] = {}
    if evidence.signatures:
        found["signatures"] = [_signature(signature) for signature in evidence.signatures]
    if evidence.attestations:
        by_entry: dict[str, list[VerifiedAttestation]] = {entry.name: [] for entry in spec.attestations}
        for attestation in evidence.attestations:
            by_entry.setdefault(attestation.name, []).append(attestation)
        found["attestations"] = {name: [_attestation(a) for a in chosen] for name, chosen in by_entry.items()}
    values: Mapping[str, Callable[[Sequence[Any]], Any]] = {
        "sboms": Sboms,
        "provenances": list,
        "vulnerabilities": Vulnerabilities,
        "vex": lambda read: VexDocuments(read, Subject(image.digest, image.reference.name), now),
    }
    for name, value in values.items():
        wanted = {entry.name for entry in spec.attestations if read_as(entry.type) == name}
        statements = {a.statement: a.document for a in evidence.attestations if a.name in wanted}
        if statements:
            found[name] = _read(name, tuple(statements.values()), value, now)
    return found


def of_request(
    *,
    request: AdmissionRequest | None,
    namespace: Namespace | None,
    use: ImageUse | None,
    now: datetime | None,
) -> dict[str, Any]:
    """What belongs to the request. What is None is left out: a rule that reads it is an Error (guarantee 17)."""
    found: dict[str, Any] = {}
    if request is not None:
        found["request"] = request.raw
        found["object"] = request.object or None
        found["oldObject"] = request.old_object or None
    if namespace is not None:
        metadata = {"name": namespace.name, "labels": namespace.labels, "annotations": namespace.annotations}
        found["namespaceObject"] = {"metadata": metadata}
    if use is not None:
        found["container"] = {"kind": str(use.kind), "name": use.name, "image": use.text}
    if now is not None:
        found["now"] = now
    return found


def _read(name: str, documents: Sequence[Any], value: Callable[[Sequence[Any]], Any], now: datetime) -> Any:
    """The documents as one value; an Error for whoever reads it where one of them has no normal form."""
    if all(isinstance(document, _DOCUMENTS[name]) for document in documents):
        return value([as_of(document, now) for document in documents])
    message = f"an attestation that belongs to {name} was verified, and is in a form that is not read"
    return Unreadable(Unacceptable("DocumentAbsent", message))


def _signature(signature: VerifiedSignature) -> Mapping[str, Any]:
    return _proof(signature.proof)


def _attestation(attestation: VerifiedAttestation) -> Mapping[str, Any]:
    return _proof(attestation.proof) | {
        "predicateType": attestation.predicate_type,
        "predicate": attestation.predicate,
    }


def _proof(proof: Proof) -> dict[str, Any]:
    """Who signed, and when: a key has no issuer and no subject, a certificate's identity no key."""
    signer = proof.signer
    return present(
        authority=proof.authority,
        issuer=signer.issuer,
        subject=signer.subject,
        key=signer.key,
        identity=signer.identity,
        claims=dict(signer.claims),
        signedAt=proof.signed_at,
    )
