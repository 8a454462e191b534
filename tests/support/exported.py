"""An inventory in which something really happened: the demo's pods were judged by the real program, and some ran.

Evidence, keys and trust root are the demo's, from the real cosign and a real Sigstore (tests/fixtures/README.md).
"""

from __future__ import annotations

import asyncio
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from controller.demo import story
from controller.demo.registry import EmbeddedRegistry, Layout
from controller.inventory.ledger.keeping import open_signer
from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.support.assay import serving
from tests.support.commands import assay
from tests.support.fixtures import DEMO_LAYOUT
from tests.support.inventory import sighting, soon

CLUSTER = "shop-cluster"
ROOT = f"demo={DEMO_LAYOUT / 'trusted_root.json'}"


@dataclass(frozen=True)
class Happened:
    """The folder with database and ledger, and the decisions' leaves by the pod's name."""

    folder: Path
    decisions: Mapping[str, dict[str, Any]]

    @property
    def settings(self) -> InventorySettings:
        """Where it lies."""
        return InventorySettings(
            database_url=f"sqlite:///{self.folder / 'inventory.db'}",
            ledger_directory=str(self.folder / "ledger"),
            durability="Database",
        )

    def digest(self, pod: str) -> str:
        """The digest of a pod's image."""
        return str(self.decisions[pod]["images"][0]["digest"])

    def run(self, *arguments: str | Path) -> Any:
        """Run `assay inventory …` on it."""
        environment = {
            "ASSAY_DATABASE_URL": self.settings.database_url,
            "ASSAY_LEDGER_DIRECTORY": self.settings.ledger_directory,
        }
        return assay("inventory", *arguments, folder=self.folder, environment=environment)


def make_happen(folder: Path) -> Happened:
    """Have every pod of the demo judged, then see those run that were admitted, and sign the ledger."""
    folder.mkdir(parents=True, exist_ok=True)
    with EmbeddedRegistry(Layout(DEMO_LAYOUT)) as registry:
        policies = story.write_policies(folder)
        _also_ask_for_sboms(policies)
        with serving(
            folder, policies=str(policies), trusted_root=ROOT, cluster_name=CLUSTER, ledger_merge_delay="100ms"
        ) as running:
            server = story.ApiServer(running.webhook_port, running.ca_file.read_bytes())
            for scene in story.scenes(registry.host):
                server.create(scene)
            ids = [item["id"] for item in running.decisions()]
            leaves = [running.decision(identity) for identity in ids]
    happened = Happened(folder, {leaf["object"]["name"]: leaf for leaf in leaves})
    asyncio.run(_see_running(happened))
    return happened


async def _see_running(happened: Happened) -> None:
    """The kubelet of the shop tells of the manifest within the index; a stranger runs that nobody was asked about."""
    signer = open_signer(f"assay/{CLUSTER}", key_file="", directory=happened.folder / "ledger")
    with Store.open(happened.settings) as store:
        for number, (pod, leaf) in enumerate(happened.decisions.items()):
            if leaf["verdict"] == "Allow":
                image = leaf["images"][0]
                digest = (image["manifests"] or [image["digest"]])[0]
                about = {"namespace": "shop", "name": pod, "uid": leaf["object"]["uid"]}
                await store.writer.record(
                    _seen(number, image["repository"], digest, **about), blobs={}, deadline=soon()
                )
        stranger = _seen(90, "docker.io/library/nginx", "sha256:" + "9f" * 32, namespace="bank", name="x", uid="pod-x")
        await store.writer.record(stranger, blobs={}, deadline=soon())
        sequencer = store.sequencer(happened.settings, signer=signer)
        sequencer.take_over()
        while sequencer.sequence().more:
            pass


def _seen(number: int, repository: str, digest: str, **pod: str) -> dict[str, Any]:
    found = sighting(
        "Started",
        number,
        container="main",
        id=f"containerd://{number}",
        image=repository,
        imageId=f"{repository}@{digest}",
        repository=repository,
        digest=digest,
        **pod,
    )
    return found | {"cluster": CLUSTER}


def _also_ask_for_sboms(policies: Path) -> None:
    identity = json.loads((DEMO_LAYOUT / "story.json").read_text())["identity"]
    keyless = {"identities": [identity], "trustRootRef": {"name": "demo"}}
    asked = {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "ClusterEvidencePolicy",
        "metadata": {"name": "checkout-sbom"},
        "spec": {
            "match": {"images": ["*/acme/checkout"]},
            "authorities": [{"name": "workflow", "keyless": keyless}],
            "attestations": [{"name": "sbom", "type": "SBOM", "authorities": ["workflow"]}],
        },
    }
    (policies / "sbom.yaml").write_text(yaml.safe_dump(asked))


def unpacked(file: Path, folder: Path) -> Path:
    """Unpack a bundle, as an auditor does."""
    folder.mkdir()
    with tarfile.open(file) as archive:
        archive.extractall(folder, filter="data")
    return folder
