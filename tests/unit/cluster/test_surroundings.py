"""What a policy names is asked for once, by name, within a short time; what cannot be told is no finding."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from controller.cluster import surroundings as under_test
from controller.cluster.client import DENIED, ClusterClient
from controller.cluster.surroundings import ClusterSurroundings
from controller.errors import ConfigurationError
from controller.model.deadline import Deadline
from controller.policy.lint import Surroundings, lint
from controller.policy.references import CONFIG_MAP, SECRET, ObjectRef
from controller.settings import ClusterSettings
from tests.support.mistakes import ASSAY_NAMESPACE, MISTAKES, by_key, policy, surroundings
from tests.unit.policy import make

KEYS = {"secretRef": {"name": "keys", "key": "cosign.pub"}}
ROOTS = under_test.TRUST_ROOTS


class _Cluster(ClusterClient):
    """Objects by collection and name; None for a collection that may not be listed."""

    def __init__(self, objects: dict[str, dict[str, Any] | None], *, pause: float = 0.0) -> None:
        self.objects, self.pause = objects, pause
        self.asked: list[tuple[str, Any]] = []

    async def get(self, path: str, *, query: Any = None, timeout: float = 0.0) -> dict[str, Any]:
        self.asked.append((path, query))
        await asyncio.sleep(min(self.pause, timeout))
        found = self.objects.get(path, {})
        if found is None:
            raise ConfigurationError(DENIED, "forbidden")
        name = query["fieldSelector"].removeprefix("metadata.name=")
        return {"items": [found[name]] if name in found else []}


async def of(cluster: _Cluster, obj: dict[str, Any], *given: str, seconds: float = 10.0) -> Surroundings:
    asking = ClusterSurroundings(ClusterSettings(), surroundings(trust_roots=frozenset(given)))
    asking._client = cluster
    return await asking.of(obj, deadline=Deadline.after(seconds))


def _secrets(namespace: str) -> str:
    return f"/api/v1/namespaces/{namespace}/secrets"


async def test_secrets_and_trust_roots_are_asked_for_by_name_and_keys_that_are_not_named_are_not_kept() -> None:
    data = {"cosign.pub": base64.b64encode(b"PEM").decode(), "password": base64.b64encode(b"hunter2").decode()}
    cluster = _Cluster({_secrets(ASSAY_NAMESPACE): {"keys": {"data": data}}, ROOTS: {"acme": {}}})
    roots = [by_key("a", key={"trustRootRef": {"name": name}}) for name in ("acme", "nowhere", "given")]
    found = await of(cluster, policy("p", authorities=[by_key("release", key=KEYS), *roots]), "given", "public-good")
    assert found.trust_roots == {"acme", "given", "public-good"}
    assert found.materials is not None
    assert found.materials.objects == {ObjectRef(SECRET, ASSAY_NAMESPACE, "keys"): {"cosign.pub": b"PEM"}}
    assert found.installation == surroundings().installation
    assert sorted(cluster.asked, key=str) == [
        (_secrets(ASSAY_NAMESPACE), {"fieldSelector": "metadata.name=keys", "limit": 1}),
        (ROOTS, {"fieldSelector": "metadata.name=acme", "limit": 1}),
        (ROOTS, {"fieldSelector": "metadata.name=nowhere", "limit": 1}),
    ]


async def test_a_namespaced_policy_asks_in_its_own_namespace_alone() -> None:
    cluster = _Cluster({})
    obj = policy("p", namespace="shop", authorities=[by_key("release", key=KEYS)])
    found = await of(cluster, obj, "public-good")
    assert [path for path, _ in cluster.asked] == [_secrets("shop")]
    assert [(finding.code, finding.message) for finding in lint(obj, found)] == [
        ("ReferenceMissing", "there is no Secret shop/keys; create it, with the key cosign.pub")
    ]


async def test_a_trust_root_s_own_references_are_asked_for() -> None:
    path = f"/api/v1/namespaces/{ASSAY_NAMESPACE}/configmaps"
    cluster = _Cluster({path: {"roots": {"data": {"root.json": "{}"}}}})
    obj = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": {"name": "acme"},
        "spec": {"configMapRef": {"name": "roots", "key": "root.json"}},
    }
    found = await of(cluster, obj)
    assert found.materials is not None
    assert found.materials.objects == {ObjectRef(CONFIG_MAP, ASSAY_NAMESPACE, "roots"): {"root.json": b"{}"}}
    assert [(str(finding.severity), finding.code) for finding in lint(obj, found)] == [
        ("warning", "TrustRootMalformed")
    ]


async def test_the_policies_that_an_exception_names_are_asked_for_by_name() -> None:
    own = "/apis/assay.dev/v1alpha1/namespaces/shop/evidencepolicies"
    cluster = _Cluster({"/apis/assay.dev/v1alpha1/clusterevidencepolicies": {"a": {}}, own: {"c": {}}})
    policies = [{"name": "a"}, {"name": "b"}]
    policies += [{"kind": "EvidencePolicy", "namespace": "shop", "name": name} for name in ("c", "d")]
    found = await of(cluster, {"kind": "EvidenceException", "spec": {"policies": policies}})
    assert found.policies == {("ClusterEvidencePolicy", "", "a"), ("EvidencePolicy", "shop", "c")}


@pytest.mark.parametrize("forbidden", [True, False])
async def test_what_cannot_be_told_is_no_finding_and_no_one_waits_long_for_it(
    forbidden: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "PATIENCE", 0.01)
    obj = policy("p", authorities=[by_key("release", key=KEYS, transparencyLog="Required")])
    cluster = _Cluster({_secrets(ASSAY_NAMESPACE): None, ROOTS: None}, pause=0.0 if forbidden else 60.0)
    found = await asyncio.wait_for(of(cluster, obj), 30)
    assert lint(obj, found) == ()


async def test_an_object_that_is_no_policy_asks_for_nothing() -> None:
    cluster = _Cluster({})
    for broken in (
        None,
        3,
        {"authorities": 3},
        {"authorities": [3, {"key": 3}, {"key": {"secretRef": {"name": "../x"}}}]},
    ):
        await of(cluster, policy("p") | {"spec": broken}, "public-good")
    assert cluster.asked == []


async def test_a_key_in_a_secret_that_is_there_is_no_finding() -> None:
    data = {"cosign.pub": base64.b64encode(make.pem().encode()).decode()}
    cluster = _Cluster({_secrets(ASSAY_NAMESPACE): {"keys": {"data": data}}})
    obj = MISTAKES["a secret that is not there"].policy("p")
    assert lint(obj, await of(cluster, obj, "public-good")) == ()
