"""One image under one policy, judged by its evidence alone: *verify -> require -> read documents -> apply rules*.

A pure function of its job, the same in webhook, operator and command line (guarantee 17). The rules that also read the
request or the clock are applied by the review, to the evidence that comes back from here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from controller.documents import dates as dating
from controller.documents import image_config, parse
from controller.documents.types import is_sbom
from controller.errors import AssayError, PolicyError, Unacceptable
from controller.model.decision import Reason
from controller.model.documents import Document
from controller.model.evidence import UNSIGNED, EvidenceSet, Rejection, VerifiedAttestation, VerifiedEvidence
from controller.model.image import ConfigBlob, ConfigExtract, ImageConfigs, RawConfigs
from controller.model.policy import Policy
from controller.model.reference import Digest
from controller.policy import evaluation, requirements
from controller.policy.compiled import CompiledPolicy, compile_policy
from controller.policy.findings import Findings
from controller.review.ports import Assessment, AssessmentJob
from controller.settings import DocumentSettings, PolicySettings
from controller.verification.keys import load_public_keys
from controller.verification.proof import CLOCK_SKEW
from controller.verification.verifier import VERIFIER_VERSION, verify

MAX_POLICIES = 256  # bounds the compiled policies that a process remembers


def assess(job: AssessmentJob, *, documents: DocumentSettings, policy: PolicySettings) -> Assessment:
    """What the evidence says of the image under the policy.

    Raises nothing for what the evidence holds: that is in the result. `MemoryError` passes.
    """
    weighed = weigh(job, documents=documents, policy=policy)
    compiled, selected, findings = weighed.compiled, weighed.evidence, weighed.findings
    # 4. The rules over evidence. Over evidence that is missing or cannot be read none is asked: it could only mislead.
    if weighed.complete:
        findings += evaluation.evaluate_evidence_rules(
            compiled, evidence=selected, image=job.image, configs=weighed.configs, now=job.now
        )
    return Assessment(
        outcome=findings.outcome,
        reasons=findings.reasons,
        error_kind=findings.error_kind,
        evidence=selected if compiled.has_request_rules else _without_documents(selected),
        used=_used(job, weighed.configs),
        valid_until=_valid_until(weighed.verified, selected, weighed.configs, job.now),
        complete=weighed.complete,
        annotations=findings.annotations,
        configs=weighed.configs if compiled.has_request_rules else (),
    )


@dataclass(frozen=True, slots=True)
class Weighed:
    """What a policy's rules are asked about: all that was verified, what of it met a requirement, and the findings.

    Rules are asked only where it is `complete`: the requirements are met, and the documents could be read.
    """

    compiled: CompiledPolicy
    verified: VerifiedEvidence
    evidence: VerifiedEvidence
    configs: ImageConfigs
    findings: Findings

    @property
    def complete(self) -> bool:
        """Whether nothing is missing and everything could be read."""
        return not self.findings.reasons


def weigh(job: AssessmentJob, *, documents: DocumentSettings, policy: PolicySettings) -> Weighed:
    """Everything of an assessment up to the rules. Raises as `assess`."""
    compiled = _compiled(job.policy, policy)
    # 1. What is proven about exactly this digest, for each authority of the policy.
    verified = verify(
        job.image.digest,
        job.evidence.artifacts,
        authorities=job.policy.spec.authorities,
        trust_roots={root.name: root for root in job.trust_roots},
        now=job.now,
        limits=documents,
        cryptography=job.policy.spec.cryptography,
    )
    verified = dataclasses.replace(verified, rejections=(*verified.rejections, *_unread(job.evidence)))
    # 2. Does it meet the policy's requirements? Only what met one is seen by anything after this.
    findings, selected = requirements.check(compiled.policy, verified)
    # 3. What the attested documents say, in their normal form.
    read, selected = _read_documents(selected, documents)
    return Weighed(compiled, verified, selected, _read_configs(job.configs, documents), findings + read)


@lru_cache(maxsize=MAX_POLICIES)
def _compiled(policy: Policy, settings: PolicySettings) -> CompiledPolicy:
    return compile_policy(policy, settings)


def _unread(evidence: EvidenceSet) -> tuple[Rejection, ...]:
    """What lay beside the image and could not be fetched whole: it never counts, and it never vanishes."""
    return tuple(
        Rejection(evidence.image, "registry", "", problem.code, problem.message, unjudged=problem.code != UNSIGNED)
        for problem in evidence.problems
    )


def _read_documents(evidence: VerifiedEvidence, limits: DocumentSettings) -> tuple[Findings, VerifiedEvidence]:
    """The evidence with its documents read; one that its own format's rules refuse is Unacceptable.

    So is an SBOM of a form that Assay does not read, since rules look into it. Another document of such a form (a scan
    by a tool unknown here) stays data: it was attested, and a rule that reads it is an Error.
    """
    problems: list[Reason] = []
    read: dict[Digest, Document | None] = {}
    attestations: list[VerifiedAttestation] = []
    for attestation in evidence.attestations:
        try:
            if attestation.statement not in read:
                read[attestation.statement] = parse(attestation.predicate_type, attestation.predicate, limits)
        except Unacceptable as exc:
            if exc.code == "DocumentUnsupported" and not is_sbom(attestation.predicate_type):
                attestations.append(attestation)
                continue
            fix = "attest a document that follows its format's specification"
            problems.append(Reason(exc.code, f"attestations[{attestation.name}]", exc.message, fix=fix))
            continue
        attestations.append(dataclasses.replace(attestation, document=read[attestation.statement]))
    return Findings(unacceptable=tuple(problems)), dataclasses.replace(evidence, attestations=tuple(attestations))


def _read_configs(found: RawConfigs, limits: DocumentSettings) -> ImageConfigs:
    """The image's configurations, or why they cannot be read: the rules that look at them say so."""
    if isinstance(found, AssayError):
        return found
    try:
        return tuple(image_config.parse(blob, limits) for blob in found)
    except Unacceptable as exc:
        return exc


