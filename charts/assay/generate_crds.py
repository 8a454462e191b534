#!/usr/bin/env python3
"""Writes `crds/*.yaml`: the one source of Assay's API.

ClusterEvidencePolicy and EvidencePolicy share one spec, selectors and references recur, and every field needs its
text, its bound and its rule beside each other; YAML has no means to say a thing once. Run it after a change
(`python charts/assay/generate_crds.py`); a test compares its output with the files and its defaults with
`controller.model.policy`.

Two rules of the house: each list, map and string has an upper bound (the API server prices validation rules by them,
and guarantee 10 wants every input bounded), and each field has a text (`kubectl explain`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import yaml

GROUP = "assay.dev"
VERSION = "v1alpha1"
Schema = dict[str, Any]

# Bounds, by what they bound. The expression bound is `policy_cel_max_length`'s default.
MAX_NAME = 253
MAX_LABEL = 63
MAX_EXPRESSION = 10_000
MAX_PATTERN = 512
MAX_PEM = 65_536
MAX_TRUSTED_ROOT = 524_288
MAX_AUTHORITIES = 32
MAX_IMAGES = 64
MAX_RULES = 64

NAME = "^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
IDENTIFIER = "^[A-Za-z_][A-Za-z0-9_]*$"  # CEL's


def text(description: str, *, longest: int, shortest: int = 0, **more: Any) -> Schema:
    """A string of bounded length. `more`: pattern, enum, default, format."""
    bounds = {"minLength": shortest} if shortest else {}
    return {"type": "string", "description": description, **bounds, "maxLength": longest, **more}


def choice(description: str, *words: str, default: str | None = None) -> Schema:
    """One of the words."""
    schema: Schema = {"type": "string", "description": description, "enum": list(words)}
    return schema if default is None else {**schema, "default": default}


def number(description: str, *, least: int, most: int, default: int | None = None) -> Schema:
    """A whole number."""
    schema: Schema = {"type": "integer", "description": description, "minimum": least, "maximum": most}
    return schema if default is None else {**schema, "default": default}


def listing(description: str, items: Schema, *, most: int, least: int = 0, key: str = "", **more: Any) -> Schema:
    """A bounded list. With `key` a list of objects that is unique by that field; `kind="set"` a set of scalars."""
    schema: Schema = {"type": "array", "description": description, "items": items}
    if least:
        schema["minItems"] = least
    schema["maxItems"] = most
    if key:
        schema |= {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}
    else:
        schema["x-kubernetes-list-type"] = more.pop("kind", "atomic")
    return {**schema, **more}


def words(description: str, *, most: int, longest: int = MAX_NAME) -> Schema:
    """A map of strings. (The API server has no bound for a map's keys beside their number.)"""
    return {
        "type": "object",
        "description": description,
        "maxProperties": most,
        "additionalProperties": {"type": "string", "maxLength": longest},
    }


def record(
    description: str, properties: dict[str, Schema], *, required: tuple[str, ...] = (), rules: tuple[Schema, ...] = ()
) -> Schema:
    """An object. `rules` are its x-kubernetes-validations."""
    schema: Schema = {"type": "object", "description": description}
    if required:
        schema["required"] = list(required)
    schema["properties"] = properties
    if rules:
        schema["x-kubernetes-validations"] = list(rules)
    return schema


def rule(expression: str, message: str, **more: str) -> Schema:
    """One validation rule of the API server (CEL), with the sentence that the author reads."""
    return {"rule": expression, "message": message, **more}


def exactly_one(*fields: str) -> Schema:
    """The rule that exactly one of the fields is set."""
    count = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    return rule(f"{count} == 1", f"exactly one of {', '.join(fields)} must be set")


def name(description: str, *, longest: int = MAX_LABEL) -> Schema:
    """A name within a policy: what messages call the thing."""
    return text(description, shortest=1, longest=longest, pattern=NAME)


def named(description: str, *, default: str | None = None) -> Schema:
    """A reference to an object by its name."""
    schema = record(
        description,
        {
            "name": text(
                "Name of the object.", shortest=1, longest=MAX_NAME, **({} if default is None else {"default": default})
            )
        },
        **({"required": ("name",)} if default is None else {}),
    )
    return schema if default is None else {**schema, "default": {}}


def key_in(description: str, *, what: str) -> Schema:
    """A reference to one key of a Secret or ConfigMap."""
    return record(
        description,
        {
            "name": text(f"Name of the {what}.", shortest=1, longest=MAX_NAME),
            "key": text(f"Key in the {what}'s data.", shortest=1, longest=MAX_NAME),
        },
        required=("name", "key"),
    )


WHOSE_SECRETS = "A ClusterEvidencePolicy reads secrets in Assay's namespace only, an EvidencePolicy in its own only."
RE2 = "RE2, must match the whole string."


def selector(description: str) -> Schema:
    """A Kubernetes label selector."""
    requirement = record(
        "One requirement on a label.",
        {
            "key": text("The label's key.", shortest=1, longest=317),
            "operator": choice("How the values are compared.", "In", "NotIn", "Exists", "DoesNotExist"),
            "values": listing(
                "Values for In and NotIn; none for Exists and DoesNotExist.",
                {"type": "string", "maxLength": MAX_LABEL},
                most=64,
            ),
        },
        required=("key", "operator"),
        rules=(
            rule(
                "self.operator in ['In', 'NotIn'] == (has(self.values) && size(self.values) > 0)",
                "values must be given for In and NotIn, and only for these",
                fieldPath=".values",
            ),
        ),
    )
    return record(
        description,
        {
            "matchLabels": words("Labels that must have exactly these values.", most=64, longest=MAX_LABEL),
            "matchExpressions": listing("Requirements that must all hold.", requirement, most=64),
        },
    ) | {"x-kubernetes-map-type": "atomic"}


def expressions(description: str, item: str, *, pattern: str = NAME, most: int = MAX_RULES) -> Schema:
    """A list of named CEL expressions."""
    return listing(
        description,
        record(
            item,
            {
                "name": text(
                    "Name, as messages and other expressions use it.", shortest=1, longest=MAX_LABEL, pattern=pattern
                ),
                "expression": text("CEL expression.", shortest=1, longest=MAX_EXPRESSION),
            },
            required=("name", "expression"),
        ),
        most=most,
        key="name",
    )


def authority_names(description: str) -> Schema:
    """A non-empty set of the policy's own authorities."""
    return listing(
        description,
        {"type": "string", "minLength": 1, "maxLength": MAX_LABEL},
        least=1,
        most=MAX_AUTHORITIES,
        kind="set",
    )


MATCH = record(
    "Which images of which objects the policy is about. All parts must hold; nothing given matches everything.",
    {
        "images": listing(
            "Patterns over registry/repository, never tag or digest: * within one path component, ** across "
            "components. A matching pattern that begins with ! always excludes. Default: all images.",
            text("A pattern, such as ghcr.io/acme/** or !ghcr.io/acme/sandbox/**.", shortest=1, longest=MAX_PATTERN),
            most=MAX_IMAGES,
        ),
        "namespaceSelector": selector("Namespaces by their labels. Empty: all."),
        "objectSelector": selector(
            "Objects by their labels. What the pod's author wrote: do not let a Deny rest on it. Empty: all."
        ),
        "conditions": expressions(
            "CEL over the request and the object that must be true for the policy to apply. They need no registry. "
            "A condition that fails to evaluate is an Error, never 'unmatched'.",
            "One condition.",
        ),
    },
) | {"default": {}}

IDENTITY = record(
    "A certificate identity; all fields given must hold.",
    {
        "issuer": text("OIDC issuer, exactly.", shortest=1, longest=2048),
        "issuerRegExp": text(f"OIDC issuer as a regular expression: {RE2}", shortest=1, longest=2048),
        "subject": text("Subject alternative name, exactly.", shortest=1, longest=2048),
        "subjectRegExp": text(f"Subject alternative name as a regular expression: {RE2}", shortest=1, longest=2048),
        "claims": words(
            "Fulcio's certificate extensions by name (sourceRepositoryURI, sourceRepositoryRef, buildSignerURI, "
            "runnerEnvironment, …), each exactly.",
            most=32,
            longest=2048,
        ),
    },
    rules=(exactly_one("issuer", "issuerRegExp"), exactly_one("subject", "subjectRegExp")),
)

KEYLESS = record(
    "Short-lived certificates of a Sigstore instance.",
    {
        "identities": listing("Any one of these identities suffices.", IDENTITY, least=1, most=64),
        "trustRootRef": named("The TrustRoot that certificates and logs are checked against.", default="public-good"),
        "signedCertificateTimestamp": choice(
            "Whether the certificate must prove that it is in a certificate transparency log. Default: Required.",
            "Required",
            "Ignore",
        ),
    },
    required=("identities",),
)


def own_or_root(own: str) -> tuple[Schema, Schema]:
    """The rules that what is trusted is given here, or referred to, or a trust root's."""
    return (
        rule(f"!(has(self.{own}) && has(self.secretRef))", f"at most one of {own} and secretRef may be set"),
        rule(
            f"has(self.{own}) || has(self.secretRef) || has(self.trustRootRef)",
            f"one of {own}, secretRef and trustRootRef must be set",
        ),
    )


WHOSE_LOGS = "The TrustRoot whose logs and timestamps are believed. Default: public-good."

KEY = record(
    "Public keys, any of which suffices: ECDSA, Ed25519 or RSA. Without pem and secretRef, those of the trust root.",
    {
        "pem": text(
            "Public key, PEM (SubjectPublicKeyInfo). Several keys may follow one another; any one suffices.",
            shortest=1,
            longest=MAX_PEM,
        ),
        "trustRootRef": named(f"{WHOSE_LOGS} Without pem and secretRef, also the one whose publicKeys count."),
        "secretRef": key_in(f"The keys in a Secret. {WHOSE_SECRETS}", what="Secret"),
    },
    rules=own_or_root("pem"),
)

CERTIFICATE = record(
    "Certificates of an own certificate authority. Without chain and secretRef, one of the trust root's.",
    {
        "chain": text("CA certificates, PEM, intermediates first, root last.", shortest=1, longest=MAX_PEM),
        "secretRef": key_in(f"The CA certificates in a Secret. {WHOSE_SECRETS}", what="Secret"),
        "trustRootRef": named(
            f"{WHOSE_LOGS} Without chain and secretRef, also the one whose certificateAuthorities count."
        ),
        "identities": listing(
            "Any one of these suffices.",
            record(
                "What the signing certificate must say.",
                {
                    "subject": text("Subject alternative name, exactly.", shortest=1, longest=2048),
                    "subjectRegExp": text(f"Subject alternative name: {RE2}", shortest=1, longest=2048),
                },
                rules=(exactly_one("subject", "subjectRegExp"),),
            ),
            least=1,
            most=64,
        ),
        "extendedKeyUsages": listing(
            "Extended key usages that the certificate must all have, by name (codeSigning) or dotted number.",
            {"type": "string", "minLength": 1, "maxLength": 128},
            most=16,
            kind="set",
            default=["codeSigning"],
        ),
    },
    required=("identities",),
    rules=own_or_root("chain"),
)

AUTHORITY = record(
    "Somebody who may sign: exactly one of keyless, key, certificate, kms and notation.",
    {
        "name": name("Name, as signatures, attestations and messages use it."),
        "keyless": KEYLESS,
        "key": KEY,
        "certificate": CERTIFICATE,
        "kms": record(
            "A key in a key management service.",
            {
                "uri": text(
                    "Key URI, such as awskms:///alias/release.",
                    shortest=1,
                    longest=2048,
                    pattern="^[a-z]+kms://.+|^hashivault://.+",
                )
            },
            required=("uri",),
        ),
        "notation": record(
            "Notary Project signatures.",
            {
                "trustRootRef": named("A TrustRoot with certificateAuthorities."),
                "identities": listing(
                    "Trusted identities, such as x509.subject: C=DE, O=Acme.",
                    {"type": "string", "minLength": 1, "maxLength": 2048},
                    least=1,
                    most=64,
                ),
            },
            required=("trustRootRef", "identities"),
        ),
        "transparencyLog": choice(
            "Whether the signature must be in a transparency log. Optional: absent is fine, present and wrong is not.",
            "Required",
            "Optional",
            "Ignore",
            default="Required",
        ),
        "timestamp": choice(
            "Whether an RFC 3161 timestamp is needed. Optional: absent is fine, present and wrong is not.",
            "Required",
            "Optional",
            default="Optional",
        ),
        "source": record(
            "Where this authority's evidence lies, if not beside the image.",
            {
                "repository": text("registry/repository that holds the evidence.", shortest=1, longest=MAX_PATTERN),
                "pullSecretRef": named(f"A kubernetes.io/dockerconfigjson Secret to read it with. {WHOSE_SECRETS}"),
            },
            required=("repository",),
        ),
    },
    required=("name",),
    rules=(
        exactly_one("keyless", "key", "certificate", "kms", "notation"),
        rule(
            "!has(self.keyless) || self.transparencyLog == 'Required' || self.timestamp == 'Required'",
            "a keyless authority needs a trusted time: transparencyLog or timestamp must be Required",
            fieldPath=".transparencyLog",
        ),
    ),
)

SIGNATURES = record(
    "Signatures of the image itself. An attestation is not a signature.",
    {
        "minimum": number("How many are needed.", least=1, most=MAX_AUTHORITIES, default=1),
        "authorities": authority_names("Who may give them: names of this policy's authorities."),
        "distinct": choice(
            "What is counted: different signers (one key or identity counts once, however many authorities it "
            "satisfies) or different authorities.",
            "Authority",
            "Signer",
            default="Signer",
        ),
    },
    required=("authorities",),
    rules=(
        rule(
            "self.distinct != 'Authority' || self.minimum <= size(self.authorities)",
            "minimum is above the number of authorities, so nothing could satisfy it",
            fieldPath=".minimum",
        ),
    ),
)

ATTESTATION = record(
    "Attestations of one type that the image must have.",
    {
        "name": name("Name, as expressions and messages use it."),
        "type": text(
            "SBOM (SPDX or CycloneDX), SPDX, CycloneDX, SLSAProvenance, Vulnerability, OpenVEX, VSA, or an in-toto "
            "predicate type URI.",
            shortest=1,
            longest=2048,
            pattern=r"^(SBOM|SPDX|CycloneDX|SLSAProvenance|Vulnerability|OpenVEX|VSA|[A-Za-z][A-Za-z0-9+.-]*:.+)$",
        ),
        "authorities": authority_names("Who may give them: names of this policy's authorities."),
        "minimum": number("How many are needed.", least=1, most=MAX_AUTHORITIES, default=1),
    },
    required=("name", "type", "authorities"),
)

VALIDATION = record(
    "A rule over verified evidence that must be true.",
    {
        "expression": text("CEL expression that gives true or false.", shortest=1, longest=MAX_EXPRESSION),
        "message": text("What a violation is called. Default: the expression.", longest=2048),
        "messageExpression": text(
            "CEL expression that gives the message; if it fails, message is used.", longest=MAX_EXPRESSION
        ),
        "reason": text(
            "Reason code, CamelCase.",
            shortest=1,
            longest=MAX_LABEL,
            pattern="^[A-Z][A-Za-z0-9]*$",
            default="RuleViolated",
        ),
    },
    required=("expression",),
)

POLICY_SPEC = record(
    "What is demanded of which images.",
    {
        "match": MATCH,
        "validationActions": listing(
            "What becomes of an image that does not satisfy the policy: Deny refuses the object, Warn tells the user, "
            "Audit records only.",
            choice("An action.", "Deny", "Warn", "Audit"),
            least=1,
            most=3,
            kind="set",
            default=["Deny"],
        ),
        "failurePolicy": choice(
            "What becomes of an image whose evidence cannot be asked for now. Ignore covers only a registry or trust "
            "root that is away, never bad evidence, and only with patterns that name their registry hosts.",
            "Fail",
            "Ignore",
            default="Fail",
        ),
        "digest": choice(
            "What becomes of tags: Pin rewrites a pod's image to repository:tag@digest, Require refuses an image "
            "without a digest, Resolve leaves the tag as it is (Warn and Audit only).",
            "Pin",
            "Require",
            "Resolve",
            default="Pin",
        ),
        "platforms": choice(
            "Of which manifests of a multi-platform image evidence is demanded: the Index (which binds its children), "
            "Each child, or those that the cluster's Nodes run.",
            "Index",
            "Each",
            "Nodes",
            default="Index",
        ),
        "cryptography": choice(
            "Which algorithms count. FIPS: those that FIPS 186-5 and FIPS 180-4 approve, and none else.",
            "Default",
            "FIPS",
            default="Default",
        ),
        "grace": text(
            "For how long evidence seen before counts while the registry is away, at most ASSAY_GRACE; 0s forbids it.",
            longest=16,
            pattern="^[0-9]+(ms|s|m|h|d)$",
        ),
        "authorities": listing("Who may sign.", AUTHORITY, most=MAX_AUTHORITIES, key="name"),
        "signatures": SIGNATURES,
        "attestations": listing("Attestations that the image must have.", ATTESTATION, most=32, key="name"),
        "variables": expressions(
            "CEL expressions that others may use as variables.NAME.", "One variable.", pattern=IDENTIFIER
        ),
        "validations": listing("Rules over verified evidence; all must be true.", VALIDATION, most=MAX_RULES),
        "auditAnnotations": listing(
            "Annotations for the API server's audit log, whatever the verdict. In it a key has the webhook's name, a "
            "slash, and the policy's name with one underscore (of an EvidencePolicy two) before it.",
            record(
                "One annotation.",
                {
                    "key": name("The annotation's key; with the policy's name at most 63.", longest=MAX_LABEL),
                    "valueExpression": text(
                        "CEL expression that gives a string, or null for none. Of several images the distinct values "
                        "are joined. One that fails makes the policy an Error.",
                        shortest=1,
                        longest=MAX_EXPRESSION,
                    ),
                },
                required=("key", "valueExpression"),
            ),
            most=20,
            key="key",
        ),
    },
    rules=(
        rule(
            "!('Deny' in self.validationActions || 'Warn' in self.validationActions) || has(self.signatures) || "
            "(has(self.attestations) && size(self.attestations) > 0) || "
            "(has(self.validations) && size(self.validations) > 0)",
            "nothing is demanded: give signatures, attestations or validations",
        ),
        rule(
            "self.digest != 'Resolve' || !('Deny' in self.validationActions)",
            "digest Resolve cannot be combined with Deny: the tag could move after the verdict",
            fieldPath=".digest",
        ),
        rule(
            "self.failurePolicy != 'Ignore' || (has(self.match.images) && "
            "self.match.images.exists(p, !p.startsWith('!')) && "
            "self.match.images.all(p, p.startsWith('!') || p.matches('^[^/*]+/.')))",
            "failurePolicy Ignore needs match.images that name their registry hosts, such as ghcr.io/acme/**",
            fieldPath=".failurePolicy",
        ),
        rule(
            "!has(self.signatures) || self.signatures.authorities.all(a, "
            "has(self.authorities) && self.authorities.exists(x, x.name == a))",
            "signatures.authorities names an authority that is not in authorities",
            fieldPath=".signatures.authorities",
        ),
        rule(
            "!has(self.attestations) || self.attestations.all(t, t.authorities.all(a, "
            "has(self.authorities) && self.authorities.exists(x, x.name == a)))",
            "an attestation's authorities name an authority that is not in authorities",
            fieldPath=".attestations",
        ),
    ),
)

CONDITION = record(
    "One condition, as Kubernetes' own.",
    {
        "type": text("Accepted, Compiled or Ready.", shortest=1, longest=316),
        "status": choice("Whether it holds.", "True", "False", "Unknown"),
        "reason": text("Reason code, CamelCase.", shortest=1, longest=1024),
        "message": text("Field, cause and fix, for people.", longest=32_768),
        "observedGeneration": {
            "type": "integer",
            "format": "int64",
            "minimum": 0,
            "description": "The metadata.generation that the condition is about.",
        },
        "lastTransitionTime": {
            "type": "string",
            "format": "date-time",
            "description": "When status last changed.",
        },
    },
    required=("type", "status", "reason", "message", "lastTransitionTime"),
)


def status(**more: Schema) -> Schema:
    """What Assay says of the object."""
    return record(
        "What Assay says of the object. Written by the operator alone.",
        {
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "minimum": 0,
                "description": "The metadata.generation that the status is about.",
            },
            "conditions": listing(
                "Accepted: the object is well-formed and supported. Compiled: its expressions compile. Ready: it is "
                "in force as written. An object that is not Ready stays in force and gives an Error.",
                CONDITION,
                most=8,
                key="type",
            ),
            **more,
        },
    )


