"""Mistakes that a policy's author makes, each with what he is told and how he mends it: one table for every way in.

The command line, the webhook and the real API server must all say the same. What the schema refuses already is not
here but in tests/e2e/test_crds.py.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from controller.model.reference import Reference
from controller.policy.advice import Installation
from controller.policy.lint import Surroundings
from tests.unit.policy import make

ASSAY_NAMESPACE = "assay-system"
ASSAY_IMAGE = "ghcr.io/assay-dev/assay:1"
Told = tuple[str, str, str, str, str]
"""Severity, code, field, message and excerpt."""


def error(code: str, field: str, message: str, excerpt: str = "") -> Told:
    """What refuses a policy."""
    return ("error", code, field, message, excerpt)


def caret(line: str, part: str) -> str:
    """The line of an expression with carets below the part that is meant."""
    return f"{line}\n{' ' * line.index(part)}{'^' * len(part)}"


def warning(code: str, field: str, message: str) -> Told:
    """What a policy is taken with."""
    return ("warning", code, field, message, "")


@dataclass(frozen=True)
class Mistake:
    """`spec` are the fields that are wrong, `mended` the same put right; `told` is everything that is said of it."""

    spec: dict[str, Any]
    told: tuple[Told, ...]
    mended: dict[str, Any] = field(default_factory=dict)
    namespace: str = ""

    def policy(self, name: str) -> dict[str, Any]:
        """The policy with the mistake."""
        return policy(name, namespace=self.namespace, **self.spec)

    def fixed(self, name: str) -> dict[str, Any]:
        """The policy without it."""
        namespace = "shop" if self.namespace and not self.mended else self.namespace
        return policy(name, namespace=namespace, **self.mended)

    @property
    def causes(self) -> list[dict[str, str]]:
        """What the API server tells of it, one by one."""
        return [
            {"reason": code, "field": field, "message": f"{message}\n{excerpt}".strip()}
            for severity, code, field, message, excerpt in self.told
            if severity == "error"
        ]

    def refusal(self, name: str) -> str:
        """What the API server tells of it at once."""
        told = [f"{cause['field']}: {cause['message']}" for cause in self.causes]
        listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
        return f'{self.policy(name)["kind"]}.assay.dev "{name}" is invalid: {listed}'

    @property
    def warnings(self) -> list[str]:
        """What it is taken with."""
        return [f"{field}: {message}" for severity, _, field, message, _ in self.told if severity == "warning"]

    @property
    def refused(self) -> bool:
        """Whether the policy is not taken."""
        return any(severity == "error" for severity, *_ in self.told)


def policy(name: str, *, namespace: str = "", **fields: Any) -> dict[str, Any]:
    """A policy by one key, good but for the fields."""
    base = {"match": {"images": ["ghcr.io/acme/**"]}, "authorities": [by_key("release")]}
    obj = make.resource(name, namespace=namespace, **copy.deepcopy(base | fields))
    del obj["metadata"]["generation"]
    return obj


def surroundings(**known: Any) -> Surroundings:
    """The surroundings in which the table is told."""
    return Surroundings(Installation(ASSAY_NAMESPACE, Reference.parse(ASSAY_IMAGE)), **known)


def by_key(name: str, **fields: Any) -> dict[str, Any]:
    """An authority that needs nothing besides its key."""
    return {"name": name, "key": {"pem": make.pem()}, "transparencyLog": "Ignore", **fields}


def keyless(**identity: Any) -> dict[str, Any]:
    """An authority of one keyless identity."""
    return {"name": "release", "keyless": {"identities": [{"issuer": "https://issuer.example", **identity}]}}


def rule(expression: str, **fields: Any) -> dict[str, Any]:
    """A policy's only validation."""
    return {"validations": [{"expression": expression, **fields}]}


SBOM = {"attestations": [{"name": "sbom", "type": "SBOM", "authorities": ["release"]}]}
RULE = "spec.validations[0].expression"

