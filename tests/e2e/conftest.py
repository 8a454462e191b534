"""The whole thing, for the end-to-end tests: a real API server that calls the real Assay over TLS about images that the
real cosign signed, in a real registry. One rig a session; each test uses names of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import tuf
from tests.support.assay import Assay, serving
from tests.support.cosign import Cosign, KeyPair
from tests.support.kubernetes import ApiServer, User
from tests.support.mistakes import ASSAY_IMAGE
from tests.support.processes import free_port, wait_until
from tests.support.registry import Registry, run_registry
from tests.support.tools import tool
from tests.support.tuf import Served

CHART = Path(__file__).resolve().parents[2] / "charts" / "assay"
DEVELOPER = User("developer", ("developers",))
NODE = User("system:node:worker-1", ("system:nodes", "system:masters"))
ASSAY = User("system:serviceaccount:assay-system:assay", ("system:serviceaccounts", "system:authenticated"))
"""Assay runs with the rights that the chart gives its service account, and no others."""
DENYING = "denies-and-counts"
"""A policy of the rig that has denied two images, each of them twice."""


def render_chart(**values: str) -> list[dict[str, Any]]:
    """What `helm template` makes of the chart, CRDs included, as objects."""
    command = [str(tool("helm")), "template", "assay", str(CHART), "--namespace", "assay-system", "--include-crds"]
    for name, value in values.items():
        command += ["--set", f"{name.replace('__', '.')}={value}"]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    return [document for document in yaml.safe_load_all(text) if document]


@dataclass(frozen=True, slots=True)
class Rig:
    """Everything that one admission touches."""

    cluster: ApiServer
    registry: Registry
    cosign: Cosign
    key: KeyPair
    assay: Assay
    roots: Served
    """A TUF repository that Assay can reach; nothing is published in it yet."""

    def signed(self, name: str, tag: str = "1") -> tuple[str, str]:
        """Push and sign `acme/NAME`; return its reference by tag, and its digest."""
        digest = self.registry.push_image(f"acme/{name}", tag, files={"name": name.encode()})
        self.cosign.sign(self.registry.reference(f"acme/{name}", digest=digest), key=self.key)
        return self.registry.reference(f"acme/{name}", tag=tag), digest

    def unsigned(self, name: str, tag: str = "1") -> tuple[str, str]:
        """Push `acme/NAME`; return its reference by tag, and its digest."""
        digest = self.registry.push_image(f"acme/{name}", tag, files={"name": f"{name} unsigned".encode()})
        return self.registry.reference(f"acme/{name}", tag=tag), digest

    def policy(self, name: str, **spec: Any) -> dict[str, Any]:
        """A ClusterEvidencePolicy that demands a signature by the rig's key on `acme/**`, unless told otherwise."""
        return {
            "apiVersion": "assay.dev/v1alpha1",
            "kind": "ClusterEvidencePolicy",
            "metadata": {"name": name},
            "spec": {
                "match": {"images": [f"{self.registry.host}/acme/**"]},
                "authorities": [
                    {"name": "release", "key": {"pem": self.key.public_pem}, "transparencyLog": "Optional"}
                ],
                "signatures": {"authorities": ["release"]},
                **spec,
            },
        }

    def decisions(self, namespace: str) -> list[dict[str, Any]]:
        """What the inventory has of a namespace, newest first."""
        return self.assay.decisions(namespace=namespace)


def pod(name: str, namespace: str, *images: str, **spec: Any) -> dict[str, Any]:
    """A pod with a container an image."""
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": containers, **spec},
    }


def in_force(rig: Rig, name: str) -> None:
    """Wait until a policy's status says that it is ready, which it says after the webhook's snapshot has it."""

    def ready() -> bool:
        status = rig.cluster.get(f"/apis/assay.dev/v1alpha1/clusterevidencepolicies/{name}").get("status", {})
        return any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", ()))

    wait_until(ready, what=f"policy {name} is ready")


def apply_chart(cluster: ApiServer, port: int) -> None:
    """Apply the chart whole, for an Assay that will listen on this port of loopback."""
    objects = render_chart(webhook__url=f"https://127.0.0.1:{port}")
    definitions = [o for o in objects if o["kind"] == "CustomResourceDefinition"]
    cluster.apply(*definitions)
    for definition in definitions:
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{definition['metadata']['name']}")
    cluster.apply(*(o for o in objects if o["kind"] != "CustomResourceDefinition"))


def trusted(cluster: ApiServer) -> None:
    """Wait until Assay has told the API server by which CA to know it."""
    path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/assay"
    wait_until(
        lambda: bool(cluster.get(path)["webhooks"][0]["clientConfig"].get("caBundle")),
        what="Assay has filled in caBundle",
    )


@pytest.fixture(scope="session")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """The API server with the chart's objects, Assay beside it, a registry with the referrers API, a key."""
    folder = tmp_path_factory.mktemp("rig")
    port = free_port()
    with (
        ApiServer(folder / "cluster", users=[DEVELOPER, NODE, ASSAY], controllers=True) as cluster,
        run_registry(folder, referrers=True) as registry,
        tuf.serving(tuf.Repository(), folder / "tuf") as roots,
    ):
        cluster.create_namespace("assay-system")
        apply_chart(cluster, port)
        with serving(
            folder / "assay",
            webhook_port=port,
            kubeconfig=str(cluster.kubeconfig_for(ASSAY)),
            webhook_names="127.0.0.1",
            tuf_ca_file=str(roots.ca_file),
            assay_image=ASSAY_IMAGE,
        ) as assay:
            cosign = Cosign(folder / "cosign")
            rig = Rig(cluster, registry, cosign, cosign.generate_key_pair("release"), assay, roots)
            trusted(cluster)
            cluster.apply(rig.policy("acme-signed"))
            in_force(rig, "acme-signed")
            _deny_two_images(rig)
            yield rig


def _deny_two_images(rig: Rig) -> None:
    """They are counted once a minute: with the rig, so that the test that looks for the count need not wait for it."""
    rig.cluster.create_namespace("counted")
    rig.cluster.apply(rig.policy(DENYING, match={"images": [f"{rig.registry.host}/acme/counted-*"]}))
    in_force(rig, DENYING)
    for name in ("counted-one", "counted-two"):
        image, _ = rig.unsigned(name)
        body = pod(name, "counted", image)
        for _ in range(2):
            assert rig.cluster.request("POST", "/api/v1/namespaces/counted/pods", body=body)[0] == 403