POLICY_STATUS = status(
    hash=text("SHA-256 of the canonical spec (RFC 8785): the policy version in the inventory.", longest=80),
    deniedLastHour=number(
        "How many different images it denied in the last hour, as of a minute ago at most.", least=0, most=2**31 - 1
    ),
)

EXCEPTION_SPEC = record(
    "What is excepted from which policies, where, why, by whom and until when.",
    {
        "policies": listing(
            "The policies that do not bind what is named here.",
            record(
                "One policy.",
                {
                    "kind": choice(
                        "The policy's kind.",
                        "ClusterEvidencePolicy",
                        "EvidencePolicy",
                        default="ClusterEvidencePolicy",
                    ),
                    "namespace": text("An EvidencePolicy's namespace.", longest=MAX_LABEL),
                    "name": text("The policy's name.", shortest=1, longest=MAX_NAME),
                },
                required=("name",),
                rules=(
                    rule(
                        "(self.kind == 'EvidencePolicy') == has(self.namespace)",
                        "namespace must be given for an EvidencePolicy, and only for one",
                        fieldPath=".namespace",
                    ),
                ),
            ),
            least=1,
            most=64,
        ),
        "images": listing(
            "Image patterns, as in a policy's match.images: these images, whatever their evidence. At least one is "
            "without !.",
            {"type": "string", "minLength": 1, "maxLength": MAX_PATTERN},
            most=MAX_IMAGES,
        ),
        "digests": listing(
            "Exact images, by the digest that will run. An image is meant if one of images or one of digests names it.",
            {"type": "string", "maxLength": 71, "pattern": "^sha256:[0-9a-f]{64}$"},
            most=MAX_IMAGES,
            kind="set",
        ),
        "namespaces": listing(
            "Namespaces by name in which it holds. None: all.",
            {"type": "string", "minLength": 1, "maxLength": MAX_LABEL},
            most=64,
            kind="set",
        ),
        "reason": text("Why, for the auditor.", shortest=1, longest=4096),
        "approver": text(
            "Who approved it. Stamped from the request's own user; any other value is refused.", longest=1024
        ),
        "approvedAt": {
            "type": "string",
            "format": "date-time",
            "description": "When it was approved. Stamped with approver, and the time from which its end is measured.",
        },
        "expires": {
            "type": "string",
            "format": "date-time",
            "description": "When it ends, RFC 3339: at most the configured maximum after its approval, or four hours "
            "for break-glass. Later than that it excepts nothing.",
        },
        "breakGlass": {
            "type": "boolean",
            "description": "An emergency: recorded loudly; needs the verb break-glass, namespaces and digests, and "
            "names no images.",
            "default": False,
        },
    },
    required=("policies", "reason", "expires"),
    rules=(
        rule(
            "(has(self.images) && size(self.images) > 0) || (has(self.digests) && size(self.digests) > 0)",
            "name what is excepted: images or digests",
        ),
        rule(
            "!has(self.images) || size(self.images) == 0 || self.images.exists(image, !image.startsWith('!'))",
            "images must name what is meant: at least one pattern without !",
            fieldPath=".images",
        ),
        rule(
            "!self.breakGlass || (has(self.namespaces) && size(self.namespaces) > 0 && has(self.digests) && "
            "size(self.digests) > 0 && !(has(self.images) && size(self.images) > 0))",
            "breakGlass needs namespaces and digests, and no images",
            fieldPath=".breakGlass",
        ),
    ),
)

