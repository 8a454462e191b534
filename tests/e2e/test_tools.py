"""The real parts themselves: what every other end-to-end test stands on is up, and does what it is believed to do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cosign import Cosign, KeyPair
from tests.support.kubernetes import ApiServer, User
from tests.support.processes import ServerError, running
from tests.support.registry import Registry, run_registry
from tests.support.tools import CommandError, run_tool

DEVELOPER = User("developer", ("developers",))
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with ApiServer(tmp_path_factory.mktemp("cluster"), users=[DEVELOPER]) as running:
        yield running


@pytest.fixture(scope="module", params=[True, False], ids=["referrers-api", "fallback-tag"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with run_registry(tmp_path_factory.mktemp("registry"), referrers=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def cosign(tmp_path_factory: pytest.TempPathFactory) -> Cosign:
    return Cosign(tmp_path_factory.mktemp("cosign"))


@pytest.fixture(scope="module")
def key(cosign: Cosign) -> KeyPair:
    return cosign.generate_key_pair("release")


def pod(name: str, namespace: str) -> dict[str, Any]:
    containers = [{"name": "main", "image": "registry.test/app:1"}]
    volumes = [{"name": "data", "image": {"reference": "registry.test/data:1"}}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": containers, "volumes": volumes},
    }


def referrers(registry: Registry, repository: str, digest: str) -> list[dict[str, Any]]:
    """What refers to a digest, asked of the server by the API or read from the fallback tag."""
    if not registry.has_referrers:
        found = registry.manifest(registry.reference(repository, tag=digest.replace(":", "-")))
        return list(found["manifests"])
    with urllib.request.urlopen(f"http://{registry.host}/v2/{repository}/referrers/{digest}", timeout=10) as answer:
        return list(json.load(answer)["manifests"])


def test_a_pod_is_stored_with_its_image_volume(cluster: ApiServer) -> None:
    cluster.create_namespace("stored")
    cluster.apply(pod("app", "stored"))
    stored = cluster.get("/api/v1/namespaces/stored/pods/app")
    assert stored["spec"]["volumes"][0]["image"]["reference"] == "registry.test/data:1"
    assert (
        cluster.kubectl("get", "pod", "app", "-o", "jsonpath={.status.phase}", namespace="stored").stdout == "Pending"
    )


def test_the_server_says_the_version_that_clients_check(cluster: ApiServer) -> None:
    assert cluster.get("/version")["gitVersion"].startswith("v1.3")


def test_an_ordinary_user_may_do_nothing_until_told(cluster: ApiServer) -> None:
    cluster.create_namespace("guarded")
    refused = cluster.apply(pod("app", "guarded"), user=DEVELOPER, check=False)
    assert refused.status != 0
    assert 'User "developer" cannot' in refused.stderr
    status, answer = cluster.request(
        "POST", "/api/v1/namespaces/guarded/pods", body=pod("app", "guarded"), user=DEVELOPER
    )
    assert (status, answer["reason"]) == (403, "Forbidden")


def test_a_change_is_in_the_audit_log_when_it_is_answered(cluster: ApiServer) -> None:
    cluster.create_namespace("audited")
    assert cluster.request("POST", "/api/v1/namespaces/audited/pods", body=pod("app", "audited"))[0] == 201
    assert [
        event["objectRef"]["name"] for event in cluster.audit_events() if event["objectRef"]["namespace"] == "audited"
    ] == ["app"]


def test_what_was_stored_outlives_an_outage_of_the_server(cluster: ApiServer) -> None:
    cluster.create_namespace("outage")
    cluster.stop()
    with pytest.raises(urllib.error.URLError):
        cluster.request("GET", "/api/v1/namespaces/outage")
    cluster.start()
    assert cluster.get("/api/v1/namespaces/outage")["metadata"]["name"] == "outage"


def test_with_controllers_a_deployment_makes_pods(tmp_path: Path) -> None:
    with ApiServer(tmp_path, controllers=True) as cluster:
        cluster.create_namespace("deployed")
        labels = {"app": "shop"}
        template = {"metadata": {"labels": labels}, "spec": pod("ignored", "ignored")["spec"]}
        deployment = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "shop", "namespace": "deployed"},
            "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
        }
        cluster.apply(deployment)
        made = "jsonpath={.status.replicas}"
        cluster.kubectl("wait", f"--for={made}=2", "deployment/shop", "--timeout=60s", namespace="deployed")
        assert len(cluster.get("/api/v1/namespaces/deployed/pods")["items"]) == 2


def test_only_one_of_the_registries_answers_the_referrers_api(registry: Registry) -> None:
    digest = registry.push_image("acme/alone", "1")
    if registry.has_referrers:
        assert referrers(registry, "acme/alone", digest) == []
    else:
        with pytest.raises(urllib.error.HTTPError) as answer:
            urllib.request.urlopen(f"http://{registry.host}/v2/acme/alone/referrers/{digest}", timeout=10)
        answer.value.close()
        assert answer.value.code == 404


def test_equal_files_make_equal_digests(registry: Registry) -> None:
    assert registry.push_image("acme/one", "1") == registry.push_image("acme/two", "7")
    assert registry.push_image("acme/one", "2", files={"other": b"x"}) != registry.push_image("acme/two", "7")


def test_an_index_names_an_image_for_each_platform(registry: Registry) -> None:
    digest = registry.push_index("acme/many", "1")
    index = registry.manifest(registry.reference("acme/many", digest=digest))
    assert [member["platform"]["architecture"] for member in index["manifests"]] == ["amd64", "arm64"]


def test_cosign_signs_and_the_bundle_is_found(registry: Registry, cosign: Cosign, key: KeyPair) -> None:
    digest = registry.push_image("acme/signed", "1")
    image = registry.reference("acme/signed", digest=digest)
    cosign.sign(image, key=key)
    cosign.attest(image, key=key, predicate_type="https://example.com/review", predicate={"passed": True})
    found = referrers(registry, "acme/signed", digest)
    assert len(found) == 2
    for entry in found:
        manifest = registry.manifest(registry.reference("acme/signed", digest=entry["digest"]))
        assert manifest["subject"]["digest"] == digest
        assert [layer["mediaType"] for layer in manifest["layers"]] == [BUNDLE]
    cosign.verify(image, key=key)
    with pytest.raises(CommandError):
        cosign.verify(image, key=cosign.generate_key_pair("stranger"))


def test_cosign_still_writes_its_older_layout(registry: Registry, cosign: Cosign, key: KeyPair) -> None:
    digest = registry.push_image("acme/legacy", "1")
    cosign.sign(registry.reference("acme/legacy", digest=digest), key=key, new_bundle_format=False)
    assert digest.replace(":", "-") + ".sig" in registry.tags("acme/legacy")


def test_helm_is_there_for_the_chart() -> None:
    assert run_tool("helm", "version", "--short").startswith("v4.")


def test_a_server_that_ends_early_fails_with_its_log(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such flag; exit 3"]
    with (
        pytest.raises(ServerError, match=r"broken ended with status 3:\nno such flag"),
        running(command, name="broken", log=tmp_path / "log", ready=lambda: False),
    ):
        pass


def test_a_server_that_never_answers_is_stopped(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    command = ["sh", "-c", f"echo $$ > {pid}; exec sleep 600"]
    with (
        pytest.raises(ServerError, match="until silent answers, in vain"),
        running(command, name="silent", log=tmp_path / "log", ready=lambda: False, timeout=1),
    ):
        pass
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
