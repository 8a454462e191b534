"""The canonical leaf of one decision: what a replay needs, and nothing that is secret. Pure.

Format: docs/reference/leaf.md. Raw evidence is named by its hash; the bytes travel beside the leaf, as blobs. Of the
object only its hash and the facts that policies select by are kept: no environment value, argument or annotation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from typing import Any, NamedTuple

from controller import __version__
from controller.model.decision import Decision, Evaluation
from controller.model.evidence import EvidenceSet, Proof, Rejection, VerifiedEvidence
from controller.model.exception import EvidenceException
from controller.model.image import ImageUse, PlatformManifest, RawConfigs, ResolvedImage
from controller.model.naming import name_of
from controller.model.policy import Namespace, Policy, TrustRoot
from controller.model.reference import Digest
from controller.model.workload import AdmissionRequest, Workload
from controller.policy.canonical import canonical_bytes
from controller.policy.compiled import CompiledPolicy
from controller.policy.exceptions import canonical_bytes as exception_bytes
from controller.policy.resolving import public_keys_der
from controller.review.ports import Assessment

MAX_MANIFESTS = 256  # of an index that are recorded
MAX_BASES = 64  # claims of base images that are recorded of one image: whoever may push it makes them
MAX_REJECTIONS = 256  # recorded of one evaluation: whoever may push makes them; `used` names every artefact anyway
SCHEMA = "assay.dev/decision/v1alpha1"
MAX_UNPROVEN_BYTES = 1024 * 1024  # bounds what one decision keeps of bytes that proved nothing: anybody may attach them
_SORTED = json.JSONEncoder(sort_keys=True, separators=(",", ":"))
VERIFIER = {"assay": __version__, "sigstore": version("sigstore"), "cel-python": version("cel-python")}


@dataclass(frozen=True, slots=True)
class Judged:
    """One image under one policy with everything that was looked at on the way to the evaluation."""

    evaluation: Evaluation
    compiled: CompiledPolicy
    resolved: ResolvedImage | None = None
    evidence: EvidenceSet | None = None
    assessment: Assessment | None = None
    trust_roots: tuple[TrustRoot, ...] = ()
    configs: RawConfigs = ()


class RecordName(NamedTuple):
    """What a decision is recorded as. `key` has the object's uid and the whole hash of what the `id` has 74 bits of.

    Whoever may change an object can look for two decisions about it that have one id; the second is refused then.
    """

    id: str
    key: str


@dataclass(frozen=True, slots=True)
class Context:
    """The circumstances of a decision. `record` is its name, `object_hash` the hash of the request's object."""

    request: AdmissionRequest
    workload: Workload
    namespace: Namespace | None
    cluster: str
    decided_at: datetime
    latency_us: int
    salt: str
    record: RecordName
    object_hash: str


def record_name(
    request: AdmissionRequest, evaluations: Iterable[Evaluation], *, object_hash: str, setup: str
) -> RecordName:
    """The name of the record: one for an object (its uid and hash), who asked for it, and what was found about it.

    The same call asked twice has one record; a call that is asked again and judged otherwise has its own, so that an
    allow is never hidden behind an earlier denial, and so has one that another asked: nobody can have a record made
    beforehand that says somebody else did it. `setup` says what else the verdict hangs on (noMatch, templates, and the
    `material` by which it was judged). An object without a uid is told apart by the request's. The object's creation,
    which the API server dates as it gives the uid, is the time in the name.
    """
    metadata = request.object.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    uid = metadata.get("uid")
    found = sorted(
        f"{e.image.path} {_digests(e)} {e.policy} {e.policy.hash} {e.outcome} {e.error_kind} {_codes(e)}{_uses(e)}"
        f"{' stale' if e.stale is not None else ''}"
        for e in evaluations
    )
    asked = _SORTED.encode({k: v for k, v in _request(request, request.name).items() if k != "uid"})
    content = "\n".join([uid or request.uid, object_hash, asked, setup, *found])
    identity = name_of(content, at=_moment(metadata.get("creationTimestamp")))
    return RecordName(identity, f"{uid or request.uid}:{hashlib.sha256(content.encode()).hexdigest()}")