VALIDITY = record(
    "When it was valid; a signature made outside does not count.",
    {
        "from": {"type": "string", "format": "date-time", "description": "First moment, RFC 3339."},
        "until": {"type": "string", "format": "date-time", "description": "Last moment, RFC 3339. None: still valid."},
    },
)

TRUST_ROOT_SPEC = record(
    "What certificates, logs and keys are checked against: a TrustedRoot document from one source, and own parts.",
    {
        "trustedRoot": text(
            "A Sigstore TrustedRoot document (protobuf-specs JSON) as text.", shortest=2, longest=MAX_TRUSTED_ROOT
        ),
        "secretRef": key_in("A TrustedRoot document in a Secret in Assay's namespace.", what="Secret"),
        "configMapRef": key_in("A TrustedRoot document in a ConfigMap in Assay's namespace.", what="ConfigMap"),
        "tuf": record(
            "A TUF repository that distributes a TrustedRoot document. Refreshed in the background, never on the "
            "admission path.",
            {
                "url": text("The repository's metadata URL.", shortest=1, longest=2048, pattern="^https://.+"),
                "root": text("The pinned root.json, as text.", shortest=2, longest=MAX_TRUSTED_ROOT),
                "target": text("The document's target path.", shortest=1, longest=1024, default="trusted_root.json"),
                "refresh": text("How often it is refreshed.", longest=16, pattern="^[0-9]+(s|m|h|d)$", default="24h"),
                "maxStale": text(
                    "For how long the last good document counts once its metadata expired.",
                    longest=16,
                    pattern="^[0-9]+(s|m|h|d)$",
                    default="14d",
                ),
            },
            required=("url", "root"),
        ),
        "certificateAuthorities": listing(
            "Own certificate authorities.",
            record(
                "One certificate chain.",
                {
                    "chain": text("CA certificates, PEM, root last.", shortest=1, longest=MAX_PEM),
                    "validity": VALIDITY,
                },
                required=("chain",),
            ),
            least=1,
            most=32,
        ),
        "publicKeys": listing(
            "Own keys.",
            record(
                "One key.",
                {
                    "pem": text("Public key, PEM (SubjectPublicKeyInfo).", shortest=1, longest=MAX_PEM),
                    "validity": VALIDITY,
                },
                required=("pem",),
            ),
            least=1,
            most=32,
        ),
    },
    rules=(
        rule(
            " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in ("trustedRoot", "secretRef", "configMapRef", "tuf"))
            + " <= 1",
            "at most one of trustedRoot, secretRef, configMapRef, tuf may be set",
        ),
        rule(
            " || ".join(
                f"has(self.{name})"
                for name in ("trustedRoot", "secretRef", "configMapRef", "tuf", "certificateAuthorities", "publicKeys")
            ),
            "one of trustedRoot, secretRef, configMapRef, tuf, certificateAuthorities and publicKeys must be set",
        ),
    ),
)

