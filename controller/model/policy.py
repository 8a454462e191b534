"""The custom resources' `spec` as frozen values: what `controller.policy.parse` makes of YAML or JSON.

Field names are those of the API in snake case; what each means is said in the CRD (charts/assay/crds) once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Action(StrEnum):
    """`validationActions`, in Kubernetes' own words."""

    DENY = "Deny"
    WARN = "Warn"
    AUDIT = "Audit"


class FailurePolicy(StrEnum):
    """What an evaluation that is Unavailable (and only that) comes to."""

    FAIL = "Fail"
    IGNORE = "Ignore"


class DigestMode(StrEnum):
    """How a tag is treated. Strictness grows from RESOLVE over PIN to REQUIRE; of several the strictest wins."""

    PIN = "Pin"
    REQUIRE = "Require"
    RESOLVE = "Resolve"


class Platforms(StrEnum):
    """Which manifests of an index need evidence."""

    INDEX = "Index"
    EACH = "Each"
    NODES = "Nodes"


class Need(StrEnum):
    """For `transparencyLog` and `timestamp`. OPTIONAL: absent is fine, present and wrong is not."""

    REQUIRED = "Required"
    OPTIONAL = "Optional"
    IGNORE = "Ignore"


class Cryptography(StrEnum):
    """Which algorithms count. FIPS: those that FIPS 186-5 and FIPS 180-4 approve, and none else."""

    DEFAULT = "Default"
    FIPS = "FIPS"


class Distinct(StrEnum):
    """What `signatures.minimum` counts."""

    AUTHORITY = "Authority"
    SIGNER = "Signer"


@dataclass(frozen=True, slots=True)
class Expression:
    """A named CEL expression (`conditions`, `variables`)."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class LabelRequirement:
    """One of a selector's `matchExpressions`. `operator`: In, NotIn, Exists, DoesNotExist."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A Kubernetes label selector; empty matches everything."""

    match_labels: tuple[tuple[str, str], ...] = ()
    match_expressions: tuple[LabelRequirement, ...] = ()


@dataclass(frozen=True, slots=True)
class Match:
    """Which images of which objects a policy is about. No `images` means all."""

    images: tuple[str, ...] = ()
    namespace_selector: LabelSelector = LabelSelector()
    object_selector: LabelSelector = LabelSelector()
    conditions: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate identity: all fields given must hold. Patterns are RE2 and match the whole string."""

    issuer: str | None = None
    issuer_reg_exp: str | None = None
    subject: str | None = None
    subject_reg_exp: str | None = None
    claims: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KeylessAuthority:
    """A short-lived certificate of a Sigstore instance; any one of the identities suffices. `trust_root` is a name.

    `certificate_log`: REQUIRED, or IGNORE: nothing is asked of the certificate's own log (its SCT).
    """

    identities: tuple[Identity, ...]
    trust_root: str = "public-good"
    certificate_log: Need = Need.REQUIRED


@dataclass(frozen=True, slots=True)
class KeyIn:
    """One key (entry) of a Secret or ConfigMap. Whose namespace is meant is never the author's choice."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class KeyAuthority:
    """Public keys, PEM (SubjectPublicKeyInfo), any of which suffices; without any, those of the trust root.

    `trust_root` names whose logs and timestamps are believed.

    With `secret` the keys lie in a Secret: the policy's hash is over that reference, and `pem` holds what it led to
    (empty until `controller.policy.resolving.resolve`).
    """

    pem: str
    trust_root: str = "public-good"
    secret: KeyIn | None = None


@dataclass(frozen=True, slots=True)
class CertificateIdentity:
    """The one subject alternative name of a certificate: exactly, or by an RE2 pattern of the whole string."""

    subject: str | None = None
    subject_reg_exp: str | None = None


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """Certificates of an own CA. `chain`: PEM, intermediates first, root last; empty: the CAs of the trust root.

    A certificate needs one of `identities` and all of `extended_key_usages` (dotted OIDs). `trust_root` names whose
    logs and timestamps are believed. With `secret` the chain lies in a Secret, as a key's PEM may.
    """

    chain: str
    identities: tuple[CertificateIdentity, ...]
    extended_key_usages: tuple[str, ...]
    trust_root: str = "public-good"
    secret: KeyIn | None = None


@dataclass(frozen=True, slots=True)
class EvidenceSource:
    """Another repository (`registry/repository`) in which an authority's evidence lies.

    `pull_secret` names a kubernetes.io/dockerconfigjson Secret to read it with, in `namespace` (which is the policy's,
    or Assay's own; empty until `controller.policy.resolving.resolve`). Without one, what the pod may use.
    """

    repository: str
    pull_secret: str = ""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Authority:
    """Somebody who may sign: exactly one of `keyless`, `key` and `certificate`."""

    name: str
    keyless: KeylessAuthority | None = None
    key: KeyAuthority | None = None
    certificate: CertificateAuthority | None = None
    transparency_log: Need = Need.REQUIRED
    timestamp: Need = Need.OPTIONAL
    source: EvidenceSource | None = None

    @property
    def kind(self) -> KeylessAuthority | KeyAuthority | CertificateAuthority | None:
        """The one of the three that it is."""
        return self.keyless or self.key or self.certificate


