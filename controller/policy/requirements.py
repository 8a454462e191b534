"""Whether what was verified is what a policy requires. Pure, and the one place that counts signatures.

Counting is by *signer*: one key or certificate identity counts once, however many authorities it satisfies and however
often it signed (guarantee 4). Nothing is ever met by an empty list (guarantee 2).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from controller.model.decision import Reason
from controller.model.evidence import (
    Proof,
    Rejection,
    VerifiedAttestation,
    VerifiedEvidence,
    VerifiedSignature,
)
from controller.model.policy import AttestationRequirement, Distinct, Policy, SignatureRequirement
from controller.policy import explain
from controller.policy.findings import Findings
from controller.policy.predicates import type_matches


def check(policy: Policy, evidence: VerifiedEvidence) -> tuple[Findings, VerifiedEvidence]:
    """Whether the policy's `signatures` and `attestations` are met by what was verified for this image.

    Also returns the evidence that met them, and nothing else: rules see no more than that (guarantee 5). Each
    attestation bears the name of the entry that it met; one that meets two entries is there twice. A policy with
    problems is Unacceptable and selects nothing.
    """
    if policy.problems:
        return broken(policy), dataclasses.replace(evidence, signatures=(), attestations=())
    spec = policy.spec
    findings: list[Findings] = []
    signatures: tuple[VerifiedSignature, ...] = ()
    if spec.signatures is not None:
        signatures = tuple(s for s in evidence.signatures if s.proof.authority in spec.signatures.authorities)
        findings.append(_check_signatures(policy, spec.signatures, signatures, evidence))
    attestations: list[VerifiedAttestation] = []
    for requirement in spec.attestations:
        met = _meeting(requirement, evidence.attestations)
        attestations.extend(dataclasses.replace(attestation, name=requirement.name) for attestation in met)
        findings.append(_check_attestations(policy, requirement, met, evidence))
    selected = dataclasses.replace(evidence, signatures=signatures, attestations=tuple(attestations))
    return Findings.of(findings), selected


def broken(policy: Policy) -> Findings:
    """What a policy that is not accepted says of every image that it matches: it cannot be judged (guarantee 7)."""
    return Findings(
        unacceptable=tuple(
            Reason(
                code=problem.code,
                rule=problem.field,
                message=f"the policy is not accepted: {problem.field} {problem.message}",
                fix=f"correct {problem.field} of {policy.identity}",
            )
            for problem in policy.problems
        )
    )


def _check_signatures(
    policy: Policy,
    requirement: SignatureRequirement,
    counting: Sequence[VerifiedSignature],
    evidence: VerifiedEvidence,
) -> Findings:
    count = _count(requirement, [signature.proof for signature in counting])
    if count >= max(requirement.minimum, 1):
        return Findings()
    rejections = _relevant(evidence.rejections, requirement.authorities)
    attested = [a for a in evidence.attestations if a.proof.authority in requirement.authorities]
    reason = explain.signatures(
        policy, requirement, count=count, counting=counting, attested=attested, rejections=rejections
    )
    return _unmet(reason, rejections)


def _check_attestations(
    policy: Policy,
    requirement: AttestationRequirement,
    met: Sequence[VerifiedAttestation],
    evidence: VerifiedEvidence,
) -> Findings:
    count = len({attestation.statement for attestation in met})
    if count >= max(requirement.minimum, 1):
        return Findings()
    rejections = _relevant(evidence.rejections, requirement.authorities)
    others = [a for a in evidence.attestations if not type_matches(requirement.type, a.predicate_type)]
    reason = explain.attestations(policy, requirement, count=count, met=met, others=others, rejections=rejections)
    return _unmet(reason, rejections)


def _unmet(reason: Reason, rejections: Iterable[Rejection]) -> Findings:
    """An unmet requirement is violated, unless something that may have met it could not be judged."""
    if any(rejection.unjudged for rejection in rejections):
        return Findings(unacceptable=(dataclasses.replace(reason, code="EvidenceNotJudged"),))
    return Findings(violations=(reason,))


def _relevant(rejections: Iterable[Rejection], authorities: Sequence[str]) -> list[Rejection]:
    return [rejection for rejection in rejections if not rejection.authority or rejection.authority in authorities]


def _meeting(
    requirement: AttestationRequirement, attestations: Iterable[VerifiedAttestation]
) -> tuple[VerifiedAttestation, ...]:
    return tuple(
        attestation
        for attestation in attestations
        if attestation.proof.authority in requirement.authorities
        and type_matches(requirement.type, attestation.predicate_type)
    )


def _count(requirement: SignatureRequirement, proofs: Iterable[Proof]) -> int:
    signers: dict[str, set[tuple[str, str, str]]] = {}
    for proof in proofs:
        signers.setdefault(proof.authority, set()).add(proof.signer.who)
    if requirement.distinct is Distinct.SIGNER:
        return len(set().union(*signers.values()))
    return _pairs(signers)


def _pairs(signers: dict[str, set[tuple[str, str, str]]]) -> int:
    """How many authorities can be given a signer each, no signer twice (maximum matching by augmenting paths)."""
    taken: dict[tuple[str, str, str], str] = {}

    def place(authority: str, seen: set[tuple[str, str, str]]) -> bool:
        for signer in sorted(signers[authority] - seen):
            seen.add(signer)
            if signer not in taken or place(taken[signer], seen):
                taken[signer] = authority
                return True
        return False

    return sum(place(authority, set()) for authority in sorted(signers))
