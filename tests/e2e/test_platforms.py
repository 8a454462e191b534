"""`platforms: Each` and `Nodes` with a real API server's nodes, on images that the real cosign signed by platform."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import DEVELOPER, Rig, in_force, pod
from tests.support.processes import wait_until


def _node(rig: Rig, name: str, architecture: str) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    status, answer = rig.cluster.request("POST", "/api/v1/nodes", body=node)
    assert status == 201, answer
    empty = {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": "",
        "osImage": "",
        "containerRuntimeVersion": "",
        "kubeletVersion": "",
        "kubeProxyVersion": "",
    }
    node["status"] = {"nodeInfo": {**empty, "operatingSystem": "linux", "architecture": architecture}}
    status, answer = rig.cluster.request("PUT", f"/api/v1/nodes/{name}/status", body=node)
    assert status == 200, answer


@pytest.fixture(scope="module")
def namespace(rig: Rig) -> str:
    """A namespace in which the developer may create pods."""
    rig.cluster.create_namespace("platforms")
    rig.cluster.kubectl("create", "rolebinding", "dev", "--clusterrole=edit", "--user=developer", namespace="platforms")
    return "platforms"


def _create(rig: Rig, namespace: str, image: str) -> tuple[int, str]:
    path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All"
    status, answer = rig.cluster.request("POST", path, body=pod("p", namespace, image), user=DEVELOPER)
    return status, answer.get("message", "")


def _half_signed(rig: Rig, repository: str, platforms: str) -> tuple[str, str]:
    """An index of which the amd64 child alone is signed, and its policy in force: its reference, and arm64's digest."""
    rig.registry.push_index(repository, "1")
    amd, arm = (rig.registry.digest(rig.registry.reference(repository, tag=f"1-linux-{a}")) for a in ("amd64", "arm64"))
    rig.cosign.sign(rig.registry.reference(repository, digest=amd), key=rig.key)
    name = repository.replace("/", "-")
    rig.cluster.apply(rig.policy(name, match={"images": [f"{rig.registry.host}/{repository}"]}, platforms=platforms))
    in_force(rig, name)
    return rig.registry.reference(repository, tag="1"), arm


@pytest.mark.guarantee(1)
def test_each_platform_must_be_signed(rig: Rig, namespace: str) -> None:
    image, arm = _half_signed(rig, "platforms/each", "Each")
    status, message = _create(rig, namespace, image)
    assert status != 201
    assert f"linux/arm64, {arm}" in message
    assert "linux/amd64" not in message
    rig.cosign.sign(rig.registry.reference("platforms/each", digest=arm), key=rig.key)
    wait_until(lambda: _create(rig, namespace, image)[0] == 201, what="both are signed", timeout=30)


@pytest.mark.guarantee(1)
def test_what_the_clusters_nodes_run_must_be_signed(rig: Rig, namespace: str) -> None:
    image, arm = _half_signed(rig, "platforms/nodes", "Nodes")
    try:
        assert "NodesUnknown" in _create(rig, namespace, image)[1]
        _node(rig, "worker-amd", "amd64")
        wait_until(lambda: _create(rig, namespace, image)[0] == 201, what="the node's is signed", timeout=20)
        _node(rig, "worker-arm", "arm64")
        wait_until(lambda: _create(rig, namespace, image)[0] != 201, what="the other node's is not", timeout=20)
        assert f"linux/arm64, {arm}" in _create(rig, namespace, image)[1]
    finally:
        rig.cluster.kubectl("delete", "nodes", "worker-amd", "worker-arm", "--ignore-not-found")
