"""Reading policies: every default filled in, every mistake named, nothing that is written passed over."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import PolicyError
from controller.model.policy import (
    Action,
    CertificateAuthority,
    CertificateIdentity,
    DigestMode,
    Distinct,
    FailurePolicy,
    KeyAuthority,
    LabelSelector,
    Match,
    Need,
    Platforms,
    PolicySpec,
    TrustRoot,
)
from controller.policy.parse import parse_policy, parse_trust_root
from controller.policy.pems import CODE_SIGNING
from controller.policy.semantics import MAX_SOURCES
from tests.support.authorities import new_ca
from tests.unit.policy.make import authority, pem, policy, resource, spec, with_sbom

ROOT = new_ca()
CHAIN = new_ca("signing", above=ROOT).chain
ROOT_PEM = ROOT.chain
UNROOTED = CHAIN.removesuffix(ROOT_PEM)
KEYLESS = {"issuer": "https://i", "subject": "s"}


def keyless(*identities: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"authorities": [{"name": "release", "keyless": {"identities": list(identities)} | fields}]}


def certificate(**fields: Any) -> dict[str, Any]:
    given = {"chain": CHAIN, "identities": [{"subject": "me"}]} | fields
    return {"authorities": [{"name": "release", "certificate": {k: v for k, v in given.items() if v is not None}}]}


def problems(**fields: Any) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in policy(**fields).problems]


def test_a_policy_gets_every_default() -> None:
    read = policy()
    assert read.problems == ()
    assert read.spec.match == Match(images=(), namespace_selector=LabelSelector(), object_selector=LabelSelector())
    assert read.spec.validation_actions == (Action.DENY,)
    assert (read.spec.failure_policy, read.spec.digest) == (FailurePolicy.FAIL, DigestMode.PIN)
    assert read.spec.platforms is Platforms.INDEX
    assert read.spec.authorities[0].transparency_log is Need.REQUIRED
    assert read.spec.authorities[0].timestamp is Need.OPTIONAL
    assert read.spec.signatures is not None
    assert (read.spec.signatures.minimum, read.spec.signatures.distinct) == (1, Distinct.SIGNER)


def test_the_design_s_example_is_accepted() -> None:
    read = policy(
        match={
            "images": ["ghcr.io/acme/**", "!ghcr.io/acme/sandbox/**"],
            "namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "In", "values": ["prod"]}]},
            "objectSelector": {"matchLabels": {"app": "x"}},
            "conditions": [
                {"name": "not-system", "expression": "!request.userInfo.username.startsWith('system:node:')"}
            ],
        },
        validationActions=["Warn", "Deny"],
        authorities=[
            {
                "name": "release",
                "keyless": {
                    "identities": [
                        {
                            "issuer": "https://token.actions.githubusercontent.com",
                            "subjectRegExp": r"https://github\.com/acme/.+/release\.yml@refs/tags/.+",
                            "claims": {"sourceRepositoryURI": "https://github.com/acme/app"},
                        }
                    ],
                    "trustRootRef": {"name": "public-good"},
                },
            },
            authority("security") | {"transparencyLog": "Optional"},
        ],
        signatures={"minimum": 1, "authorities": ["release", "security"], "distinct": "Signer"},
        attestations=[{"name": "sbom", "type": "SBOM", "authorities": ["release"], "minimum": 1}],
        variables=[{"name": "bad", "expression": "sboms.find('pkg:maven/a/b', '<2.17.1')"}],
        validations=[
            {
                "expression": "size(variables.bad) == 0",
                "messageExpression": "'contains ' + variables.bad[0].purl",
                "reason": "VulnerableComponent",
            }
        ],
    )
    assert read.problems == ()
    assert read.spec.validation_actions == (Action.DENY, Action.WARN)


def test_file_and_cluster_give_one_hash() -> None:
    written = resource()
    stored = resource()
    stored["metadata"] |= {"uid": "u", "resourceVersion": "7", "managedFields": []}
    stored["status"] = {"conditions": []}
    stored["spec"] |= {
        "match": {},
        "validationActions": ["Deny"],
        "failurePolicy": "Fail",
        "digest": "Pin",
        "platforms": "Index",
    }
    stored["spec"]["signatures"] = {"authorities": ["release"], "minimum": 1, "distinct": "Signer"}
    stored["spec"]["authorities"] = [authority("release") | {"transparencyLog": "Required", "timestamp": "Optional"}]
    assert parse_policy(stored).identity.hash == parse_policy(written).identity.hash


@pytest.mark.parametrize(
    "change",
    [
        {"validationActions": ["Warn"]},
        {"match": {"images": ["ghcr.io/**"]}},
        {"signatures": {"authorities": ["release"], "distinct": "Authority"}},
        {"failurePolicy": "Ignore"},
        {"auditAnnotations": [{"key": "a", "valueExpression": "'b'"}]},
        {"grace": "1h"},
        {"grace": "0s"},
        with_sbom(),
        {"authorities": [authority("release") | {"transparencyLog": "Ignore"}]},
        {"unknown": 1},
    ],
)
def test_every_change_of_a_spec_changes_its_hash(change: dict[str, Any]) -> None:
    assert policy(**change).identity.hash != policy().identity.hash


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"validationAction": ["Deny"]}, "FieldUnknown", "spec.validationAction"),
    ({"match": {"image": ["x"]}}, "FieldUnknown", "spec.match.image"),
    ({"validationActions": "Deny"}, "WrongType", "spec.validationActions"),
    ({"validationActions": []}, "FieldMissing", "spec.validationActions"),
    ({"validationActions": ["deny"]}, "ValueUnknown", "spec.validationActions[0]"),
    ({"validationActions": [{}]}, "ValueUnknown", "spec.validationActions[0]"),
    ({"failurePolicy": "ignore"}, "ValueUnknown", "spec.failurePolicy"),
    ({"digest": True}, "ValueUnknown", "spec.digest"),
    ({"digest": "Resolve"}, "ResolveWithDeny", "spec.digest"),
    ({"failurePolicy": "Ignore"}, "IgnoreWithoutHost", "spec.failurePolicy"),
    ({"failurePolicy": "Ignore", "match": {"images": ["*.io/**"]}}, "IgnoreWithoutHost", "spec.match.images[0]"),
    ({"failurePolicy": "Ignore", "match": {"images": ["!ghcr.io/**"]}}, "IgnoreWithoutHost", "spec.failurePolicy"),
    ({"platforms": "Every"}, "ValueUnknown", "spec.platforms"),
    ({"auditAnnotations": [{"key": "a/b", "valueExpression": "'b'"}]}, "NameMalformed", "spec.auditAnnotations[0].key"),
    ({"auditAnnotations": [{"key": "a"}]}, "FieldMissing", "spec.auditAnnotations[0].valueExpression"),
    ({"auditAnnotations": [{"key": "a", "value": "b"}]}, "FieldUnknown", "spec.auditAnnotations[0].value"),
    ({"auditAnnotations": [{"key": "a", "valueExpression": "'b'"}] * 2}, "NameDuplicate", "spec.auditAnnotations"),
    (
        {"auditAnnotations": [{"key": f"a{i}", "valueExpression": "'b'"} for i in range(21)]},
        "TooMany",
        "spec.auditAnnotations",
    ),
    ({"auditAnnotations": [{"key": "a" * 62, "valueExpression": "'b'"}]}, "TooLong", "spec.auditAnnotations[0].key"),
    (
        {"signatures": None, "auditAnnotations": [{"key": "a", "valueExpression": "'b'"}]},
        "NothingRequired",
        "spec",
    ),
    ({"signatures": None, "validationActions": ["Audit"]}, "NothingRequired", "spec"),
    ({"grace": "1w"}, "DurationMalformed", "spec.grace"),
    ({"grace": "-1h"}, "DurationMalformed", "spec.grace"),
    ({"grace": 3600}, "WrongType", "spec.grace"),
    ({"cryptography": "Fips"}, "ValueUnknown", "spec.cryptography"),
    ({"match": {"images": ["nginx"]}}, "ImagePatternMalformed", "spec.match.images[0]"),
    ({"match": {"images": [""]}}, "FieldMissing", "spec.match.images[0]"),
    ({"match": {"images": [1]}}, "WrongType", "spec.match.images[0]"),
    (
        {"match": {"namespaceSelector": {"matchLabels": {"a": True}}}},
        "WrongType",
        "spec.match.namespaceSelector.matchLabels.a",
    ),
    (
        {"match": {"objectSelector": {"matchExpressions": [{"key": "a", "operator": "in", "values": ["b"]}]}}},
        "ValueUnknown",
        "spec.match.objectSelector.matchExpressions[0].operator",
    ),
    (
        {"match": {"objectSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}},
        "SelectorMalformed",
        "spec.match.objectSelector.matchExpressions[0].values",
    ),
    (
        {"match": {"objectSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["b"]}]}}},
        "SelectorMalformed",
        "spec.match.objectSelector.matchExpressions[0].values",
    ),
    ({"signatures": None}, "NothingRequired", "spec"),
    ({"signatures": {}}, "AuthorityMissing", "spec.signatures.authorities"),
    ({"signatures": {"authorities": []}}, "AuthorityMissing", "spec.signatures.authorities"),
    ({"signatures": {"authorities": ["stranger"]}}, "AuthorityUnknown", "spec.signatures.authorities"),
    ({"signatures": {"authorities": ["release"], "minimum": 0}}, "OutOfRange", "spec.signatures.minimum"),
    ({"signatures": {"authorities": ["release"], "minimum": "1"}}, "WrongType", "spec.signatures.minimum"),
    ({"signatures": {"authorities": ["release"], "minimum": True}}, "WrongType", "spec.signatures.minimum"),
    ({"signatures": {"authorities": ["release"], "minimum": 2}}, "MinimumUnreachable", "spec.signatures.minimum"),
    (
        {"signatures": {"authorities": ["release", "release"], "minimum": 2}},
        "MinimumUnreachable",
        "spec.signatures.minimum",
    ),
    ({"attestations": [{"name": "a", "type": "SBOM"}]}, "AuthorityMissing", "spec.attestations[0].authorities"),
    (
        {"attestations": [{"name": "a", "type": "Sbom", "authorities": ["release"]}]},
        "PredicateTypeUnknown",
        "spec.attestations[0].type",
    ),
    (
        with_sbom(attestations=[{"name": "a", "type": "SBOM", "authorities": ["release"]}] * 2),
        "NameDuplicate",
        "spec.attestations",
    ),
    ({"authorities": [authority("release")] * 2}, "NameDuplicate", "spec.authorities"),
    ({"authorities": [{"name": "release"}]}, "AuthorityMalformed", "spec.authorities[0]"),
    (
        {"authorities": [authority("release") | keyless(KEYLESS)["authorities"][0]]},
        "AuthorityMalformed",
        "spec.authorities[0]",
    ),
    ({"authorities": [{"name": "release", "key": {"pem": "x"}}]}, "KeyMalformed", "spec.authorities[0].key.pem"),
    (
        {"authorities": [{"name": "release", "key": {"pem": "-----BEGIN PRIVATE KEY-----"}}]},
        "KeyMalformed",
        "spec.authorities[0].key.pem",
    ),
    ({"authorities": [{"name": "release", "key": {}}]}, "FieldMissing", "spec.authorities[0].key.pem"),
    (
        {"authorities": [{"name": "release", "key": {"pem": authority("release")["key"]["pem"] + "and more"}}]},
        "KeyMalformed",
        "spec.authorities[0].key.pem",
    ),
    (
        {"authorities": [{"name": "release", "key": {"pem": authority("release")["key"]["pem"] * 33}}]},
        "KeyMalformed",
        "spec.authorities[0].key.pem",
    ),
    (
        {"authorities": [{"name": "release", "key": {"pem": "x", "secretRef": {"name": "a", "key": "b"}}}]},
        "AuthorityMalformed",
        "spec.authorities[0].key",
    ),
    (
        {"authorities": [{"name": "release", "key": {"secretRef": {"name": "a,type=Opaque", "key": "b"}}}]},
        "NameMalformed",
        "spec.authorities[0].key.secretRef.name",
    ),
    (
        {"authorities": [{"name": "release", "key": {"secretRef": {"name": "a", "key": "b", "namespace": "c"}}}]},
        "FieldUnknown",
        "spec.authorities[0].key.secretRef.namespace",
    ),
    (certificate(chain=None), "FieldMissing", "spec.authorities[0].certificate.chain"),
    (certificate(chain="", trustRootRef={"name": "acme"}), "FieldMissing", "spec.authorities[0].certificate.chain"),
    (certificate(chain="x"), "ChainMalformed", "spec.authorities[0].certificate.chain"),
    (certificate(chain=ROOT_PEM + UNROOTED), "ChainMalformed", "spec.authorities[0].certificate.chain"),
    (certificate(chain=UNROOTED), "ChainMalformed", "spec.authorities[0].certificate.chain"),
    (certificate(chain=CHAIN + ROOT_PEM + UNROOTED), "ChainMalformed", "spec.authorities[0].certificate.chain"),
    (
        certificate(secretRef={"name": "ca", "key": "chain.pem"}),
        "AuthorityMalformed",
        "spec.authorities[0].certificate",
    ),
    (certificate(identities=[]), "IdentityMissing", "spec.authorities[0].certificate.identities"),
    (certificate(identities=[{}]), "IdentityMalformed", "spec.authorities[0].certificate.identities[0]"),
    (
        certificate(identities=[{"subject": "a", "subjectRegExp": "a"}]),
        "IdentityMalformed",
        "spec.authorities[0].certificate.identities[0]",
    ),
    (
        certificate(identities=[{"subjectRegExp": "("}]),
        "PatternMalformed",
        "spec.authorities[0].certificate.identities[0].subjectRegExp",
    ),
    (
        certificate(identities=[{"issuer": "a", "subject": "a"}]),
        "FieldUnknown",
        "spec.authorities[0].certificate.identities[0].issuer",
    ),
    (
        certificate(extendedKeyUsages=["signing"]),
        "UsageUnknown",
        "spec.authorities[0].certificate.extendedKeyUsages",
    ),
    ({"authorities": [{"name": "release", "kms": {"uri": "x"}}]}, "NotSupportedYet", "spec.authorities[0].kms"),
    ({"authorities": [{"name": "release", "notation": {}}]}, "NotSupportedYet", "spec.authorities[0].notation"),
    (
        {"authorities": [authority("release") | {"source": {}}]},
        "FieldMissing",
        "spec.authorities[0].source.repository",
    ),
    (
        {"authorities": [authority("release") | {"source": {"repository": "ghcr.io/acme/signatures:1"}}]},
        "ReferenceMalformed",
        "spec.authorities[0].source.repository",
    ),
    (
        {"authorities": [authority("release") | {"source": {"repository": "ACME!"}}]},
        "ReferenceMalformed",
        "spec.authorities[0].source.repository",
    ),
    (
        {
            "authorities": [
                authority("release")
                | {"source": {"repository": "ghcr.io/acme/signatures", "pullSecretRef": {"name": ""}}}
            ]
        },
        "FieldMissing",
        "spec.authorities[0].source.pullSecretRef.name",
    ),
    (
        {
            "authorities": [
                authority(f"a{number}") | {"source": {"repository": f"ghcr.io/acme/signatures-{number}"}}
                for number in range(MAX_SOURCES + 1)
            ]
        },
        "TooMany",
        "spec.authorities",
    ),
    (
        {"authorities": [authority("release") | {"timestamp": "Ignore"}]},
        "ValueUnknown",
        "spec.authorities[0].timestamp",
    ),
    (keyless(), "IdentityMissing", "spec.authorities[0].keyless.identities"),
    (keyless({"issuer": "i"}), "IdentityMalformed", "spec.authorities[0].keyless.identities[0]"),
    (keyless({"subject": "s"}), "IdentityMalformed", "spec.authorities[0].keyless.identities[0]"),
    (keyless(KEYLESS | {"issuerRegExp": "i"}), "IdentityMalformed", "spec.authorities[0].keyless.identities[0]"),
    (keyless({"issuer": "i", "subject": ""}), "FieldMissing", "spec.authorities[0].keyless.identities[0].subject"),
    (
        keyless({"issuer": "i", "subjectRegExp": "(?=x)"}),
        "PatternMalformed",
        "spec.authorities[0].keyless.identities[0].subjectRegExp",
    ),
    (
        keyless({"issuer": "i", "subjectRegExp": "((a{100}){100}){100}"}),
        "PatternMalformed",
        "spec.authorities[0].keyless.identities[0].subjectRegExp",
    ),
    (keyless(KEYLESS | {"claims": {"repo": "x"}}), "ClaimUnknown", "spec.authorities[0].keyless.identities[0].claims"),
    (
        keyless(KEYLESS, signedCertificateTimestamp="Optional"),
        "ValueUnknown",
        "spec.authorities[0].keyless.signedCertificateTimestamp",
    ),
    (
        {"authorities": [keyless(KEYLESS)["authorities"][0] | {"transparencyLog": "Optional"}]},
        "TrustedTimeMissing",
        "spec.authorities[0].transparencyLog",
    ),
    ({"variables": [{"name": "a-b", "expression": "1"}]}, "NameMalformed", "spec.variables[0].name"),
    ({"validations": [{"expression": ""}]}, "FieldMissing", "spec.validations[0].expression"),
    ({"validations": [{"expression": "true", "reason": "not camel"}]}, "NameMalformed", "spec.validations[0].reason"),
    ({"validations": [None]}, "WrongType", "spec.validations[0]"),
    ({"validations": [{"expression": True}]}, "WrongType", "spec.validations[0].expression"),
    ({"validations": [{"expression": "true"}] * 300}, "TooMany", "spec.validations"),
]


@pytest.mark.parametrize(("fields", "code", "field"), MISTAKES)
def test_each_mistake_is_named_with_its_field(fields: dict[str, Any], code: str, field: str) -> None:
    assert (code, field) in problems(**fields)


def test_a_certificate_authority_gets_its_defaults() -> None:
    read = policy(**certificate(), signatures={"authorities": ["release"]})
    assert read.problems == ()
    (written,) = read.spec.authorities
    assert written.certificate == CertificateAuthority(CHAIN, (CertificateIdentity("me"),), (CODE_SIGNING,))
    named = policy(**certificate(extendedKeyUsages=["codeSigning", "1.2.3"]), signatures={"authorities": ["release"]})
    assert named.spec.authorities[0].certificate is not None
    assert named.spec.authorities[0].certificate.extended_key_usages == (CODE_SIGNING, "1.2.3")
    root = policy(**certificate(chain=None, trustRootRef={"name": "acme"}), signatures={"authorities": ["release"]})
    assert root.problems == ()
    assert root.spec.authorities[0].certificate == CertificateAuthority(
        "", (CertificateIdentity("me"),), (CODE_SIGNING,), "acme"
    )


def test_keys_may_be_several_or_a_trust_root_s() -> None:
    several = authority("release")["key"]["pem"] + pem()
    assert policy(authorities=[{"name": "release", "key": {"pem": several}}]).problems == ()
    read = policy(authorities=[{"name": "release", "key": {"trustRootRef": {"name": "acme"}}}])
    assert read.problems == ()
    assert read.spec.authorities[0].key == KeyAuthority("", "acme")


@pytest.mark.guarantee(7)
def test_what_is_asked_of_cryptography_is_part_of_the_hash_and_its_default_is_not() -> None:
    assert policy(cryptography="Default").identity == policy().identity
    assert policy(cryptography="FIPS").identity != policy().identity
    unlogged = keyless(KEYLESS, signedCertificateTimestamp="Ignore")
    assert (
        policy(**keyless(KEYLESS, signedCertificateTimestamp="Required")).identity
        == policy(**keyless(KEYLESS)).identity
    )
    assert policy(**unlogged).problems == ()
    assert policy(**unlogged).identity != policy(**keyless(KEYLESS)).identity


@pytest.mark.guarantee(4)
def test_several_keys_of_one_authority_are_several_signers() -> None:
    two = {"name": "release", "key": {"pem": authority("release")["key"]["pem"] + pem()}}
    assert policy(authorities=[two], signatures={"authorities": ["release"], "minimum": 2}).problems == ()
    one = problems(authorities=[authority("release")], signatures={"authorities": ["release"], "minimum": 2})
    assert one == [("MinimumUnreachable", "spec.signatures.minimum")]


def test_a_mistake_s_message_names_the_nearest_known_name() -> None:
    (problem,) = policy(validationAction=["Deny"]).problems
    assert "validationActions" in problem.message
    (problem,) = policy(validationActions=["deny"]).problems
    assert "did you mean 'Deny'" in problem.message


@pytest.mark.guarantee(7)
def test_a_broken_policy_is_at_its_strictest_where_it_cannot_be_read() -> None:
    read = policy(
        match={"images": ["ghcr.io/acme/**", 7]},
        validationActions=["Audit", "Wran"],
        failurePolicy="ignore",
        digest="Resolv",
    )
    assert read.problems
    assert read.spec.match == Match()
    assert read.spec.validation_actions == (Action.DENY,)
    assert (read.spec.failure_policy, read.spec.digest) == (FailurePolicy.FAIL, DigestMode.PIN)


@pytest.mark.guarantee(7)
def test_a_broken_policy_keeps_what_could_be_read() -> None:
    read = policy(match={"images": ["ghcr.io/acme/**"]}, validationActions=["Audit"], signatures={"authorities": []})
    assert read.problems
    assert read.spec.match.images == ("ghcr.io/acme/**",)
    assert read.spec.validation_actions == (Action.AUDIT,)


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_a_spec_that_is_no_object_is_a_problem(value: Any) -> None:
    obj = resource() | {"spec": value}
    assert parse_policy(obj).problems


@pytest.mark.parametrize(
    "obj",
    [
        {},
        resource() | {"kind": "Policy"},
        resource() | {"apiVersion": "assay.dev/v1"},
        resource() | {"metadata": {}},
        resource() | {"metadata": None},
        resource(namespace="a") | {"metadata": {"name": "x"}},
    ],
)
def test_what_is_no_policy_is_refused(obj: dict[str, Any]) -> None:
    with pytest.raises(PolicyError):
        parse_policy(obj)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(field=st.sampled_from([*spec(), "match", "attestations", "validations", "variables", "digest"]), value=JSON)
def test_no_value_of_any_field_makes_reading_fail(field: str, value: Any) -> None:
    read = parse_policy(resource() | {"spec": spec() | {field: value}})
    assert isinstance(read.spec, PolicySpec)
    assert read.identity.hash.startswith("sha256:")


def test_halves_of_surrogate_pairs_are_a_problem_and_no_crash() -> None:
    half = json.loads('"\\ud800"')
    read = policy(match={"images": [half], "objectSelector": {"matchLabels": {half: half}}}, **{half: 1})
    assert {problem.code for problem in read.problems} == {"WrongType", "FieldUnknown"}


def test_a_trust_root_is_read_with_the_hash_of_its_bytes() -> None:
    document = json.dumps({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"})
    obj = {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "own"}}
    root = parse_trust_root(obj | {"spec": {"trustedRoot": document}})
    assert isinstance(root, TrustRoot)
    assert (root.name, root.content) == ("own", document.encode())
    for spec_, code in (
        ({}, "FieldMissing"),
        ({"trustedRoot": "{"}, "TrustRootMalformed"),
        ({"trustedRoot": "{}"}, "TrustRootMalformed"),
        ({"trustedRoot": {}}, "WrongType"),
        ({"trustedRoot": document, "tuf": {"url": "https://x", "root": "{}"}}, "TrustRootMalformed"),
        ({"trustedRoot": document, "x": 1}, "FieldUnknown"),
    ):
        broken = parse_trust_root(obj | {"spec": spec_})
        assert not isinstance(broken, TrustRoot)
        assert code in {problem.code for problem in broken}, spec_


def test_a_public_key_of_each_supported_kind_is_accepted() -> None:
    assert pem().startswith("-----BEGIN PUBLIC KEY-----")
    assert problems() == []
