"""The one JSON form of a policy's spec, so that a file and a cluster, which fills in defaults, give one hash."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import rfc8785

from controller.model.policy import (
    AttestationRequirement,
    Authority,
    CertificateAuthority,
    Cryptography,
    Expression,
    Identity,
    KeyIn,
    LabelSelector,
    Need,
    PolicySpec,
    Problem,
    Validation,
)


def policy_hash(spec: PolicySpec, problems: Sequence[Problem] = ()) -> str:
    """`sha256:<hex>` over `canonical_bytes`."""
    return "sha256:" + hashlib.sha256(canonical_bytes(spec, problems)).hexdigest()


def canonical_bytes(spec: PolicySpec, problems: Sequence[Problem] = ()) -> bytes:
    """RFC 8785 of the canonical spec; for a broken policy its problems are part of it."""
    content: dict[str, Any] = {"spec": canonical_spec(spec)}
    if problems:
        content["problems"] = [[p.code, p.field, p.message] for p in problems]
    return rfc8785.dumps(content)


def canonical_spec(spec: PolicySpec) -> dict[str, Any]:
    """The spec as the API writes it, every default filled in and what is absent left out."""
    canonical: dict[str, Any] = {
        "match": {
            "images": list(spec.match.images),
            "namespaceSelector": _selector(spec.match.namespace_selector),
            "objectSelector": _selector(spec.match.object_selector),
            "conditions": [_expression(condition) for condition in spec.match.conditions],
        },
        "validationActions": [str(action) for action in spec.validation_actions],
        "failurePolicy": str(spec.failure_policy),
        "digest": str(spec.digest),
        "platforms": str(spec.platforms),
        "authorities": [_authority(authority) for authority in spec.authorities],
        "attestations": [_attestation(requirement) for requirement in spec.attestations],
        "variables": [_expression(variable) for variable in spec.variables],
        "validations": [_validation(validation) for validation in spec.validations],
    }
    if spec.grace is not None:
        canonical["grace"] = f"{spec.grace:.3f}s"
    if spec.audit_annotations:
        canonical["auditAnnotations"] = [
            {"key": annotation.key, "valueExpression": annotation.value_expression}
            for annotation in spec.audit_annotations
        ]
    if spec.cryptography is not Cryptography.DEFAULT:
        canonical["cryptography"] = str(spec.cryptography)
    if spec.signatures is not None:
        canonical["signatures"] = {
            "authorities": list(spec.signatures.authorities),
            "minimum": spec.signatures.minimum,
            "distinct": str(spec.signatures.distinct),
        }
    return canonical


def _selector(selector: LabelSelector) -> dict[str, Any]:
    return {
        "matchLabels": dict(selector.match_labels),
        "matchExpressions": [
            {"key": r.key, "operator": r.operator, "values": list(r.values)} for r in selector.match_expressions
        ],
    }


def _expression(expression: Expression) -> dict[str, Any]:
    return {"name": expression.name, "expression": expression.expression}


def _authority(authority: Authority) -> dict[str, Any]:
    canonical: dict[str, Any] = {
        "name": authority.name,
        "transparencyLog": str(authority.transparency_log),
        "timestamp": str(authority.timestamp),
    }
    if authority.keyless is not None:
        canonical["keyless"] = {
            "identities": [_identity(identity) for identity in authority.keyless.identities],
            "trustRootRef": {"name": authority.keyless.trust_root},
        }
        if authority.keyless.certificate_log is not Need.REQUIRED:
            canonical["keyless"]["signedCertificateTimestamp"] = str(authority.keyless.certificate_log)
    if authority.key is not None:
        canonical["key"] = {
            **_source("pem", authority.key.pem, authority.key.secret),
            "trustRootRef": {"name": authority.key.trust_root},
        }
    if authority.certificate is not None:
        canonical["certificate"] = _certificate(authority.certificate)
    if authority.source is not None:
        secret = {"pullSecretRef": {"name": authority.source.pull_secret}} if authority.source.pull_secret else {}
        canonical["source"] = {"repository": authority.source.repository, **secret}
    return canonical


def _certificate(certificate: CertificateAuthority) -> dict[str, Any]:
    identities = [{"subject": i.subject, "subjectRegExp": i.subject_reg_exp} for i in certificate.identities]
    return {
        **_source("chain", certificate.chain, certificate.secret),
        "identities": [{name: value for name, value in i.items() if value is not None} for i in identities],
        "extendedKeyUsages": sorted(certificate.extended_key_usages),
        "trustRootRef": {"name": certificate.trust_root},
    }


def _source(name: str, pem: str, secret: KeyIn | None) -> dict[str, Any]:
    """What the author wrote: a reference stays one, whatever it leads to today."""
    if secret is not None:
        return {"secretRef": {"name": secret.name, "key": secret.key}}
    return {name: pem} if pem else {}


def _identity(identity: Identity) -> dict[str, Any]:
    given = {
        "issuer": identity.issuer,
        "issuerRegExp": identity.issuer_reg_exp,
        "subject": identity.subject,
        "subjectRegExp": identity.subject_reg_exp,
    }
    return {name: value for name, value in given.items() if value is not None} | {"claims": dict(identity.claims)}


def _attestation(requirement: AttestationRequirement) -> dict[str, Any]:
    return {
        "name": requirement.name,
        "type": requirement.type,
        "authorities": list(requirement.authorities),
        "minimum": requirement.minimum,
    }


def _validation(validation: Validation) -> dict[str, Any]:
    return {
        "expression": validation.expression,
        "message": validation.message,
        "messageExpression": validation.message_expression,
        "reason": validation.reason,
    }
