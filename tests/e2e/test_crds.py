"""The CRDs on a real API server: they apply whole, and each of their rules takes the good and refuses the bad."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kubernetes import ApiServer

CRDS = Path(__file__).parents[2] / "charts" / "assay" / "crds"
PLURALS = {
    "ClusterEvidencePolicy": "clusterevidencepolicies",
    "EvidencePolicy": "evidencepolicies",
    "EvidenceException": "evidenceexceptions",
    "TrustRoot": "trustroots",
}
IDENTITY = {"issuer": "https://issuer.example", "subject": "me"}
POLICY: dict[str, Any] = {
    "authorities": [{"name": "a", "keyless": {"identities": [IDENTITY]}}],
    "signatures": {"authorities": ["a"]},
}
EXCEPTION: dict[str, Any] = {
    "policies": [{"name": "p"}],
    "images": ["ghcr.io/acme/**"],
    "reason": "a known false alarm",
    "expires": "2030-01-01T00:00:00Z",
}
DIGEST = "sha256:" + "0" * 64


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("crds")) as server:
        server.kubectl("apply", "--server-side", "-f", CRDS)
        server.kubectl("wait", "--for=condition=Established", "-f", CRDS, "--timeout=30s")
        yield server


def _create(cluster: ApiServer, kind: str, spec: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    where = "namespaces/default/" if kind == "EvidencePolicy" else ""
    body = {"apiVersion": "assay.dev/v1alpha1", "kind": kind, "metadata": {"generateName": "t-"}, "spec": spec}
    return cluster.request("POST", f"/apis/assay.dev/v1alpha1/{where}{PLURALS[kind]}?dryRun=All", body=body)


def _policy(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(POLICY), **changes}


def _authority(**changes: Any) -> dict[str, Any]:
    return _policy(authorities=[{"name": "a", **changes}])


GOOD_POLICIES = {
    "keyless": POLICY,
    "audit annotations": _policy(auditAnnotations=[{"key": "signer", "valueExpression": "signatures[0].identity"}]),
    "nothing but audit annotations": {
        "validationActions": ["Audit"],
        "auditAnnotations": [{"key": "tag", "valueExpression": "image.tag"}],
    },
    "every action": _policy(validationActions=["Deny", "Warn", "Audit"]),
    "key": _authority(key={"pem": "PEM"}),
    "key in a secret": _authority(key={"secretRef": {"name": "s", "key": "k"}}),
    "keys of a trust root": _authority(key={"trustRootRef": {"name": "acme"}}),
    "key and whose logs": _authority(key={"pem": "PEM", "trustRootRef": {"name": "acme"}}),
    "certificate": _authority(certificate={"chain": "PEM", "identities": [{"subject": "me"}]}),
    "certificate in a secret": _authority(
        certificate={"secretRef": {"name": "s", "key": "k"}, "identities": [{"subject": "me"}]}
    ),
    "certificate of a trust root": _authority(
        certificate={"trustRootRef": {"name": "acme"}, "identities": [{"subjectRegExp": ".*"}]}
    ),
    "kms": _authority(kms={"uri": "awskms:///alias/release"}),
    "notation": _authority(notation={"trustRootRef": {"name": "n"}, "identities": ["x509.subject: O=Acme"]}),
    "keyless by timestamp": _authority(
        keyless={"identities": [IDENTITY]}, transparencyLog="Ignore", timestamp="Required"
    ),
    "ignore with hosts": _policy(
        failurePolicy="Ignore", match={"images": ["ghcr.io/acme/**", "!ghcr.io/acme/sandbox/**"]}
    ),
    "resolve to warn": _policy(digest="Resolve", validationActions=["Warn"]),
    "rules alone": {"validations": [{"expression": "true"}]},
    "audit of nothing": {"validationActions": ["Audit"]},
    "selectors": _policy(
        match={"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a"]}]}}
    ),
}

BAD_POLICIES = {
    "two kinds of authority": (
        _authority(key={"pem": "PEM"}, keyless={"identities": [IDENTITY]}),
        "exactly one of keyless, key, certificate, kms, notation must be set",
    ),
    "no kind of authority": (_authority(), "exactly one of keyless, key, certificate, kms, notation must be set"),
    "two issuers": (
        _authority(keyless={"identities": [{**IDENTITY, "issuerRegExp": ".*"}]}),
        "exactly one of issuer, issuerRegExp must be set",
    ),
    "no subject": (
        _authority(keyless={"identities": [{"issuer": "https://issuer.example"}]}),
        "exactly one of subject, subjectRegExp must be set",
    ),
    "no identity": (_authority(keyless={"identities": []}), "should have at least 1 items"),
    "two keys": (
        _authority(key={"pem": "PEM", "secretRef": {"name": "s", "key": "k"}}),
        "at most one of pem and secretRef may be set",
    ),
    "no key": (_authority(key={}), "one of pem, secretRef and trustRootRef must be set"),
    "two chains": (
        _authority(
            certificate={
                "chain": "PEM",
                "secretRef": {"name": "s", "key": "k"},
                "identities": [{"subject": "me"}],
            }
        ),
        "at most one of chain and secretRef may be set",
    ),
    "no certificate chain": (
        _authority(certificate={"identities": [{"subject": "me"}]}),
        "one of chain, secretRef and trustRootRef must be set",
    ),
    "keyless without a trusted time": (
        _authority(keyless={"identities": [IDENTITY]}, transparencyLog="Optional"),
        "a keyless authority needs a trusted time: transparencyLog or timestamp must be Required",
    ),
    "unknown authority of signatures": (
        _policy(signatures={"authorities": ["b"]}),
        "signatures.authorities names an authority that is not in authorities",
    ),
    "unknown authority of an attestation": (
        _policy(attestations=[{"name": "sbom", "type": "SBOM", "authorities": ["b"]}]),
        "an attestation's authorities name an authority that is not in authorities",
    ),
    "minimum above the authorities": (
        _policy(signatures={"authorities": ["a"], "minimum": 2, "distinct": "Authority"}),
        "minimum is above the number of authorities, so nothing could satisfy it",
    ),
    "minimum of nothing": (_policy(signatures={"authorities": ["a"], "minimum": 0}), "greater than or equal to 1"),
    "signatures by nobody": (_policy(signatures={"authorities": []}), "should have at least 1 items"),
    "nothing demanded": ({}, "nothing is demanded: give signatures, attestations or validations"),
    "only annotations, with an action": (
        {"validationActions": ["Audit", "Warn"], "auditAnnotations": [{"key": "k", "valueExpression": "'v'"}]},
        "nothing is demanded: give signatures, attestations or validations",
    ),
    "an annotation's key that is no name": (
        _policy(auditAnnotations=[{"key": "a/b", "valueExpression": "'v'"}]),
        "should match '^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$'",
    ),
    "an annotation's key that is too long with the policy's name": (
        _policy(auditAnnotations=[{"key": "k" * 63, "valueExpression": "'v'"}]),
        "the policy's name and the key of an audit annotation are too long together for the API server",
    ),
    "resolve with deny": (
        _policy(digest="Resolve"),
        "digest Resolve cannot be combined with Deny: the tag could move after the verdict",
    ),
    "ignore for all": (
        _policy(failurePolicy="Ignore"),
        "failurePolicy Ignore needs match.images that name their registry hosts, such as ghcr.io/acme/**",
    ),
    "ignore with a pattern for hosts": (
        _policy(failurePolicy="Ignore", match={"images": ["**/acme"]}),
        "failurePolicy Ignore needs match.images that name their registry hosts, such as ghcr.io/acme/**",
    ),
    "selector without values": (
        _policy(match={"objectSelector": {"matchExpressions": [{"key": "team", "operator": "In"}]}}),
        "values must be given for In and NotIn, and only for these",
    ),
    "an action twice": (_policy(validationActions=["Deny", "Deny"]), "Duplicate value"),
    "no action": (_policy(validationActions=[]), "should have at least 1 items"),
    "unknown word": (_policy(digest="Maybe"), 'supported values: "Pin", "Require", "Resolve"'),
    "variable that is no identifier": (
        _policy(variables=[{"name": "a-b", "expression": "true"}]),
        "should match '^[A-Za-z_][A-Za-z0-9_]*$'",
    ),
}


@pytest.mark.parametrize("name", GOOD_POLICIES)
@pytest.mark.parametrize("kind", ["ClusterEvidencePolicy", "EvidencePolicy"])
def test_a_good_policy_is_taken(cluster: ApiServer, kind: str, name: str) -> None:
    status, answer = _create(cluster, kind, GOOD_POLICIES[name])
    assert status == 201, answer["message"]


@pytest.mark.parametrize("name", BAD_POLICIES)
@pytest.mark.parametrize("kind", ["ClusterEvidencePolicy", "EvidencePolicy"])
def test_a_bad_policy_is_refused_in_words(cluster: ApiServer, kind: str, name: str) -> None:
    spec, message = BAD_POLICIES[name]
    status, answer = _create(cluster, kind, spec)
    assert status == 422
    assert message in answer["message"]


def test_defaults_are_filled_in(cluster: ApiServer) -> None:
    _, answer = _create(cluster, "ClusterEvidencePolicy", POLICY)
    assert answer["spec"] == {
        "match": {},
        "validationActions": ["Deny"],
        "failurePolicy": "Fail",
        "digest": "Pin",
        "platforms": "Index",
        "cryptography": "Default",
        "authorities": [
            {
                "name": "a",
                "keyless": {"identities": [IDENTITY], "trustRootRef": {"name": "public-good"}},
                "transparencyLog": "Required",
                "timestamp": "Optional",
            }
        ],
        "signatures": {"authorities": ["a"], "minimum": 1, "distinct": "Signer"},
    }


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, ""),
        ({"policies": [{"kind": "EvidencePolicy", "namespace": "shop", "name": "p"}]}, ""),
        ({"breakGlass": True, "namespaces": ["shop"], "digests": [DIGEST], "images": []}, ""),
        ({"breakGlass": True, "images": []}, "breakGlass needs namespaces and digests, and no images"),
        ({"breakGlass": True, "namespaces": ["shop"], "digests": [DIGEST]}, "breakGlass needs namespaces and digests"),
        ({"images": ["!ghcr.io/acme/x"]}, "images must name what is meant: at least one pattern without !"),
        ({"images": []}, "name what is excepted: images or digests"),
        ({"policies": [{"kind": "EvidencePolicy", "name": "p"}]}, "namespace must be given for an EvidencePolicy"),
        ({"policies": [{"namespace": "shop", "name": "p"}]}, "namespace must be given for an EvidencePolicy"),
        ({"policies": []}, "should have at least 1 items"),
        ({"expires": "tomorrow"}, "must be of type date-time"),
        ({"digests": ["latest"]}, "should match '^sha256:"),
    ],
)
def test_an_exception_names_what_it_excepts(cluster: ApiServer, changes: dict[str, Any], message: str) -> None:
    status, answer = _create(cluster, "EvidenceException", {**EXCEPTION, **changes})
    assert status == (422 if message else 201), answer
    assert message in answer.get("message", "")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"trustedRoot": "{}"}, ""),
        ({"secretRef": {"name": "s", "key": "k"}}, ""),
        ({"configMapRef": {"name": "c", "key": "k"}}, ""),
        ({"tuf": {"url": "https://tuf.example", "root": "{}"}}, ""),
        ({"certificateAuthorities": [{"chain": "PEM", "validity": {"from": "2026-01-01T00:00:00Z"}}]}, ""),
        ({"publicKeys": [{"pem": "PEM"}]}, ""),
        ({"trustedRoot": "{}", "publicKeys": [{"pem": "PEM"}]}, ""),
        ({}, "one of trustedRoot, secretRef, configMapRef, tuf, certificateAuthorities and publicKeys must be set"),
        ({"trustedRoot": "{}", "configMapRef": {"name": "c", "key": "k"}}, "at most one of trustedRoot, secretRef"),
        ({"tuf": {"url": "http://tuf.example", "root": "{}"}}, "should match '^https://.+'"),
    ],
)
def test_a_trust_root_has_one_document_at_most_and_is_never_empty(
    cluster: ApiServer, spec: dict[str, Any], message: str
) -> None:
    status, answer = _create(cluster, "TrustRoot", spec)
    assert status == (422 if message else 201), answer
    assert message in answer.get("message", "")


def test_a_field_that_is_misspelt_is_refused_by_kubectl(cluster: ApiServer) -> None:
    body = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "ClusterEvidencePolicy",
        "metadata": {"name": "misspelt"},
        "spec": _policy(validationAction=["Warn"]),
    }
    completed = cluster.apply(body, check=False)
    assert completed.status != 0
    assert "unknown field" in completed.stderr
    assert "validationAction" in completed.stderr


@pytest.mark.parametrize("path", ["spec.authorities.keyless.identities.claims", "spec.match.images", "status.hash"])
def test_kubectl_explains_every_field(cluster: ApiServer, path: str) -> None:
    explained = cluster.kubectl("explain", f"clusterevidencepolicy.{path}").stdout
    assert "<empty>" not in explained
    assert "DESCRIPTION" in explained