MISTAKES: dict[str, Mistake] = {
    "no CEL": Mistake(
        rule("size(signatures) >\n  > 0"),
        (error("ExpressionMalformed", RULE, "line 2, column 3: '>' is not expected here", caret("  > 0", ">")),),
        rule("size(signatures) >\n  0"),
    ),
    "an unknown name": Mistake(
        rule("size(signature) > 0"),
        (
            error(
                "NameUnknown",
                RULE,
                "line 1, column 6: there is no name 'signature' here; did you mean 'signatures'?",
                caret("size(signature) > 0", "signature"),
            ),
        ),
        rule("size(signatures) > 0"),
    ),
    "an unknown field": Mistake(
        rule("image.repo == 'acme/app'"),
        (
            error(
                "FieldUnknown",
                RULE,
                "line 1, column 7: there is no field 'repo' here",
                caret("image.repo == 'acme/app'", "repo"),
            ),
        ),
        rule("image.repository == 'acme/app'"),
    ),
    "an unknown function": Mistake(
        rule("image.repository.startWith('acme/')"),
        (
            error(
                "FunctionUnknown",
                RULE,
                "line 1, column 18: there is no such function 'startWith'; did you mean 'startsWith'?",
                caret("image.repository.startWith('acme/')", "startWith"),
            ),
        ),
        rule("image.repository.startsWith('acme/')"),
    ),
    "too many arguments": Mistake(
        rule("image.repository.startsWith('acme/', 'b')"),
        (
            error(
                "ArgumentCount",
                RULE,
                "line 1, column 18: startsWith takes 1 arguments, not 2",
                caret("image.repository.startsWith('acme/', 'b')", "startsWith"),
            ),
        ),
        rule("image.repository.startsWith('acme/')"),
    ),
    "a pattern in a rule that RE2 does not take": Mistake(
        rule("image.repository.matches('(?=a)')"),
        (
            error(
                "PatternMalformed",
                RULE,
                "line 1, column 26: the regular expression is no RE2 regular expression: invalid perl operator: (?=",
                caret("image.repository.matches('(?=a)')", "'(?=a)'"),
            ),
        ),
        rule("image.repository.matches('a')"),
    ),
    "evidence that is read and not required": Mistake(
        rule("size(sboms.find('pkg:npm/left-pad')) == 0"),
        (
            error(
                "EvidenceNotRequired",
                RULE,
                "line 1, column 6: sboms is read but not required: add an entry of type SBOM in spec.attestations, so "
                "that nothing passes without it",
                caret("size(sboms.find('pkg:npm/left-pad')) == 0", "sboms"),
            ),
        ),
        rule("size(sboms.find('pkg:npm/left-pad')) == 0") | SBOM,
    ),
    "a rule that is no boolean": Mistake(
        rule("size(image.repository)"),
        (
            error(
                "ExpressionNotBoolean",
                RULE,
                "line 1, column 1: the expression is no boolean but int",
                caret("size(image.repository)", "size(image.repository)"),
            ),
        ),
        rule("size(image.repository) > 0"),
    ),
    "a message that is no text": Mistake(
        rule("image.tag != 'latest'", messageExpression="size(image.tag)"),
        (
            error(
                "ExpressionNotString",
                "spec.validations[0].messageExpression",
                "line 1, column 1: the expression is no string but int",
                caret("size(image.tag)", "size(image.tag)"),
            ),
        ),
        rule("image.tag != 'latest'", messageExpression="'no ' + image.tag"),
    ),
    "a wrong type": Mistake(
        rule("image.repository > 3"),
        (
            error(
                "TypeMismatch", RULE, "line 1, column 18: there is no string > int", caret("image.repository > 3", ">")
            ),
        ),
        rule("size(image.repository) > 3"),
    ),
    "a wrong type of a variable": Mistake(
        rule("variables.repository > 3") | {"variables": [{"name": "repository", "expression": "image.repository"}]},
        (
            error(
                "TypeMismatch",
                RULE,
                "line 1, column 22: there is no string > int",
                caret("variables.repository > 3", ">"),
            ),
        ),
    ),
    "a size below nothing": Mistake(
        rule("size(image.repository) < 0 || size(signatures) < 0"),
        (
            error(
                "RuleNeverTrue",
                RULE,
                "is never true, whatever the image, so nothing could satisfy the policy; say what must hold, such as "
                "image.registry != 'docker.io'",
            ),
        ),
        rule("size(image.repository) > 0"),
    ),
    "a rule that is never true": Mistake(
        rule("size('') > 0"),
        (
            error(
                "RuleNeverTrue",
                RULE,
                "is never true, whatever the image, so nothing could satisfy the policy; say what must hold, such as "
                "image.registry != 'docker.io'",
            ),
        ),
        rule("size(image.repository) > 0"),
    ),
    "a rule that always fails": Mistake(
        rule("1 / 0 == 1"),
        (
            error(
                "RuleNeverTrue",
                RULE,
                "always fails, whatever the image, so nothing could satisfy the policy; say what must hold, such as "
                "image.registry != 'docker.io'",
            ),
        ),
        rule("size(image.repository) > 0"),
    ),
    "a rule that demands nothing": Mistake(
        rule("1 < 2"),
        (
            warning(
                "RuleAlwaysTrue",
                RULE,
                "is always true, whatever the image, so it demands nothing; remove it or say what must hold",
            ),
        ),
        rule("size(image.repository) > 0"),
    ),
    "a condition that always fails": Mistake(
        {"match": {"images": ["ghcr.io/acme/**"], "conditions": [{"name": "c", "expression": "1 / 0 == 1"}]}},
        (
            error(
                "ConditionFails",
                "spec.match.conditions[0].expression",
                "always fails, so every image would be an Error; say when the policy applies",
            ),
        ),
        {"match": {"images": ["ghcr.io/acme/**"]}},
    ),
    "a condition that is never true": Mistake(
        {"match": {"images": ["ghcr.io/acme/**"], "conditions": [{"name": "c", "expression": "false"}]}},
        (
            warning(
                "ConditionNeverTrue",
                "spec.match.conditions[0].expression",
                "is never true, so the policy applies to nothing",
            ),
        ),
    ),
    "an identity that RE2 does not take": Mistake(
        {"authorities": [keyless(subjectRegExp="(")]},
        (
            error(
                "PatternMalformed",
                "spec.authorities[0].keyless.identities[0].subjectRegExp",
                "is no RE2 regular expression: missing ): (",
            ),
        ),
    ),
    "a claim that no certificate has": Mistake(
        {"authorities": [keyless(subject="me", claims={"sourceRepository": "x"})]},
        (
            error(
                "ClaimUnknown",
                "spec.authorities[0].keyless.identities[0].claims",
                "'sourceRepository' is no claim of a Fulcio certificate; known are buildConfigDigest, buildConfigURI, "
                "buildSignerDigest, buildSignerURI, buildTrigger, deploymentEnvironment, runInvocationURI, "
                "runnerEnvironment, sourceRepositoryDigest, sourceRepositoryIdentifier, "
                "sourceRepositoryOwnerIdentifier, sourceRepositoryOwnerURI, sourceRepositoryRef, sourceRepositoryURI, "
                "sourceRepositoryVisibilityAtSigning",
            ),
        ),
    ),
    "a key that does not parse": Mistake(
        {"authorities": [by_key("release", key={"pem": "not a key"})]},
        (
            error(
                "KeyMalformed",
                "spec.authorities[0].key.pem",
                "is no PEM (-----BEGIN PUBLIC KEY-----), or has something beside it; expected a SubjectPublicKeyInfo",
            ),
        ),
    ),
    "a private key": Mistake(
        {"authorities": [by_key("release", key={"pem": "-----BEGIN PRIVATE KEY-----\nAAAA\n"})]},
        (
            error(
                "KeyMalformed",
                "spec.authorities[0].key.pem",
                "is a private key: put the public one here, and treat this one as disclosed",
            ),
        ),
    ),
    "more signers than there can be": Mistake(
        {"signatures": {"authorities": ["release"], "minimum": 2}},
        (
            error(
                "MinimumUnreachable",
                "spec.signatures.minimum",
                "asks for 2 where 1 authority can give 1 at most",
            ),
        ),
        {
            "authorities": [by_key("release"), by_key("security")],
            "signatures": {"authorities": ["release", "security"], "minimum": 2},
        },
    ),
    "an image pattern with a tag": Mistake(
        {"match": {"images": ["ghcr.io/acme/app:1"]}},
        (
            error(
                "ImagePatternMalformed",
                "spec.match.images[0]",
                "the image pattern 'ghcr.io/acme/app:1' names a tag or digest; patterns see registry/repository only",
            ),
        ),
    ),
    "an image pattern that another covers": Mistake(
        {"match": {"images": ["ghcr.io/acme/**", "ghcr.io/acme/app"]}},
        (
            warning(
                "PatternRedundant",
                "spec.match.images[1]",
                "matches nothing more than 'ghcr.io/acme/**' does; remove it",
            ),
        ),
    ),
    "an image pattern that is excluded": Mistake(
        {"match": {"images": ["ghcr.io/acme/*", "!ghcr.io/**", "quay.io/acme/**"]}},
        (
            warning(
                "PatternRedundant",
                "spec.match.images[0]",
                "matches nothing: '!ghcr.io/**' excludes all of it",
            ),
        ),
    ),
    "an authority that nobody asks for": Mistake(
        {"authorities": [by_key("release"), by_key("security")]},
        (
            warning(
                "AuthorityUnused",
                "spec.authorities[1]",
                "'security' is in no requirement's authorities, so what it signs counts for nothing",
            ),
        ),
    ),
    "a variable that nobody reads": Mistake(
        {"variables": [{"name": "name", "expression": "image.repository"}]},
        (warning("VariableUnused", "spec.variables[0]", "variables.name is read by no expression"),),
        {"variables": [{"name": "name", "expression": "image.repository"}]} | rule("size(variables.name) > 0"),
    ),
    "a denial that rests on the pod's labels": Mistake(
        {"match": {"images": ["ghcr.io/acme/**"], "objectSelector": {"matchLabels": {"app": "shop"}}}},
        (
            warning(
                "SelectedByAuthor",
                "spec.match.objectSelector",
                "reads the object's labels, which the pod's author writes: whoever is to be denied can leave it out. "
                "Select by namespace or image",
            ),
        ),
        {"match": {"images": ["ghcr.io/acme/**"], "namespaceSelector": {"matchLabels": {"team": "shop"}}}},
    ),
    "a denial in Assay's own namespace": Mistake(
        {"match": {}},
        (
            error(
                "AssayItselfMatched",
                "metadata.namespace",
                "binds assay-system, where Assay itself runs: the API server asks Assay about no pod there, and were "
                "it asked, Assay could not start without Assay; choose other namespaces or other images",
            ),
        ),
        namespace=ASSAY_NAMESPACE,
    ),
    "a denial that selects Assay's own namespace": Mistake(
        {"match": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": ASSAY_NAMESPACE}}}},
        (
            error(
                "AssayItselfMatched",
                "spec.match.namespaceSelector",
                "binds assay-system, where Assay itself runs: the API server asks Assay about no pod there, and were "
                "it asked, Assay could not start without Assay; choose other namespaces or other images",
            ),
        ),
    ),
    "a denial of Assay's own image elsewhere": Mistake(
        {"match": {"images": ["ghcr.io/**"]}},
        (
            warning(
                "AssayImageMatched",
                "spec.match.images",
                "matches Assay's own image ghcr.io/assay-dev/assay: Assay itself is not affected, since pods of "
                "assay-system are not reviewed, but in any other namespace it needs this evidence, too; exclude it "
                "with '!ghcr.io/assay-dev/assay' if it has none",
            ),
        ),
        {"match": {"images": ["ghcr.io/**", "!ghcr.io/assay-dev/assay"]}},
    ),
    "a trust root that is not there": Mistake(
        {
            "authorities": [
                by_key(
                    "release", key={"pem": make.pem(), "trustRootRef": {"name": "nowhere"}}, transparencyLog="Required"
                )
            ]
        },
        (
            warning(
                "TrustRootMissing",
                "spec.authorities[0].key.trustRootRef",
                "there is no TrustRoot 'nowhere'; create it. Until then what needs it is an Error",
            ),
        ),
    ),
    "a secret that is not there": Mistake(
        {"authorities": [by_key("release", key={"secretRef": {"name": "keys", "key": "cosign.pub"}})]},
        (
            warning(
                "ReferenceMissing",
                "spec.authorities[0].key.secretRef",
                "there is no Secret assay-system/keys; create it, with the key cosign.pub",
            ),
        ),
    ),
    "several at once": Mistake(
        {
            "authorities": [by_key("release", key={"pem": "not a key"})],
            "match": {"images": ["ghcr.io/acme/app:1"]},
            **rule("size(signature) > 0"),
        },
        (
            error(
                "KeyMalformed",
                "spec.authorities[0].key.pem",
                "is no PEM (-----BEGIN PUBLIC KEY-----), or has something beside it; expected a SubjectPublicKeyInfo",
            ),
            error(
                "ImagePatternMalformed",
                "spec.match.images[0]",
                "the image pattern 'ghcr.io/acme/app:1' names a tag or digest; patterns see registry/repository only",
            ),
            error(
                "NameUnknown",
                RULE,
                "line 1, column 6: there is no name 'signature' here; did you mean 'signatures'?",
                caret("size(signature) > 0", "signature"),
            ),
        ),
    ),
}
