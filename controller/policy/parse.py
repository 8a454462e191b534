"""From a custom resource, as YAML or JSON gave it, to the model: every default filled in, every mistake named.

A broken policy is not dropped, since a policy that vanishes lets everything in: it is returned with its problems, at
its strictest wherever it cannot be read (guarantee 7).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from controller.errors import PolicyError
from controller.model.policy import (
    Action,
    AttestationRequirement,
    AuditAnnotation,
    Authority,
    CertificateAuthority,
    CertificateIdentity,
    Cryptography,
    DigestMode,
    Distinct,
    EvidenceSource,
    Expression,
    FailurePolicy,
    Identity,
    KeyAuthority,
    KeyIn,
    KeylessAuthority,
    LabelRequirement,
    LabelSelector,
    Match,
    Need,
    Platforms,
    Policy,
    PolicyIdentity,
    PolicySpec,
    Problem,
    SignatureRequirement,
    Validation,
)
from controller.policy.audit import check_annotations
from controller.policy.canonical import policy_hash
from controller.policy.fields import NOT_SUPPORTED_YET, Fields
from controller.policy.kinds import API_VERSION, NAMESPACED_POLICY, POLICY_KINDS
from controller.policy.pems import CODE_SIGNING, usage_oid
from controller.policy.references import key_in
from controller.policy.semantics import check_spec
from controller.policy.trust import parse_trust_root

__all__ = ["parse_policy", "parse_trust_root"]

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,62}")

# What some problems rest on, beside the fields at, above and below their own.
_RESTS_ON = {
    "IgnoreWithoutHost": re.compile(r"spec\.match.*"),
    "AuthorityUnknown": re.compile(r"spec\.authorities(\[\d+\])?(\.name)?"),
    "MinimumUnreachable": re.compile(r"spec\.(authorities|signatures).*"),
    "ResolveWithDeny": re.compile(r"spec\.validationActions.*"),
}


def parse_policy(obj: Mapping[str, Any]) -> Policy:
    """Read a ClusterEvidencePolicy or EvidencePolicy. Never raises for a broken one: see `Policy.problems`.

    Raises `PolicyError` (`KindUnknown`, `NameMissing`) for an object that is no policy of Assay or has no name.
    """
    kind, metadata = obj.get("kind"), obj.get("metadata")
    if kind not in POLICY_KINDS or obj.get("apiVersion") != API_VERSION:
        raise PolicyError("KindUnknown", f"not a ClusterEvidencePolicy or EvidencePolicy of {API_VERSION}", "kind")
    if not isinstance(metadata, Mapping) or not isinstance(metadata.get("name"), str) or not metadata["name"]:
        raise PolicyError("NameMissing", "the policy has no name", "metadata.name")
    problems: list[Problem] = []
    namespace = metadata.get("namespace") if kind == NAMESPACED_POLICY else ""
    if not isinstance(namespace, str) or (kind == NAMESPACED_POLICY and not namespace):
        raise PolicyError("NameMissing", f"{kind} {metadata['name']} has no namespace", "metadata.namespace")
    spec = _spec(Fields(obj.get("spec"), "spec", problems))
    unread = [problem.field for problem in problems]
    checked = [*check_spec(spec), *check_annotations(kind, metadata["name"], spec.audit_annotations)]
    problems.extend(problem for problem in checked if not _follows(problem, unread))
    generation = metadata.get("generation", 0)
    return Policy(
        identity=PolicyIdentity(
            kind=kind, namespace=namespace, name=metadata["name"], hash=policy_hash(spec, problems)
        ),
        spec=spec,
        problems=tuple(problems),
        generation=generation if isinstance(generation, int) else 0,
    )


def _follows(problem: Problem, unread: Collection[str]) -> bool:
    """Whether a problem may be there only because something that it rests on could not be read."""
    rests_on = _RESTS_ON.get(problem.code)
    return any(
        _is_within(field, problem.field)
        or _is_within(problem.field, field)
        or (rests_on is not None and rests_on.fullmatch(field) is not None)
        for field in unread
    )


def _is_within(field: str, other: str) -> bool:
    return field == other or field.startswith((f"{other}.", f"{other}["))


def _spec(fields: Fields) -> PolicySpec:
    defaults = PolicySpec()
    spec = PolicySpec(
        match=_match(fields.node("match")),
        validation_actions=fields.choices("validationActions", Action, defaults.validation_actions),
        failure_policy=fields.choice("failurePolicy", FailurePolicy.FAIL),
        digest=fields.choice("digest", DigestMode.PIN),
        platforms=fields.choice("platforms", Platforms.INDEX),
        cryptography=fields.choice("cryptography", Cryptography.DEFAULT),
        authorities=tuple(_authority(node) for node in fields.nodes("authorities")),
        signatures=_signatures(fields.node("signatures")) if fields.has("signatures") else None,
        attestations=tuple(_attestation(node) for node in fields.nodes("attestations")),
        variables=tuple(_expression(node, _IDENTIFIER) for node in fields.nodes("variables")),
        validations=tuple(_validation(node) for node in fields.nodes("validations")),
        audit_annotations=tuple(_audit_annotation(node) for node in fields.nodes("auditAnnotations")),
        grace=fields.duration("grace"),
    )
    fields.close()
    return spec


def _match(fields: Fields) -> Match:
    before = len(fields.problems)
    match = Match(
        images=fields.texts("images"),
        namespace_selector=_selector(fields.node("namespaceSelector")),
        object_selector=_selector(fields.node("objectSelector")),
        conditions=tuple(_expression(node, _NAME) for node in fields.nodes("conditions")),
    )
    fields.close()
    return match if len(fields.problems) == before else Match()  # what cannot be read whole matches everything


def _selector(fields: Fields) -> LabelSelector:
    requirements = []
    for node in fields.nodes("matchExpressions"):
        requirement = LabelRequirement(
            key=node.text("key", required=True),
            operator=node.text("operator", required=True),
            values=tuple(str(value) for value in node.texts("values")),
        )
        needs_values = requirement.operator in {"In", "NotIn"}
        if requirement.operator not in {"In", "NotIn", "Exists", "DoesNotExist"}:
            node.problem("ValueUnknown", "must be one of In, NotIn, Exists, DoesNotExist", "operator")
        elif needs_values != bool(requirement.values):
            must = "must have at least one entry" if needs_values else "must be empty"
            node.problem("SelectorMalformed", f"{must} with {requirement.operator}", "values")
        node.close()
        requirements.append(requirement)
    selector = LabelSelector(match_labels=fields.map_of_texts("matchLabels"), match_expressions=tuple(requirements))
    fields.close()
    return selector


def _expression(fields: Fields, grammar: re.Pattern[str]) -> Expression:
    expression = Expression(name=_named(fields, grammar), expression=fields.text("expression", required=True))
    fields.close()
    return expression


def _named(fields: Fields, grammar: re.Pattern[str] = _NAME, *, field: str = "name") -> str:
    name = fields.text(field, required=True)
    if name and not grammar.fullmatch(name):
        what = "a CEL identifier" if grammar is _IDENTIFIER else "letters, digits, '-', '_' and '.'"
        fields.problem("NameMalformed", f"is {name[:100]!r}; it must be {what}, at most 63 characters", field)
    return name


def _authority(fields: Fields) -> Authority:
    kinds = [kind for kind in ("keyless", "key", "certificate", "kms", "notation") if fields.has(kind)]
    for kind, what in (("kms", "KMS keys"), ("notation", "Notation")):
        if kind in kinds:
            fields.problem(NOT_SUPPORTED_YET, f"is not supported yet ({what}); use keyless, key or certificate", kind)
    if len(kinds) != 1:
        given = f"has {' and '.join(kinds)}" if kinds else "has none of them"
        fields.problem("AuthorityMalformed", f"must have exactly one of keyless, key and certificate; it {given}")
    authority = Authority(
        name=_named(fields),
        keyless=_keyless(fields.node("keyless")) if "keyless" in kinds else None,
        key=_key(fields.node("key")) if "key" in kinds else None,
        certificate=_certificate(fields.node("certificate")) if "certificate" in kinds else None,
        transparency_log=fields.choice("transparencyLog", Need.REQUIRED),
        timestamp=fields.choice("timestamp", Need.OPTIONAL),
        source=_source(fields.node("source")) if fields.has("source") else None,
    )
    if authority.timestamp is Need.IGNORE:
        fields.problem("ValueUnknown", "must be one of Required, Optional", "timestamp")
    fields.close()
    return authority


def _source(fields: Fields) -> EvidenceSource:
    secret = fields.node("pullSecretRef")
    source = EvidenceSource(
        repository=fields.text("repository", required=True),
        pull_secret=secret.text("name", required=fields.has("pullSecretRef")),
    )
    secret.close()
    fields.close()
    return source


def _keyless(fields: Fields) -> KeylessAuthority:
    reference = fields.node("trustRootRef")
    default = KeylessAuthority(identities=()).trust_root
    authority = KeylessAuthority(
        identities=tuple(_identity(node) for node in fields.nodes("identities")),
        trust_root=reference.text("name", default),
        certificate_log=fields.choice("signedCertificateTimestamp", Need.REQUIRED),
    )
    if authority.certificate_log is Need.OPTIONAL:
        fields.problem("ValueUnknown", "must be one of Required, Ignore", "signedCertificateTimestamp")
    reference.close()
    fields.close()
    return authority


def _identity(fields: Fields) -> Identity:
    identity = Identity(
        issuer=fields.optional_text("issuer"),
        issuer_reg_exp=fields.optional_text("issuerRegExp"),
        subject=fields.optional_text("subject"),
        subject_reg_exp=fields.optional_text("subjectRegExp"),
        claims=fields.map_of_texts("claims"),
    )
    fields.close()
    return identity


def _key(fields: Fields) -> KeyAuthority:
    pem, secret, trust_root = _own_or_root(fields, "pem")
    fields.close()
    return KeyAuthority(pem, trust_root, secret)


def _own_or_root(fields: Fields, name: str) -> tuple[str, KeyIn | None, str]:
    """What is trusted, as it stands in the field or in a Secret, and the trust root, whose it is without either."""
    secret = key_in(fields.node("secretRef")) if fields.has("secretRef") else None
    if secret is not None and fields.has(name):
        fields.problem("AuthorityMalformed", f"must have exactly one of {name} and secretRef; it has both")
    reference = fields.node("trustRootRef")
    from_root = fields.has("trustRootRef") and not fields.has(name)
    text = fields.text(name, required=secret is None and not from_root)
    trust_root = reference.text("name", KeyAuthority("").trust_root)
    reference.close()
    return text, secret, trust_root


def _certificate(fields: Fields) -> CertificateAuthority:
    chain, secret, trust_root = _own_or_root(fields, "chain")
    authority = CertificateAuthority(
        chain=chain,
        identities=tuple(_certificate_identity(node) for node in fields.nodes("identities")),
        extended_key_usages=tuple(dict.fromkeys(map(usage_oid, fields.texts("extendedKeyUsages")))) or (CODE_SIGNING,),
        trust_root=trust_root,
        secret=secret,
    )
    fields.close()
    return authority


def _certificate_identity(fields: Fields) -> CertificateIdentity:
    identity = CertificateIdentity(
        subject=fields.optional_text("subject"), subject_reg_exp=fields.optional_text("subjectRegExp")
    )
    fields.close()
    return identity


def _signatures(fields: Fields) -> SignatureRequirement:
    requirement = SignatureRequirement(
        authorities=tuple(dict.fromkeys(fields.texts("authorities"))),
        minimum=fields.integer("minimum", 1, minimum=1),
        distinct=fields.choice("distinct", Distinct.SIGNER),
    )
    fields.close()
    return requirement


def _attestation(fields: Fields) -> AttestationRequirement:
    requirement = AttestationRequirement(
        name=_named(fields),
        type=fields.text("type", required=True),
        authorities=tuple(dict.fromkeys(fields.texts("authorities"))),
        minimum=fields.integer("minimum", 1, minimum=1),
    )
    fields.close()
    return requirement


def _audit_annotation(fields: Fields) -> AuditAnnotation:
    annotation = AuditAnnotation(
        key=_named(fields, field="key"), value_expression=fields.text("valueExpression", required=True)
    )
    fields.close()
    return annotation


def _validation(fields: Fields) -> Validation:
    validation = Validation(
        expression=fields.text("expression", required=True),
        message=fields.text("message"),
        message_expression=fields.text("messageExpression"),
        reason=fields.text("reason", "RuleViolated"),
    )
    if not _REASON.fullmatch(validation.reason):
        fields.problem("NameMalformed", "must be a CamelCase word such as VulnerableComponent", "reason")
    fields.close()
    return validation