def _moment(written: Any) -> datetime | None:
    """A time of Kubernetes (RFC 3339, in UTC); none where there is none that can be read."""
    try:
        read = datetime.fromisoformat(written)
    except (TypeError, ValueError):
        return None
    return read if read.tzinfo is not None else None


def material(judged: Iterable[Judged]) -> str:
    """By which trust roots and keys it was judged, beside what the policies themselves hold: these may be rotated."""
    judged = tuple(judged)
    names = {root.hash for one in judged for root in one.trust_roots}
    names.update(str(Digest.of(content)) for one in judged for content in _resolved(one.compiled.source))
    return " ".join(sorted(names))


def hash_of(obj: Mapping[str, Any]) -> str:
    """SHA-256 of the object's JSON with sorted keys, as the API server sent it (hex)."""
    return hashlib.sha256(_SORTED.encode(obj).encode()).hexdigest()


def build(decision: Decision, judged: Sequence[Judged], context: Context) -> tuple[dict[str, Any], dict[Digest, bytes]]:
    """The leaf, and the raw bytes that it names by hash: evidence, policies and trust roots."""
    request, workload = context.request, context.workload
    images = list(workload.changed)
    resolved = {j.evaluation.image: j.resolved for j in judged if j.resolved is not None}
    blobs = _blobs(judged)
    leaf = {
        "schema": SCHEMA,
        "id": context.record.id,
        "salt": context.salt,
        "decisionKey": context.record.key,
        "decidedAt": timestamp(context.decided_at),
        "cluster": context.cluster,
        "verdict": str(decision.verdict),
        "flags": sorted(decision.flags),
        "message": decision.message,
        "warnings": list(decision.warnings),
        **({"auditAnnotations": dict(decision.annotations)} if decision.annotations else {}),
        "latencyUs": context.latency_us,
        "request": _request(request, workload.name),
        "object": {
            "uid": workload.uid,
            "hash": context.object_hash,
            "kind": workload.kind,
            "namespace": workload.namespace,
            "name": workload.name,
            "serviceAccount": workload.service_account,
            "labels": dict(workload.labels),
            "namespaceLabels": dict(context.namespace.labels) if context.namespace else None,
        },
        "images": [_image(image, resolved.get(image)) for image in images],
        "evaluations": [
            {"image": images.index(j.evaluation.image), **evaluation_record(j)} for j in sorted(judged, key=_order)
        ],
        "blobs": sorted(str(digest) for digest in blobs),
        "verifier": VERIFIER,
    }
    return leaf, blobs


