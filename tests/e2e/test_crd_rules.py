"""Every validation rule of the CRDs on a real API server: a good and a bad example of each, and the exact words.

The rules are those of the CRDs as they are written: one without a pair of examples makes a test fail, and so does an
example of a rule that is no longer there.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.kubernetes import ApiServer

CRDS = Path(__file__).parents[2] / "charts" / "assay" / "crds"
PLURALS = {
    "ClusterEvidencePolicy": "clusterevidencepolicies",
    "EvidencePolicy": "evidencepolicies",
    "EvidenceException": "evidenceexceptions",
    "TrustRoot": "trustroots",
}
IDENTITY = {"issuer": "https://issuer.example", "subject": "me"}
KEY_IN = {"name": "s", "key": "k"}
DIGEST = "sha256:" + "0" * 64
Schema = dict[str, Any]
Rule = tuple[str, str]
"""The path of the schema that has it, and its message."""


@dataclass(frozen=True)
class Pair:
    """Two specs that differ in what the rule is about, and the field that the refusal of the bad one names."""

    good: dict[str, Any]
    bad: dict[str, Any]
    field: str


def policy(**changes: Any) -> dict[str, Any]:
    """A good policy but for the changes."""
    base = {
        "authorities": [{"name": "a", "keyless": {"identities": [IDENTITY]}}],
        "signatures": {"authorities": ["a"]},
    }
    return copy.deepcopy(base) | changes


def authority(**changes: Any) -> dict[str, Any]:
    """A good policy but for its one authority."""
    return policy(authorities=[{"name": "a", **changes}])


def certificate(**changes: Any) -> dict[str, Any]:
    """A good policy but for the certificate of its one authority."""
    return authority(certificate={"identities": [{"subject": "me"}], **changes})


def selecting(where: str, requirement: dict[str, Any]) -> dict[str, Any]:
    """A good policy but for one requirement of a selector."""
    return policy(match={where: {"matchExpressions": [{"key": "team", **requirement}]}})


def exception(**changes: Any) -> dict[str, Any]:
    """A good exception but for the changes."""
    base = {
        "policies": [{"name": "p"}],
        "images": ["ghcr.io/acme/**"],
        "reason": "r",
        "expires": "2030-01-01T00:00:00Z",
    }
    return base | changes


def annotated(length: int) -> dict[str, Any]:
    """A policy (of the name `p`) whose annotation has a key of this length."""
    return policy(auditAnnotations=[{"key": "k" * length, "valueExpression": "'v'"}])


WITH_VALUES, WITHOUT = {"operator": "In", "values": ["a"]}, {"operator": "In"}
ONE_SUBJECT = "exactly one of subject, subjectRegExp must be set"
FOR_POLICIES: dict[Rule, Pair] = {
    ("spec", "nothing is demanded: give signatures, attestations or validations"): Pair(
        {"validations": [{"expression": "true"}]}, {}, "spec"
    ),
    ("spec", "digest Resolve cannot be combined with Deny: the tag could move after the verdict"): Pair(
        policy(digest="Resolve", validationActions=["Warn"]), policy(digest="Resolve"), "spec.digest"
    ),
    (
        "spec",
        "failurePolicy Ignore needs match.images that name their registry hosts, such as ghcr.io/acme/**",
    ): Pair(
        policy(failurePolicy="Ignore", match={"images": ["ghcr.io/acme/**"]}),
        policy(failurePolicy="Ignore", match={"images": ["ghcr.io/acme/**", "*.example/**"]}),
        "spec.failurePolicy",
    ),
    ("spec", "signatures.authorities names an authority that is not in authorities"): Pair(
        policy(), policy(signatures={"authorities": ["a", "b"]}), "spec.signatures.authorities"
    ),
    ("spec", "an attestation's authorities name an authority that is not in authorities"): Pair(
        policy(attestations=[{"name": "sbom", "type": "SBOM", "authorities": ["a"]}]),
        policy(attestations=[{"name": "sbom", "type": "SBOM", "authorities": ["b"]}]),
        "spec.attestations",
    ),
    **{
        (
            f"spec.match.{where}.matchExpressions[]",
            "values must be given for In and NotIn, and only for these",
        ): Pair(
            selecting(where, WITH_VALUES), selecting(where, WITHOUT), f"spec.match.{where}.matchExpressions[0].values"
        )
        for where in ("namespaceSelector", "objectSelector")
    },
    ("spec.authorities[]", "exactly one of keyless, key, certificate, kms, notation must be set"): Pair(
        authority(key={"pem": "PEM"}),
        authority(key={"pem": "PEM"}, kms={"uri": "awskms:///alias/release"}),
        "spec.authorities[0]",
    ),
    (
        "spec.authorities[]",
        "a keyless authority needs a trusted time: transparencyLog or timestamp must be Required",
    ): Pair(
        authority(keyless={"identities": [IDENTITY]}, transparencyLog="Optional", timestamp="Required"),
        authority(keyless={"identities": [IDENTITY]}, transparencyLog="Optional"),
        "spec.authorities[0].transparencyLog",
    ),
    (
        "spec.authorities[].keyless.identities[]",
        "exactly one of issuer, issuerRegExp must be set",
    ): Pair(
        authority(keyless={"identities": [{"issuerRegExp": ".*", "subject": "me"}]}),
        authority(keyless={"identities": [{**IDENTITY, "issuerRegExp": ".*"}]}),
        "spec.authorities[0].keyless.identities[0]",
    ),
    ("spec.authorities[].keyless.identities[]", ONE_SUBJECT): Pair(
        authority(keyless={"identities": [{"issuer": "https://issuer.example", "subjectRegExp": ".*"}]}),
        authority(keyless={"identities": [{"issuer": "https://issuer.example"}]}),
        "spec.authorities[0].keyless.identities[0]",
    ),
    ("spec.authorities[].key", "at most one of pem and secretRef may be set"): Pair(
        authority(key={"secretRef": KEY_IN}),
        authority(key={"pem": "PEM", "secretRef": KEY_IN}),
        "spec.authorities[0].key",
    ),
    ("spec.authorities[].key", "one of pem, secretRef and trustRootRef must be set"): Pair(
        authority(key={"trustRootRef": {"name": "acme"}}), authority(key={}), "spec.authorities[0].key"
    ),
    ("spec.authorities[].certificate", "at most one of chain and secretRef may be set"): Pair(
        certificate(secretRef=KEY_IN), certificate(chain="PEM", secretRef=KEY_IN), "spec.authorities[0].certificate"
    ),
    ("spec.authorities[].certificate", "one of chain, secretRef and trustRootRef must be set"): Pair(
        certificate(trustRootRef={"name": "acme"}), certificate(), "spec.authorities[0].certificate"
    ),
    ("spec.authorities[].certificate.identities[]", ONE_SUBJECT): Pair(
        certificate(chain="PEM", identities=[{"subjectRegExp": ".*"}]),
        certificate(chain="PEM", identities=[{"subjectRegExp": ".*", "subject": "me"}]),
        "spec.authorities[0].certificate.identities[0]",
    ),
    ("spec.signatures", "minimum is above the number of authorities, so nothing could satisfy it"): Pair(
        policy(signatures={"authorities": ["a"], "minimum": 1, "distinct": "Authority"}),
        policy(signatures={"authorities": ["a"], "minimum": 2, "distinct": "Authority"}),
        "spec.signatures.minimum",
    ),
}
TOO_LONG = (
    "the policy's name and the key of an audit annotation are too long together for the API server: at most {} "
    "characters"
)
EXAMPLES: dict[str, dict[Rule, Pair]] = {
    "ClusterEvidencePolicy": {
        ("", TOO_LONG.format(62)): Pair(annotated(61), annotated(62), "spec.auditAnnotations"),
        **FOR_POLICIES,
    },
    "EvidencePolicy": {
        ("", TOO_LONG.format(61)): Pair(annotated(60), annotated(61), "spec.auditAnnotations"),
        **FOR_POLICIES,
    },
    "EvidenceException": {
        ("spec", "name what is excepted: images or digests"): Pair(
            exception(images=[], digests=[DIGEST]), exception(images=[]), "spec"
        ),
        ("spec", "images must name what is meant: at least one pattern without !"): Pair(
            exception(images=["ghcr.io/acme/**", "!ghcr.io/acme/x"]),
            exception(images=["!ghcr.io/acme/x"]),
            "spec.images",
        ),
        ("spec", "breakGlass needs namespaces and digests, and no images"): Pair(
            exception(breakGlass=True, images=[], namespaces=["shop"], digests=[DIGEST]),
            exception(breakGlass=True, images=[], digests=[DIGEST]),
            "spec.breakGlass",
        ),
        ("spec.policies[]", "namespace must be given for an EvidencePolicy, and only for one"): Pair(
            exception(policies=[{"kind": "EvidencePolicy", "namespace": "shop", "name": "p"}]),
            exception(policies=[{"namespace": "shop", "name": "p"}]),
            "spec.policies[0].namespace",
        ),
    },
    "TrustRoot": {
        ("spec", "at most one of trustedRoot, secretRef, configMapRef, tuf may be set"): Pair(
            {"trustedRoot": "{}", "publicKeys": [{"pem": "PEM"}]}, {"trustedRoot": "{}", "secretRef": KEY_IN}, "spec"
        ),
        (
            "spec",
            "one of trustedRoot, secretRef, configMapRef, tuf, certificateAuthorities and publicKeys must be set",
        ): Pair({"configMapRef": KEY_IN}, {}, "spec"),
    },
}


def _rules(schema: Schema, path: str = "") -> Iterator[Rule]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule["message"]
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _rules(schema["additionalProperties"], f"{path}{{}}")


def _schemas() -> dict[str, Schema]:
    definitions = [yaml.safe_load(file.read_text())["spec"] for file in sorted(CRDS.iterdir())]
    return {d["names"]["kind"]: d["versions"][0]["schema"]["openAPIV3Schema"] for d in definitions}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("rules")) as server:
        server.kubectl("apply", "--server-side", "-f", CRDS)
        server.kubectl("wait", "--for=condition=Established", "-f", CRDS, "--timeout=30s")
        yield server


def _create(cluster: ApiServer, kind: str, spec: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    where = "namespaces/default/" if kind == "EvidencePolicy" else ""
    body = {"apiVersion": "assay.dev/v1alpha1", "kind": kind, "metadata": {"name": "p"}, "spec": spec}
    return cluster.request("POST", f"/apis/assay.dev/v1alpha1/{where}{PLURALS[kind]}?dryRun=All", body=body)


def test_every_rule_has_a_good_and_a_bad_example_and_every_example_a_rule() -> None:
    rules = {kind: sorted(_rules(schema)) for kind, schema in _schemas().items()}
    assert rules == {kind: sorted(examples) for kind, examples in EXAMPLES.items()}


CASES = [(kind, *rule) for kind, examples in EXAMPLES.items() for rule in examples]


@pytest.mark.parametrize(("kind", "path", "message"), CASES)
def test_the_good_is_taken_and_the_bad_refused_in_the_rule_s_words(
    cluster: ApiServer, kind: str, path: str, message: str
) -> None:
    pair = EXAMPLES[kind][path, message]
    status, answer = _create(cluster, kind, pair.good)
    assert status == 201, answer
    status, answer = _create(cluster, kind, pair.bad)
    assert (status, answer["reason"]) == (422, "Invalid"), answer
    told = f'Invalid value: "object": {message}'
    assert answer["details"]["causes"] == [{"reason": "FieldValueInvalid", "message": told, "field": pair.field}]
    assert answer["message"] == f'{kind}.assay.dev "p" is invalid: {pair.field}: {told}'