TRUST_ROOT_STATUS = status(
    hash=text("SHA-256 of the document in use.", longest=80),
    refreshedAt={"type": "string", "format": "date-time", "description": "When the document was last refreshed."},
)


def column(title: str, kind: str, path: str, **more: Any) -> Schema:
    """What `kubectl get` prints."""
    return {"name": title, "type": kind, "jsonPath": path, **more}


READY = column("Ready", "string", ".status.conditions[?(@.type=='Ready')].status")
WHY = column("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason")
DENIED = column(
    "Denied-1h",
    "integer",
    ".status.deniedLastHour",
    description="How many different images the policy denied in the last hour.",
)
AGE = column("Age", "date", ".metadata.creationTimestamp")


def key_rule(separator: str) -> Schema:
    """That the API server takes each audit annotation's key: see `controller.policy.audit`."""
    return rule(
        "!has(self.spec.auditAnnotations) || self.spec.auditAnnotations.all(a, "
        f"size(self.metadata.name) + size(a.key) <= {MAX_LABEL - len(separator)})",
        "the policy's name and the key of an audit annotation are too long together for the API server: "
        f"at most {MAX_LABEL - len(separator)} characters",
        fieldPath=".spec.auditAnnotations",
    )


ACTIONS = column("Actions", "string", ".spec.validationActions")
DIGEST = column("Digest", "string", ".spec.digest", priority=1)


