"""An image in a private registry is judged with the pod's own pull secrets, and with nobody else's."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.registry_servers.scripted import ScriptedRegistry, Users
from tests.e2e.conftest import Rig, in_force, pod
from tests.support import canaries
from tests.support.fixtures import recorded_bundle, recorded_manifest
from tests.support.pipeline import key_authority
from tests.support.processes import wait_until

PASSWORD = "hunter2-secret"
IMAGE = "private/app"


@pytest.fixture(scope="module", params=[True, False], ids=["token", "basic"])
def registry(request: pytest.FixtureRequest) -> Iterator[ScriptedRegistry]:
    """A registry that holds the recorded image, signed with the recorded key, for those who know a password."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    served = ScriptedRegistry(users=Users(passwords={"jane": PASSWORD}, bearer=request.param))
    digest = served.put_manifest(IMAGE, recorded_manifest(), tag="1")
    served.put_referrer(IMAGE, digest, recorded_bundle("release.none.signature").raw)
    asyncio.run_coroutine_threadsafe(served.__aenter__(), loop).result()
    try:
        yield served
    finally:
        asyncio.run_coroutine_threadsafe(served.__aexit__(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_guarantee_11_a_pod_is_judged_with_its_own_pull_secrets_and_no_others(
    rig: Rig, registry: ScriptedRegistry
) -> None:
    name = f"private-{registry.port}"
    spec = {"match": {"images": [f"{registry.host}/**"]}, "authorities": [key_authority()]}
    rig.cluster.apply(rig.policy(name, **spec))
    in_force(rig, name)
    ours, theirs = f"{name}-ours", f"{name}-theirs"
    for namespace in (ours, theirs):
        rig.cluster.create_namespace(namespace)
    config = {"auths": {registry.host: {"auth": base64.b64encode(f"jane:{PASSWORD}".encode()).decode()}}}
    rig.cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "pull", "namespace": ours},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": json.dumps(config)},
        },
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "puller", "namespace": ours},
            "imagePullSecrets": [{"name": "pull"}],
        },
    )
    image = f"{registry.host}/{IMAGE}:1"

    def create(pod_name: str, namespace: str, **more: Any) -> Any:
        return rig.cluster.apply(pod(pod_name, namespace, image, **more), namespace=namespace, check=False)

    secrets = {"imagePullSecrets": [{"name": "pull"}]}
    wait_until(lambda: create("by-secret", ours, **secrets).status == 0, what="the pull secret is known")
    wait_until(lambda: create("by-account", ours, serviceAccountName="puller").status == 0, what="so is the account's")
    for number, (namespace, more) in enumerate([(ours, {}), (theirs, secrets)]):
        refused = create(f"without-{number}", namespace, **more)
        assert refused.status != 0
        assert "cannot be judged, AccessDenied" in refused.stderr
        assert "imagePullSecrets" in refused.stderr
        assert PASSWORD not in refused.stderr
    assert PASSWORD not in rig.assay.server.log.read_text()
    basic = base64.b64encode(f"jane:{PASSWORD}".encode()).decode()
    assert canaries.found(rig.assay.folder, [PASSWORD, basic]) == set()
    stored = rig.cluster.get(f"/api/v1/namespaces/{ours}/pods/by-secret")["spec"]["containers"][0]["image"]
    assert stored.startswith(f"{image}@sha256:")
