"""Keys and trust roots in Secrets and ConfigMaps: whose, in which version, and what is never kept or shown."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from controller.errors import ConfigurationError
from controller.model.policy import Policy, Problem, TrustRoot
from controller.model.reference import Digest
from controller.policy.canonical import canonical_bytes
from controller.policy.compiled import compile_policy
from controller.policy.files import load_objects, load_snapshot
from controller.policy.parse import parse_policy
from controller.policy.references import (
    CONFIG_MAP,
    MAX_VALUE,
    NOTHING,
    SECRET,
    Materials,
    ObjectRef,
    Value,
    Withheld,
    only,
    wanted,
)
from controller.policy.resolving import public_keys_der, resolve, resolved_pems
from controller.policy.snapshot import build_policies
from controller.policy.trust import faulty, parse_trust_root
from controller.verification.keys import load_public_key
from controller.verification.trust import parse_root
from tests.support.authorities import new_ca
from tests.unit.policy.make import pem, resource

ASSAY = "assay-system"
DOCUMENT = b'{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}'
PRIVATE = (
    ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
)


def other_pem() -> str:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def referring(name: str = "release", key: str = "cosign.pub", *, namespace: str = "") -> dict[str, Any]:
    """A policy whose one authority's key lies in a Secret."""
    authority = {"name": "release", "key": {"secretRef": {"name": name, "key": key}}}
    return resource(namespace=namespace, authorities=[authority])


def held(value: Value, *, namespace: str = ASSAY, name: str = "release", key: str = "cosign.pub") -> Materials:
    return Materials(ASSAY, {ObjectRef(SECRET, namespace, name): {key: value}})


def read(obj: dict[str, Any], materials: Materials) -> Policy:
    return resolve(parse_policy(obj), materials)


def codes(policy: Policy) -> list[tuple[str, str]]:
    return [(problem.code, problem.field) for problem in policy.unresolved]


FIELD = "spec.authorities[0].key.secretRef"


def test_a_key_in_a_secret_is_the_authoritys_key() -> None:
    policy = read(referring(), held(pem().encode()))
    key = policy.spec.authorities[0].key
    assert key is not None
    assert (key.pem, policy.problems, policy.unresolved) == (pem().strip(), (), ())
    assert Digest.of(public_keys_der(key.pem)[0]) == Digest.parse(load_public_key(pem()).fingerprint)


def test_the_policys_hash_is_that_of_what_its_author_wrote_whatever_the_secret_holds() -> None:
    materials = (held(pem().encode()), held(other_pem().encode()), NOTHING)
    policies = [read(referring(), each) for each in materials]
    assert len({policy.identity.hash for policy in policies}) == 1
    for policy in policies:
        assert Digest.of(canonical_bytes(policy.spec, policy.problems)) == Digest.parse(policy.identity.hash)
    assert read(referring("other"), NOTHING).identity.hash != policies[0].identity.hash


def test_a_key_that_is_rotated_is_compiled_anew_and_one_that_stays_is_not() -> None:
    first = build_policies([referring()], materials=held(pem().encode()))
    again = build_policies([referring()], first, materials=held(pem().encode()))
    rotated = build_policies([referring()], again, materials=held(other_pem().encode()))
    gone = build_policies([referring()], rotated, materials=NOTHING)
    (one,), (two,), (three,), (four,) = first, again, rotated, gone
    assert one is two
    assert two.policy.spec.authorities[0].key != three.policy.spec.authorities[0].key
    assert three.policy.problems == ()
    assert [problem.code for problem in four.policy.problems] == ["ReferenceMissing"]


