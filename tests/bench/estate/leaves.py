"""An estate's facts as the leaves that Assay would have written, and the raw bytes that go with them.

A test holds these leaves to the keys of real ones, made by the whole pipeline. What is the same for many decisions (the
images and evaluations of a judgement) is written once and shared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tests.bench.estate.documents import BUNDLE, ENVELOPE, LOG_ID
from tests.bench.estate.facts import (
    CONTAINER,
    Decision,
    Evidence,
    Exemption,
    Gap,
    Image,
    Judgement,
    Policy,
    Run,
    Verdict,
)
from tests.bench.estate.world import digest

DECISION, SIGHTING = "assay.dev/decision/v1alpha1", "assay.dev/sighting/v1alpha1"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
VERIFIER = {"assay": "0.1.0", "sigstore": "4.5.1", "cel-python": "0.5.0"}
TRUST_ROOT = (
    b'{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","estate":"' + b"A" * 4000 + b'"}'
)
TRUST_ROOT_HASH = f"sha256:{hashlib.sha256(TRUST_ROOT).hexdigest()}"
MAX_SHARED = 5_000  # judgements written out and kept for those that share them
_MISSING = {
    "SignatureMissing": "the image has no signature",
    "SignatureNotTrusted": "no signature that was found is a trusted one",
    "AttestationMissing": "the image has no such attestation",
    "AttestationNotTrusted": "no attestation that was found is a trusted one",
    "RegistryUnavailable": "the registry did not answer",
}


def moment(when: datetime) -> str:
    """As a leaf writes a time."""
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Scribe:
    """Writes leaves, each with the bytes that were not handed over before."""

    def __init__(self) -> None:
        self._written: dict[Judgement, dict[str, Any]] = {}
        self._known: set[str] = set()
        self.documents: dict[str, tuple[int, int]] = {}  # bytes and number of what was attached, by kind

    def decision(self, told: Decision) -> tuple[dict[str, Any], Mapping[str, bytes]]:
        """The leaf of a decision, and its new blobs by digest."""
        blobs: dict[str, bytes] = {}
        judged = self._written.get(told.judgement)
        if judged is None:
            if len(self._written) >= MAX_SHARED:  # those of months ago are not asked for again
                self._written.clear()
            judged = self._written[told.judgement] = self._judgement(told.judgement, blobs)
        subject = told.subject
        message = ""
        if not told.judgement.allowed:
            message = f"Pod {subject.namespace}/{subject.name}: {judged['denial']}\nrecord {told.id}"
        return {
            "schema": DECISION,
            "id": told.id,
            "salt": told.id.replace("-", ""),
            "decisionKey": f"{subject.uid}:{told.id}",
            "decidedAt": moment(told.decided_at),
            "cluster": subject.cluster,
            "verdict": "Allow" if told.judgement.allowed else "Deny",
            "flags": judged["flags"],
            "message": message,
            "warnings": judged["warnings"],
            "latencyUs": 1500 + int(told.id[:3], 16),
            "request": _request(told),
            "object": {
                "uid": subject.uid,
                "hash": hashlib.sha256(subject.uid.encode()).hexdigest(),
                "kind": subject.kind,
                "namespace": subject.namespace,
                "name": subject.name,
                "serviceAccount": subject.service_account,
                "labels": {"app": subject.owner.partition("/")[2] or subject.name},
                "namespaceLabels": {"kubernetes.io/metadata.name": subject.namespace},
            },
            "images": judged["images"],
            "evaluations": judged["evaluations"],
            "blobs": judged["blobs"],
            "verifier": VERIFIER,
        }, blobs

    def started(self, run: Run) -> dict[str, Any]:
        """The leaf of a run's start."""
        return _sighting(run, run.id, "Started", run.started_at, None, "")

    def ended(self, run: Run) -> dict[str, Any]:
        """The leaf of a run's end. Raises `ValueError` for one that goes on."""
        if run.ended_at is None:
            raise ValueError("it has not ended")
        return _sighting(run, run.end_id, "Ended", run.ended_at, run.ended_at, run.reason)

    def gap(self, gap: Gap) -> dict[str, Any]:
        """The leaf of a time in which nobody watched."""
        told = {"since": moment(gap.since), "until": moment(gap.until)}
        return _fact(gap.id, "Gap", gap.until, gap.cluster) | {"gap": told}

    def _judgement(self, judged: Judgement, blobs: dict[str, bytes]) -> dict[str, Any]:
        named: dict[str, None] = {}
        for verdict in judged.verdicts:
            for evidence in (*verdict.counted, *verdict.rejected):
                named[self._attached(evidence, blobs)] = None
            for content in (verdict.policy.content, TRUST_ROOT, *(e.content for e in verdict.exemptions)):
                named[self._kept(content, blobs)] = None
        found = [verdict for verdict in judged.verdicts if verdict.code]
        shown = "\n".join(
            f"container {judged.images[v.image].container!r} runs {judged.images[v.image].reference}\n"
            f"  {v.policy.kind} {v.policy.name}: {v.code}: {_MISSING[v.code]}"
            for v in found
            if "Deny" in v.policy.actions
        )
        return {
            "flags": list(judged.flags),
            "warnings": [
                f"{v.policy.kind} {v.policy.name} (warns only): {judged.images[v.image].reference}: {_MISSING[v.code]}"
                for v in found
                if "Warn" in v.policy.actions
            ],
            "denial": f"{len(judged.images)} images lack the evidence that is required.\n{shown}",
            "images": [
                _image(place, asked.kind, asked.container, asked.reference, asked.image)
                for place, asked in enumerate(judged.images)
            ],
            "evaluations": [_evaluation(verdict, judged.images[verdict.image].image) for verdict in judged.verdicts],
            "blobs": sorted(named),
        }

    def _attached(self, evidence: Evidence, blobs: dict[str, bytes]) -> str:
        if evidence.artifact not in self._known:
            content = evidence.document()
            evidence.artifact = self._kept(content, blobs)
            size, count = self.documents.get(evidence.kind, (0, 0))
            self.documents[evidence.kind] = size + len(content), count + 1
        return evidence.artifact

    def _kept(self, content: bytes, blobs: dict[str, bytes]) -> str:
        name = _hash(content)
        if name not in self._known:
            self._known.add(name)
            blobs[name] = content
        return name