@dataclass(frozen=True, slots=True)
class SignatureRequirement:
    """At least `minimum` (≥ 1) signatures by these authorities, counted by `distinct`."""

    authorities: tuple[str, ...]
    minimum: int = 1
    distinct: Distinct = Distinct.SIGNER


@dataclass(frozen=True, slots=True)
class AttestationRequirement:
    """At least `minimum` (≥ 1) attestations of `type` by these authorities.

    `type` is one of the API's words (`SBOM`, `SPDX`, `CycloneDX`, …) or a predicate type URI.
    """

    name: str
    type: str
    authorities: tuple[str, ...]
    minimum: int = 1


@dataclass(frozen=True, slots=True)
class Validation:
    """A rule over verified evidence. True is required; any other value is an Error."""

    expression: str
    message: str = ""
    message_expression: str = ""
    reason: str = "RuleViolated"


@dataclass(frozen=True, slots=True)
class AuditAnnotation:
    """A value for the API server's audit log: CEL that gives a string, or null for none."""

    key: str
    value_expression: str


@dataclass(frozen=True, slots=True)
class PolicySpec:
    """The shared spec of ClusterEvidencePolicy and EvidencePolicy, defaults filled in.

    `grace`: the most that remembered evidence may be old, in seconds, while its registry is away; None: as the setting.
    """

    match: Match = Match()
    validation_actions: tuple[Action, ...] = (Action.DENY,)
    failure_policy: FailurePolicy = FailurePolicy.FAIL
    digest: DigestMode = DigestMode.PIN
    platforms: Platforms = Platforms.INDEX
    cryptography: Cryptography = Cryptography.DEFAULT
    authorities: tuple[Authority, ...] = ()
    signatures: SignatureRequirement | None = None
    attestations: tuple[AttestationRequirement, ...] = ()
    variables: tuple[Expression, ...] = ()
    validations: tuple[Validation, ...] = ()
    audit_annotations: tuple[AuditAnnotation, ...] = ()
    grace: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyIdentity:
    """Which policy, in which version. `hash` is the SHA-256 of the canonical spec (RFC 8785), defaults filled in.

    `namespace` is empty for a ClusterEvidencePolicy. Order is by kind, namespace and name: reasons are sorted by it.
    """

    kind: str
    namespace: str
    name: str
    hash: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}" if self.namespace else f"{self.kind}/{self.name}"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a policy: reason code, the field's path, and a sentence that says how to mend it.

    `excerpt`: the line of an expression that it is about, with a caret in the line below; empty for all else.
    """

    code: str
    field: str
    message: str
    excerpt: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy object as read. With `problems` it is *not accepted*: it stays in force and evaluates to Error.

    For a broken policy `spec` holds what could be read of match, actions, failure policy and digest, at their strictest
    where they could not: `match` everything, Deny, Fail, Pin. `unresolved` are references that lead to nothing usable:
    they make it evaluate to Error too, and are no part of its hash, since the policy itself is as it was.
    """

    identity: PolicyIdentity
    spec: PolicySpec
    problems: tuple[Problem, ...] = ()
    generation: int = 0
    unresolved: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnAuthority:
    """A certificate chain (PEM, root last) that a trust root believes for times within its window, both ends included.

    An end that is None is open.
    """

    chain: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OwnKey:
    """A public key (PEM) that a trust root believes for times within its window, both ends included."""

    pem: str
    valid_from: datetime | None = None
    valid_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class TrustRoot:
    """Whom to believe, under a name: a Sigstore TrustedRoot document, own authorities, own keys, or these together.

    `content` is the document (protobuf-specs JSON), or, with own parts, everything as canonical JSON and the document
    alone in `document`. `hash`: `sha256:<hex>` of `content`.
    With a `fault` there is nothing to judge by, and whatever needs it is an Error that says so; `content` is then the
    fault in words, so that the record shows why.
    """

    name: str
    content: bytes
    hash: str
    fault: Problem | None = None
    certificate_authorities: tuple[OwnAuthority, ...] = ()
    public_keys: tuple[OwnKey, ...] = ()
    document: bytes = b""

    @property
    def trusted_root(self) -> bytes:
        """The Sigstore TrustedRoot document; empty if there is none."""
        return self.document if self.certificate_authorities or self.public_keys else self.content


@dataclass(frozen=True, slots=True)
class TufRepository:
    """A TUF repository that distributes a TrustedRoot document. `root`: the pinned root.json; times are in seconds."""

    url: str
    root: str
    target: str = "trusted_root.json"
    refresh: float = 86_400.0
    max_stale: float = 14 * 86_400.0


@dataclass(frozen=True, slots=True)
class Namespace:
    """What policies select namespaces by, and what CEL sees as `namespaceObject`."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