def _without_documents(evidence: VerifiedEvidence) -> VerifiedEvidence:
    """The same without what nobody will read again: documents are large, and the way back to the server is not free."""
    bare = tuple(dataclasses.replace(a, predicate=None, document=None) for a in evidence.attestations)
    return dataclasses.replace(evidence, attestations=bare)


def _used(job: AssessmentJob, read: ImageConfigs) -> Mapping[str, Any]:
    """Every input by its hash: with the bytes, enough to judge again."""
    keys: dict[str, list[str]] = {}
    chains: dict[str, str] = {}
    for authority in job.policy.spec.authorities:
        if authority.key is not None and authority.key.pem:
            try:
                keys[authority.name] = [key.fingerprint for key in load_public_keys(authority.key.pem)]
            except PolicyError as exc:
                keys[authority.name] = [exc.code]
        if authority.certificate is not None and authority.certificate.chain:
            chains[authority.name] = str(Digest.of(authority.certificate.chain.encode()))
    return {
        "artifacts": sorted({str(artifact.digest) for artifact in job.evidence.artifacts}),
        "trustRoots": {root.name: root.hash for root in job.trust_roots},
        "keys": keys,
        "chains": chains,
        **_used_configs(job.configs, read),
        "verifier": VERIFIER_VERSION,
    }


def _used_configs(configs: RawConfigs, read: ImageConfigs) -> Mapping[str, Any]:
    """The configurations that rules looked at: what leads to each from the image's digest, and what may be told of it.

    Their bytes are not recorded (`documents.config_extract`).
    """
    if isinstance(configs, AssayError) or not configs:
        return {}
    extracts = [ConfigExtract()] * len(configs) if isinstance(read, AssayError) else [one.extract for one in read]
    return {"configs": [_used_config(blob, extract) for blob, extract in zip(configs, extracts, strict=True)]}


def _used_config(blob: ConfigBlob, extract: ConfigExtract) -> dict[str, Any]:
    told = {
        "os": extract.os,
        "architecture": extract.architecture,
        "variant": extract.variant,
        "osVersion": extract.os_version,
        "created": extract.created,
        "user": extract.user,
        "labels": dict(extract.labels),
        "annotations": blob.base.annotations() if blob.base is not None else {},
    }
    return {
        "digest": str(blob.digest),
        "manifest": str(blob.manifest),
        "platform": str(blob.platform) if blob.platform is not None else None,
        **{name: value for name, value in told.items() if value},
    }


def _valid_until(
    verified: VerifiedEvidence, selected: VerifiedEvidence, configs: ImageConfigs, now: datetime
) -> datetime | None:
    """From when a date may change the outcome: the end of a validity, or that what lies in the future has come."""
    dates = [verified.valid_until] if verified.valid_until is not None else []
    read = [a.document for a in selected.attestations if a.document is not None]
    read += () if isinstance(configs, AssayError) else configs
    dates += (moment for document in read for moment in dating.to_come(document, now))
    if any(rejection.code == "SignedInFuture" for rejection in verified.rejections):
        dates.append(now + CLOCK_SKEW)
    return min(dates, default=None)
