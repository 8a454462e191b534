"""The values that expressions see, made from what was verified and what was asked (names: `policy.cel.schema`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from controller.errors import Unacceptable
from controller.model.documents import Sbom
from controller.model.evidence import Proof, VerifiedAttestation, VerifiedEvidence, VerifiedSignature
from controller.model.image import ImageUse, ResolvedImage
from controller.model.policy import Namespace, PolicySpec
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest
from controller.policy.cel.libraries.sboms import Sboms
from controller.policy.cel.meter import Abort
from controller.policy.predicates import requires_sbom


def of_image(image: ResolvedImage) -> dict[str, Any]:
    """`image` after it was resolved. `tag` is the user's word; empty when only a digest was written."""
    return of_reference(image.reference) | {
        "digest": str(image.digest),
        "mediaType": image.media_type,
        "platforms": [str(p.platform) for p in image.platforms if p.platform is not None],
    }


def of_reference(reference: Reference) -> dict[str, Any]:
    """`image` before it is resolved."""
    return {
        "reference": reference.text,
        "registry": reference.registry,
        "repository": reference.repository,
        "tag": reference.tag or "",
    }


def of_evidence(spec: PolicySpec, evidence: VerifiedEvidence) -> dict[str, Any]:
    """`signatures`, `attestations` and `sboms`, of evidence that `requirements.check` selected."""
    found: dict[str, Any] = {}
    if evidence.signatures:
        found["signatures"] = [_signature(signature) for signature in evidence.signatures]
    if evidence.attestations:
        by_entry: dict[str, list[VerifiedAttestation]] = {entry.name: [] for entry in spec.attestations}
        for attestation in evidence.attestations:
            by_entry.setdefault(attestation.name, []).append(attestation)
        found["attestations"] = {name: [_attestation(a) for a in chosen] for name, chosen in by_entry.items()}
    wanted = {entry.name for entry in spec.attestations if requires_sbom(entry.type)}
    statements = {a.statement: a for a in evidence.attestations if a.name in wanted}
    if statements:
        found["sboms"] = _sboms(list(statements.values()))
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


def _sboms(attestations: Sequence[VerifiedAttestation]) -> Sboms:
    documents = [attestation.document for attestation in attestations]
    if not all(isinstance(document, Sbom) for document in documents):
        raise Abort(Unacceptable("DocumentAbsent", "a verified SBOM attestation was not read into its normal form"))
    return Sboms([document for document in documents if isinstance(document, Sbom)])


def _signature(signature: VerifiedSignature) -> Mapping[str, Any]:
    return _proof(signature.proof)


def _attestation(attestation: VerifiedAttestation) -> Mapping[str, Any]:
    return _proof(attestation.proof) | {
        "predicateType": attestation.predicate_type,
        "predicate": attestation.predicate,
    }


def _proof(proof: Proof) -> dict[str, Any]:
    signer = proof.signer
    found: dict[str, Any] = {
        "authority": proof.authority,
        "issuer": signer.issuer,
        "subject": signer.subject,
        "key": signer.key,
        "identity": signer.identity,
        "claims": dict(signer.claims),
    }
    if proof.signed_at is not None:
        found["signedAt"] = proof.signed_at
    return found