def _hash(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _request(told: Decision) -> dict[str, Any]:
    subject = told.subject
    group = {"Pod": "", "Job": "batch"}.get(subject.kind, "apps")
    return {
        "uid": told.id[::-1],
        "operation": told.operation,
        "group": group,
        "version": "v1",
        "kind": subject.kind,
        "resource": f"{subject.kind.lower()}s",
        "subresource": "",
        "namespace": subject.namespace,
        "name": subject.name,
        "user": {"username": told.user, "uid": "", "groups": ["system:authenticated"]},
    }


def _image(place: int, kind: str, container: str, reference: str, image: Image | None) -> dict[str, Any]:
    field = "containers" if kind == CONTAINER else "initContainers"
    return {
        "kind": kind,
        "container": container,
        "field": f"spec.{field}[{place}].image",
        "reference": reference,
        "repository": image.repository if image else None,
        "digest": image.digest if image else None,
        "mediaType": (INDEX if image.children else MANIFEST) if image else None,
        "manifests": list(image.children) if image else [],
        **({"bases": bases} if (bases := _bases(image)) else {}),
    }


def _bases(image: Image | None) -> list[dict[str, str]]:
    return [
        {"manifest": claim.manifest, **{k: v for k, v in (("name", claim.name), ("digest", claim.digest)) if v}}
        for claim in (image.claims if image else ())
        if claim.source == "annotation"
    ]


def _configs(policy: Policy, image: Image) -> list[dict[str, Any]]:
    """The configurations that the policy's rules looked at, with what is recorded of them."""
    labels = {claim.manifest: claim.name for claim in image.claims if claim.source == "label"}
    return [
        {
            "digest": digest(manifest, "configuration"),
            "manifest": manifest,
            "platform": None,
            "os": "linux",
            **({"labels": {"org.opencontainers.image.base.name": labels[manifest]}} if manifest in labels else {}),
        }
        for manifest in (image.children or (image.digest,))
        if policy.reads_configurations
    ]


def _evaluation(verdict: Verdict, image: Image | None) -> dict[str, Any]:
    policy = verdict.policy
    counted = verdict.counted
    there = [e.artifact for e in (*counted, *verdict.rejected)]
    fetched = max((e.since for e in (*counted, *verdict.rejected)), default=policy.since)
    return {
        "image": verdict.image,
        "policy": {"kind": policy.kind, "namespace": policy.namespace, "name": policy.name, "hash": policy.hash},
        "actions": list(policy.actions),
        "outcome": verdict.outcome,
        **(
            {"otherwise": verdict.otherwise, "exceptions": [_exemption(e) for e in verdict.exemptions]}
            if verdict.outcome == "Exempt"
            else {}
        ),
        "errorKind": verdict.error or None,
        "reasons": [_reason(verdict)] if verdict.code else [],
        "evidenceSet": _hash("\n".join(sorted(there)).encode()) if image else None,
        "evidenceFetchedAt": moment(fetched) if image else None,
        "signatures": [_proof(e) for e in counted if e.kind == "signature"],
        "attestations": [
            {
                "name": e.kind,
                "predicateType": e.predicate_type,
                "statement": digest(e.artifact, "statement"),
                **_proof(e),
            }
            for e in counted
            if e.kind != "signature"
        ],
        "artifacts": [
            {
                "artifact": e.artifact,
                "location": _location(e),
                "kind": "sigstore-bundle",
                "mediaType": BUNDLE if e.kind != "legacy" else ENVELOPE,
                "annotations": {},
            }
            for e in counted
        ],
        "rejections": [
            {
                "artifact": e.artifact,
                "location": _location(e),
                "authority": "release",
                "code": e.code,
                "message": "its statement is about another digest, not about this image"
                if e.code == "SubjectMismatch"
                else "its signature was not made with the key of authority release",
            }
            for e in verdict.rejected
        ],
        "rejectionsOmitted": 0,
        "used": {
            "artifacts": sorted(there),
            "chains": {},
            "keys": {"release": [digest("key", 0)]},
            "trustRoots": {"public-good": TRUST_ROOT_HASH},
            "verifier": "assay 0.1.0, sigstore 4.5.1",
            **({"configs": configs} if (configs := _configs(policy, image)) else {}),
        }
        if image
        else {},
    }


def _reason(verdict: Verdict) -> dict[str, Any]:
    return {
        "code": verdict.code,
        "rule": "signatures" if verdict.policy.requires == "signature" else f"attestations[{verdict.policy.requires}]",
        "message": _MISSING[verdict.code],
        "expected": f"1 {verdict.policy.requires} of release",
        "found": ["nothing"],
        "fix": "release this digest through release, or deploy a digest that has one",
    }


def _exemption(exemption: Exemption) -> dict[str, Any]:
    return {
        "name": exemption.name,
        "hash": exemption.hash,
        "approver": exemption.approver,
        "claimed": exemption.claimed,
        "approvedAt": moment(exemption.approved_at),
        "reason": exemption.reason,
        "expires": moment(exemption.expires),
        "breakGlass": exemption.break_glass,
    }


def _location(evidence: Evidence) -> str:
    return f"referrer {digest(evidence.artifact, 'manifest')}"


def _proof(evidence: Evidence) -> dict[str, Any]:
    signer = evidence.signer
    who = f"key {signer.key}" if signer.key else f"{signer.subject} ({signer.issuer})"
    claims = {} if signer.key else _claims(signer.subject)
    steps = [f"The signature verifies with what belongs to {who}."]
    if evidence.log_index is not None:
        steps.append(f"Entry {evidence.log_index} (dsse/0.0.1) is in the transparency log.")
    return {
        "artifact": evidence.artifact,
        "location": _location(evidence),
        "authority": "release",
        "signer": {"key": signer.key, "issuer": signer.issuer, "subject": signer.subject, "claims": claims},
        "logEntry": {"logId": LOG_ID, "index": evidence.log_index, "integratedAt": moment(evidence.since)}
        if evidence.log_index is not None
        else None,
        "signedAt": moment(evidence.since) if evidence.log_index is not None else None,
        "steps": steps,
    }


def _claims(subject: str) -> dict[str, str]:
    return {
        "runnerEnvironment": "github-hosted",
        "sourceRepositoryURI": subject.partition("/.github")[0],
        "sourceRepositoryDigest": digest(subject).removeprefix("sha256:")[:40],
    }


def _fact(identity: str, what: str, at: datetime, cluster: str) -> dict[str, Any]:
    return {
        "schema": SIGHTING,
        "id": identity,
        "salt": identity.replace("-", ""),
        "decisionKey": f"sighting:{identity}",
        "verdict": what,
        "decidedAt": moment(at),
        "cluster": cluster,
        "blobs": [],
    }


def _sighting(run: Run, identity: str, what: str, at: datetime, ended: datetime | None, reason: str) -> dict[str, Any]:
    subject = run.subject
    return _fact(identity, what, at, subject.cluster) | {
        "pod": {
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
            "node": subject.node,
            "serviceAccount": subject.service_account,
            "owner": subject.owner,
        },
        "run": {
            "kind": run.kind,
            "container": run.container,
            "id": run.run,
            "image": run.reference,
            "imageId": run.image_id,
            "repository": run.repository,
            "digest": run.digest,
            "startedAt": moment(run.started_at),
            "endedAt": moment(ended) if ended is not None else None,
            "reason": reason,
        },
    }