def definition(
    *,
    kind: str,
    plural: str,
    short: str,
    scope: str,
    description: str,
    spec: Schema,
    state: Schema,
    columns: list[Schema],
    rules: tuple[Schema, ...] = (),
) -> Schema:
    """A CustomResourceDefinition."""
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["assay"],
            },
            "scope": scope,
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": columns,
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": description,
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string", "description": "The schema's group and version."},
                                "kind": {"type": "string", "description": "The kind of the object."},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": state,
                            },
                            **({"x-kubernetes-validations": list(rules)} if rules else {}),
                        }
                    },
                }
            ],
        },
    }


def definitions() -> dict[str, Schema]:
    """All four CRDs by file name."""
    return {
        "clusterevidencepolicies.yaml": definition(
            kind="ClusterEvidencePolicy",
            plural="clusterevidencepolicies",
            short="cevp",
            scope="Cluster",
            description="What evidence images need, in the whole cluster.",
            spec=POLICY_SPEC,
            state=POLICY_STATUS,
            columns=[ACTIONS, DIGEST, READY, WHY, DENIED, AGE],
            rules=(key_rule("_"),),
        ),
        "evidencepolicies.yaml": definition(
            kind="EvidencePolicy",
            plural="evidencepolicies",
            short="evp",
            scope="Namespaced",
            description="What evidence images need, in one namespace. It can only add to what the cluster demands.",
            spec=POLICY_SPEC,
            state=POLICY_STATUS,
            columns=[ACTIONS, DIGEST, READY, WHY, DENIED, AGE],
            rules=(key_rule("__"),),
        ),
        "evidenceexceptions.yaml": definition(
            kind="EvidenceException",
            plural="evidenceexceptions",
            short="evx",
            scope="Cluster",
            description="A recorded exception from policies, with a reason, an approver and an end.",
            spec=EXCEPTION_SPEC,
            state=status(),
            columns=[
                column("Approver", "string", ".spec.approver"),
                column("Expires", "string", ".spec.expires"),
                column("Break-Glass", "boolean", ".spec.breakGlass", priority=1),
                READY,
                WHY,
                AGE,
            ],
        ),
        "trustroots.yaml": definition(
            kind="TrustRoot",
            plural="trustroots",
            short="troot",
            scope="Cluster",
            description="A root of trust under a name: a Sigstore TrustedRoot, a TUF repository, or own CAs and keys.",
            spec=TRUST_ROOT_SPEC,
            state=TRUST_ROOT_STATUS,
            columns=[
                READY,
                WHY,
                column("Refreshed", "date", ".status.refreshedAt"),
                column("Hash", "string", ".status.hash", priority=1),
                AGE,
            ],
        ),
    }


class _Dumper(yaml.SafeDumper):
    """No anchors: the same schema twice is written twice, as every reader of CRDs expects."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's signature
        return True


def render(crd: Schema) -> str:
    """The YAML text of a CRD."""
    body = yaml.dump(crd, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return f"# Written by charts/assay/generate_crds.py: change it there.\n{body}"


def main(arguments: list[str]) -> int:
    """Write all files beside this script; with `--check` write nothing, and fail when one is stale."""
    check = arguments == ["--check"]
    folder = Path(__file__).resolve().parent / "crds"
    stale = []
    for file, crd in definitions().items():
        path, content = folder / file, render(crd)
        if not path.exists() or path.read_text() != content:
            stale.append(file)
            if not check:
                path.write_text(content)
    if check and stale:
        sys.exit(f"stale: charts/assay/crds/{{{','.join(stale)}}}; run charts/assay/generate_crds.py")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