@pytest.mark.parametrize(
    ("materials", "code"),
    [
        (Materials(ASSAY), "ReferenceMissing"),
        (held(b"x", name="another"), "ReferenceMissing"),
        (held(b"x", key="another"), "ReferenceKeyMissing"),
        (held(b""), "KeyMalformed"),
        (held(b"\xff\xfe"), "KeyMalformed"),
        (held(b"not a key"), "KeyMalformed"),
        (held(Withheld.PRIVATE), "ReferencePrivateKey"),
        (held(Withheld.TOO_LARGE), "ReferenceTooLarge"),
        (Materials(ASSAY, {}, {ObjectRef(SECRET, ASSAY, "release"): "ClusterAccessDenied"}), "ReferenceUnread"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.guarantee(6)
def test_a_key_that_cannot_be_had_makes_the_policy_an_error_that_names_the_secret(
    materials: Materials, code: str
) -> None:
    policy = read(referring(), materials)
    assert codes(policy) == [(code, FIELD)]
    assert f"Secret {ASSAY}/release" in policy.unresolved[0].message
    compiled = compile_policy(policy)
    assert compiled.policy.problems == policy.unresolved


def test_several_keys_in_a_secret_count_as_they_do_inline() -> None:
    two = pem() + pem()
    policy = read(referring(), held(two.encode()))
    assert codes(policy) == []
    assert policy.spec.authorities[0].key is not None
    assert policy.spec.authorities[0].key.pem == two.strip()
    assert resolved_pems(policy) == (two.strip(),)
    assert codes(read(referring(), held(two.encode() + b"and more"))) == [("KeyMalformed", FIELD)]


def test_ca_certificates_may_lie_in_a_secret_too() -> None:
    chain = new_ca("signing", above=new_ca()).chain
    certificate = {"secretRef": {"name": "release", "key": "cosign.pub"}, "identities": [{"subject": "me"}]}
    written = referring()
    written["spec"]["authorities"] = [{"name": "release", "certificate": certificate}]
    field = "spec.authorities[0].certificate.secretRef"
    policy = read(written, held(chain.encode()))
    assert codes(policy) == []
    assert policy.spec.authorities[0].certificate is not None
    assert policy.spec.authorities[0].certificate.chain == chain.strip()
    assert resolved_pems(policy) == (chain.strip(),)
    assert policy.identity == read(written, Materials(ASSAY)).identity
    assert codes(read(written, Materials(ASSAY))) == [("ReferenceMissing", field)]
    assert codes(read(written, held(pem().encode()))) == [("ChainMalformed", field)]
    ref = ObjectRef(SECRET, ASSAY, "release")
    assert wanted([written], namespace=ASSAY) == {ref: {"cosign.pub"}}


def test_a_namespaced_policy_reads_its_own_namespace_alone() -> None:
    mine, theirs = held(pem().encode(), namespace="shop"), held(pem().encode(), namespace="bank")
    assert codes(read(referring(namespace="shop"), mine)) == []
    for elsewhere in (theirs, held(pem().encode())):
        assert codes(read(referring(namespace="shop"), elsewhere)) == [("ReferenceMissing", FIELD)]


def test_a_cluster_wide_policy_reads_assays_namespace_alone() -> None:
    assert codes(read(referring(), held(pem().encode(), namespace="shop"))) == [("ReferenceMissing", FIELD)]


@pytest.mark.guarantee(12)
def test_of_a_secret_only_what_is_named_is_kept_and_never_a_private_key() -> None:
    data = {
        "cosign.pub": pem().encode(),
        "cosign.key": PRIVATE.encode(),
        "bundle": pem().encode() + PRIVATE.encode(),
        "cosign.password": b"hunter2",
        "large": b"x" * (MAX_VALUE + 1),
    }
    kept = only(data, {"cosign.pub", "cosign.key", "bundle", "large", "absent"})
    assert kept == {
        "cosign.pub": pem().encode(),
        "cosign.key": Withheld.PRIVATE,
        "bundle": Withheld.PRIVATE,
        "large": Withheld.TOO_LARGE,
    }
    assert "hunter2" not in repr(kept)
    assert "PUBLIC KEY" not in repr(held(pem().encode()))


def root(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "assay.dev/v1alpha1", "kind": "TrustRoot", "metadata": {"name": "own"}, "spec": spec}


REF = {"name": "roots", "key": "root.json"}


@pytest.mark.parametrize(("source", "kind"), [("secretRef", SECRET), ("configMapRef", CONFIG_MAP)])
def test_a_trust_root_is_read_from_assays_namespace_with_the_hash_of_its_bytes(source: str, kind: str) -> None:
    found = parse_trust_root(
        root(**{source: REF}), Materials(ASSAY, {ObjectRef(kind, ASSAY, "roots"): {"root.json": DOCUMENT}})
    )
    assert found == TrustRoot("own", DOCUMENT, str(Digest.of(DOCUMENT)))


@pytest.mark.parametrize(
    ("objects", "code"),
    [
        ({}, "ReferenceMissing"),
        ({ObjectRef(SECRET, ASSAY, "roots"): {"root.json": DOCUMENT}}, "ReferenceMissing"),
        ({ObjectRef(CONFIG_MAP, "shop", "roots"): {"root.json": DOCUMENT}}, "ReferenceMissing"),
        ({ObjectRef(CONFIG_MAP, ASSAY, "roots"): {}}, "ReferenceKeyMissing"),
        ({ObjectRef(CONFIG_MAP, ASSAY, "roots"): {"root.json": b"{hunter2"}}, "TrustRootMalformed"),
        ({ObjectRef(CONFIG_MAP, ASSAY, "roots"): {"root.json": b"[]"}}, "TrustRootMalformed"),
        ({ObjectRef(CONFIG_MAP, ASSAY, "roots"): {"root.json": Withheld.PRIVATE}}, "ReferencePrivateKey"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_trust_root_whose_document_cannot_be_had_says_so_and_is_no_root(
    objects: dict[ObjectRef, dict[str, Value]], code: str
) -> None:
    problems = parse_trust_root(root(configMapRef=REF), Materials(ASSAY, objects))
    assert isinstance(problems, tuple)
    assert [(problem.code, problem.field) for problem in problems] == [(code, "spec.configMapRef")]
    assert "hunter2" not in problems[0].message


def test_a_trust_root_with_two_sources_has_none() -> None:
    problems = parse_trust_root(root(configMapRef=REF, trustedRoot=DOCUMENT.decode()), NOTHING)
    assert isinstance(problems, tuple)
    assert [problem.code for problem in problems] == ["TrustRootMalformed"]


@pytest.mark.guarantee(6)
def test_a_faulty_trust_root_judges_nothing_and_says_why() -> None:
    fault = Problem("ReferenceMissing", "spec.configMapRef", "there is no ConfigMap assay-system/roots")
    broken = faulty("own", fault)
    assert Digest.of(broken.content) == Digest.parse(broken.hash)
    assert faulty("own", dataclasses.replace(fault, message="other")).hash != broken.hash
    with pytest.raises(ConfigurationError) as raised:
        parse_root(broken)
    assert raised.value.code == "ReferenceMissing"
    assert "trust root own" in raised.value.message
    assert "ConfigMap assay-system/roots" in raised.value.message


def test_what_is_watched_is_what_is_referred_to_and_where_it_may_be() -> None:
    found = wanted(
        [
            referring(),
            referring(key="second.pub"),
            referring("mine", namespace="shop"),
            root(secretRef=REF),
            root(configMapRef=REF),
            {"kind": "ClusterEvidencePolicy", "spec": {"authorities": [None, {"key": {"secretRef": []}}, {"key": 1}]}},
            referring("a,type=Opaque"),
            referring("../x"),
        ],
        namespace=ASSAY,
    )
    assert found == {
        ObjectRef(SECRET, ASSAY, "release"): {"cosign.pub", "second.pub"},
        ObjectRef(SECRET, "shop", "mine"): {"cosign.pub"},
        ObjectRef(SECRET, ASSAY, "roots"): {"root.json"},
        ObjectRef(CONFIG_MAP, ASSAY, "roots"): {"root.json"},
    }


def secret(text: str, *, namespace: str | None = ASSAY, field: str = "stringData") -> dict[str, Any]:
    metadata = {"name": "release"} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, field: {"cosign.pub": text}}


def write(folder: Path, *objects: dict[str, Any]) -> Path:
    (folder / "objects.yaml").write_text(yaml.safe_dump_all(objects))
    return folder


@pytest.mark.guarantee(17)
def test_files_serve_secrets_and_config_maps_by_the_rules_of_the_cluster(tmp_path: Path) -> None:
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "roots", "namespace": ASSAY}}
    config["data"] = {"root.json": DOCUMENT.decode()}
    write(tmp_path, referring(), root(configMapRef=REF), secret(pem()), config)
    snapshot = load_snapshot(tmp_path)
    (compiled,) = snapshot.policies
    assert compiled.policy.problems == ()
    assert snapshot.trust_roots["own"].content == DOCUMENT
    assert [obj["kind"] for obj in load_objects(tmp_path)] == ["ClusterEvidencePolicy", "TrustRoot"]
    (tmp_path / "objects.yaml").write_text(yaml.safe_dump_all([referring(), secret(pem())]))
    (compiled,) = load_snapshot(tmp_path, namespace="another").policies
    assert [problem.code for problem in compiled.policy.problems] == ["ReferenceMissing"]


@pytest.mark.parametrize(
    ("given", "codes_"),
    [
        ([secret(base64.b64encode(pem().encode()).decode(), field="data")], []),
        ([secret(pem(), namespace=None)], ["ReferenceMissing"]),
        ([secret(pem(), namespace="shop")], ["ReferenceMissing"]),
        ([secret(PRIVATE)], ["ReferencePrivateKey"]),
        ([], ["ReferenceMissing"]),
    ],
)
def test_a_key_that_the_files_do_not_have_is_an_error(
    tmp_path: Path, given: list[dict[str, Any]], codes_: list[str]
) -> None:
    (compiled,) = load_snapshot(write(tmp_path, referring(), *given)).policies
    assert [problem.code for problem in compiled.policy.problems] == codes_


@pytest.mark.parametrize("data", [{"cosign.pub": "hunter2!"}, ["hunter2"], {"cosign.pub": 2}])
@pytest.mark.guarantee(12)
def test_a_malformed_secret_in_a_file_is_named_and_never_quoted(tmp_path: Path, data: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_snapshot(write(tmp_path, secret("x") | {"data": data}))
    assert raised.value.code == "ReferenceMalformed"
    assert "objects.yaml, document 1" in raised.value.message
    assert "hunter2" not in str(raised.value)
    assert raised.value.__cause__ is None