def timestamp(instant: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _request(request: AdmissionRequest, name: str) -> dict[str, Any]:
    return {
        "uid": request.uid,
        "operation": str(request.operation),
        "group": request.group,
        "version": request.version,
        "kind": request.kind,
        "resource": request.resource,
        "subresource": request.subresource,
        "namespace": request.namespace,
        "name": name,
        "user": {
            "username": request.user.username,
            "uid": request.user.uid,
            "groups": list(request.user.groups),
        },
    }


def _codes(evaluation: Evaluation) -> str:
    return " ".join(sorted(reason.code for reason in evaluation.reasons))


def _uses(evaluation: Evaluation) -> str:
    return "".join(f" {exception.name} {exception.hash}" for exception in evaluation.exceptions)


def _digests(evaluation: Evaluation) -> str:
    """What it is about: the image, and the manifest within it where that is meant."""
    return f"{evaluation.digest} {evaluation.child}" if evaluation.child else str(evaluation.digest)


def _order(judged: Judged) -> tuple[str, ...]:
    policy = judged.evaluation.policy
    return (judged.evaluation.image.path, policy.kind, policy.namespace, policy.name, _digests(judged.evaluation))


def _image(image: ImageUse, resolved: ResolvedImage | None) -> dict[str, Any]:
    return {
        "kind": str(image.kind),
        "container": image.name,
        "field": image.field,
        "reference": image.text,
        "repository": resolved.reference.name if resolved else None,
        "digest": str(resolved.digest) if resolved else None,
        "mediaType": resolved.media_type if resolved else None,
        # A kubelet may report the manifest that it chose of an index: that is no other image.
        "manifests": sorted({str(child.digest) for child in resolved.platforms})[:MAX_MANIFESTS] if resolved else [],
        **({"bases": bases} if (bases := _bases(resolved)) else {}),
    }


def _bases(resolved: ResolvedImage | None) -> list[dict[str, str]]:
    """On which images this one, and the manifests of its index, say that they were built: by their annotations."""
    if resolved is None:
        return []
    told = [(resolved.digest, resolved.base), *((child.digest, child.base) for child in resolved.platforms)]
    found = {
        str(digest): {"manifest": str(digest)}
        | {name: value for name, value in (("name", base.name), ("digest", base.digest)) if value}
        for digest, base in told
        if base is not None
    }
    return [found[digest] for digest in sorted(found)][:MAX_BASES]


def evaluation_record(judged: Judged) -> dict[str, Any]:
    """One evaluation as it stands in a leaf and in `assay verify -o json`: policy, outcome, reasons, proofs."""
    evaluation, assessment = judged.evaluation, judged.assessment
    policy = evaluation.policy
    evidence = assessment.evidence if assessment else None
    rejections = evidence.rejections if evidence else ()
    return {
        "policy": {
            "kind": policy.kind,
            "namespace": policy.namespace,
            "name": policy.name,
            "hash": policy.hash,
        },
        **({"child": _child(evaluation.child)} if evaluation.child is not None else {}),
        "actions": [str(action) for action in evaluation.actions],
        "outcome": str(evaluation.outcome),
        **_exempt(evaluation),
        "errorKind": str(evaluation.error_kind) if evaluation.error_kind else None,
        "reasons": [
            {
                "code": reason.code,
                "rule": reason.rule,
                "message": reason.message,
                "expected": reason.expected,
                "found": list(reason.found),
                "fix": reason.fix,
            }
            for reason in evaluation.reasons
        ],
        **({"stale": evaluation.stale.message} if evaluation.stale is not None else {}),
        "evidenceSet": str(judged.evidence.hash) if judged.evidence else None,
        "evidenceFetchedAt": timestamp(judged.evidence.fetched_at) if judged.evidence else None,
        "signatures": [proof_record(signature.proof) for signature in evidence.signatures] if evidence else [],
        "attestations": [
            {
                "name": attestation.name,
                "predicateType": attestation.predicate_type,
                "statement": str(attestation.statement),
                **proof_record(attestation.proof),
            }
            for attestation in (evidence.attestations if evidence else ())
        ],
        "artifacts": _artifacts(judged.evidence, evidence),
        "rejections": [_rejection(rejection) for rejection in rejections[:MAX_REJECTIONS]],
        "rejectionsOmitted": max(0, len(rejections) - MAX_REJECTIONS),
        "used": dict(assessment.used) if assessment else {},
    }


def _exempt(evaluation: Evaluation) -> dict[str, Any]:
    """What the outcome would be without the exceptions, and every one that was used; nothing where none was."""
    if evaluation.otherwise is None:
        return {}
    return {"otherwise": str(evaluation.otherwise), "exceptions": [exception_record(e) for e in evaluation.exceptions]}


def exception_record(exception: EvidenceException) -> dict[str, Any]:
    """One exception as it stands in a leaf. `claimed`: it was read from a file, and nobody checked its approver."""
    return {
        "name": exception.name,
        "hash": exception.hash,
        "approver": exception.approver,
        "claimed": exception.claimed,
        "approvedAt": timestamp(exception.approved_at) if exception.approved_at else None,
        "reason": exception.reason,
        "expires": timestamp(exception.expires),
        "breakGlass": exception.break_glass,
    }


def _child(child: PlatformManifest) -> dict[str, Any]:
    return {"digest": str(child.digest), "platform": str(child.platform) if child.platform is not None else None}


def _artifacts(found: EvidenceSet | None, evidence: VerifiedEvidence | None) -> list[dict[str, Any]]:
    """What counted, as it was found: with its bytes, all that a replay needs (layers are verified with annotations)."""
    if found is None or evidence is None:
        return []
    proofs = [s.proof for s in evidence.signatures] + [a.proof for a in evidence.attestations]
    counted = {(proof.artifact, proof.location) for proof in proofs}
    return [
        {
            "artifact": str(a.digest),
            "location": a.location,
            "kind": str(a.kind),
            "mediaType": a.media_type,
            "annotations": dict(a.annotations),
        }
        for a in found.artifacts
        if (a.digest, a.location) in counted
    ]


def proof_record(proof: Proof) -> dict[str, Any]:
    """One proof as it stands in a leaf."""
    entry = proof.log_entry
    return {
        "artifact": str(proof.artifact),
        "location": proof.location,
        "authority": proof.authority,
        "signer": {
            "key": proof.signer.key,
            "issuer": proof.signer.issuer,
            "subject": proof.signer.subject,
            "claims": dict(proof.signer.claims),
        },
        "logEntry": {
            "logId": entry.log_id,
            "index": entry.index,
            "integratedAt": timestamp(entry.integrated_at) if entry.integrated_at else None,
        }
        if entry
        else None,
        "signedAt": timestamp(proof.signed_at) if proof.signed_at else None,
        "steps": list(proof.steps),
    }


def _rejection(rejection: Rejection) -> dict[str, Any]:
    return {
        "artifact": str(rejection.artifact),
        "location": rejection.location,
        "authority": rejection.authority,
        "code": rejection.code,
        "message": rejection.message,
    }


def _blobs(judged: Sequence[Judged]) -> dict[Digest, bytes]:
    """The bytes that are kept: all that proved something, what the verdict was made by, and of the rest a bounded part.

    What is left out is named by its hash in `used.artifacts`. Without a bound, pods that are denied would fill the disk
    with whatever their authors attach to their images, and nobody's decision could be recorded any more. Of images'
    configurations no bytes are kept at all (`used.configs` names them): they hold environment values, and commands.
    """
    proven = {proof.artifact for one in judged for proof in _proofs(one)}
    blobs: dict[Digest, bytes] = {}
    unproven: dict[Digest, bytes] = {}
    for one in judged:
        for artifact in one.evidence.artifacts if one.evidence is not None else ():
            (blobs if artifact.digest in proven else unproven)[artifact.digest] = artifact.content
        blobs.update((Digest.parse(root.hash), root.content) for root in one.trust_roots)
        source = one.compiled.source
        blobs.update((Digest.of(content), content) for content in _resolved(source))
        blobs[Digest.parse(source.identity.hash)] = _canonical(source)
        blobs.update((Digest.parse(e.hash), exception_bytes(e)) for e in one.evaluation.exceptions)
    left = MAX_UNPROVEN_BYTES
    for digest, content in sorted(unproven.items(), key=lambda item: (len(item[1]), item[0])):
        left -= len(content)
        if left < 0:
            break
        blobs[digest] = content
    return blobs


def _resolved(policy: Policy) -> Iterator[bytes]:
    """What the policy only refers to, as `used` names it by hash: public keys (DER), chains of certificates (PEM)."""
    for authority in policy.spec.authorities:
        if authority.key is not None and authority.key.secret is not None and authority.key.pem:
            yield from public_keys_der(authority.key.pem)
        chain = authority.certificate.chain if authority.certificate is not None else ""
        if authority.certificate is not None and authority.certificate.secret is not None and chain:
            yield chain.encode()


def _proofs(judged: Judged) -> Iterator[Proof]:
    if judged.assessment is not None:
        yield from (signature.proof for signature in judged.assessment.evidence.signatures)
        yield from (attestation.proof for attestation in judged.assessment.evidence.attestations)


@lru_cache(maxsize=1024)
def _canonical(policy: Policy) -> bytes:
    return canonical_bytes(policy.spec, policy.problems)
