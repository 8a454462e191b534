"""The demo's story: ten pods ask to run, and each gets the verdict that it deserves, or the demo has failed.

Everything is real but the cluster: recorded images that cosign signed, a registry over HTTP, the webhook over TLS, the
inventory on SQLite. The AdmissionReviews are those that an API server would send.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from controller import admission

LAYOUT = Path(__file__).parent / "layout"
POLICIES = Path(__file__).parent / "policies.yaml"
NAMESPACE = "shop"
USER = {"username": "system:serviceaccount:kube-system:replicaset-controller", "groups": ["system:serviceaccounts"]}


@dataclass(frozen=True, slots=True)
class Scene:
    """One pod: what it runs, whether it must be let in, and why."""

    pod: str
    image: str
    allowed: bool
    because: str


@dataclass(frozen=True, slots=True)
class Played:
    """What was answered. `image` is the image string after mutation."""

    scene: Scene
    image: str
    allowed: bool
    message: str
    warnings: tuple[str, ...]

    @property
    def as_expected(self) -> bool:
        """Whether the verdict is the one that the pod deserves."""
        return self.allowed == self.scene.allowed


def scenes(host: str) -> tuple[Scene, ...]:
    """The pods of the recorded story, their images at this registry."""
    story = json.loads((LAYOUT / "story.json").read_text())
    return tuple(
        Scene(pod["pod"], f"{host}/{pod['image']}", pod["expected"] == "allow", pod["because"]) for pod in story["pods"]
    )


def write_policies(folder: Path) -> Path:
    """Write the demo's policies, filled in with the recorded keys and identities; return their folder."""
    identity = json.loads((LAYOUT / "story.json").read_text())["identity"]
    key = (LAYOUT / "keys" / "release.pub").read_text().strip().replace("\n", "\n        ")
    filled = {"release_key": key, "issuer": identity["issuer"], "subject": identity["subject"]}
    directory = folder / "policies"
    directory.mkdir()
    (directory / "policies.yaml").write_text(Template(POLICIES.read_text()).substitute(filled))
    return directory


class ApiServer:
    """Plays the API server's part: sends AdmissionReviews to the webhook by TLS, as its own CA demands."""

    def __init__(self, port: int, ca_bundle: bytes) -> None:
        self._port = port
        self._tls = ssl.create_default_context(cadata=ca_bundle.decode())

    def create(self, scene: Scene) -> Played:
        """Create the scene's pod: mutate, then validate what came of it."""
        pod = _pod(scene)
        patch = self._review("/mutate", pod).get("patch")
        operations = json.loads(base64.b64decode(patch)) if patch else []
        pinned = admission.apply_pins(pod, operations)
        pinned["metadata"]["uid"] = str(uuid.uuid4())
        answer = self._review("/validate", pinned)
        return Played(
            scene=scene,
            image=pinned["spec"]["containers"][0]["image"],
            allowed=answer["allowed"],
            message=answer.get("status", {}).get("message", ""),
            warnings=tuple(answer.get("warnings", ())),
        )

    def _review(self, path: str, pod: Mapping[str, Any]) -> Mapping[str, Any]:
        uid = str(uuid.uuid4())
        body = {
            "apiVersion": admission.API_VERSION,
            "kind": "AdmissionReview",
            "request": {
                "uid": uid,
                "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "operation": "CREATE",
                "namespace": NAMESPACE,
                "name": pod["metadata"]["name"],
                "userInfo": USER,
                "object": pod,
                "dryRun": False,
            },
        }
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._tls, timeout=30)
        try:
            connection.request("POST", f"{path}?timeout=10s", json.dumps(body), {"Content-Type": "application/json"})
            response: Mapping[str, Any] = json.loads(connection.getresponse().read())["response"]
        finally:
            connection.close()
        if response["uid"] != uid:
            raise ValueError("the webhook answered another request")
        return response


def decisions(port: int) -> list[Mapping[str, Any]]:
    """What the inventory says, oldest first."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/api/v1/decisions?limit=100")
        page = json.loads(connection.getresponse().read())
    finally:
        connection.close()
    return list(reversed(page["items"]))


def _pod(scene: Scene) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": scene.pod, "namespace": NAMESPACE},
        "spec": {"containers": [{"name": "main", "image": scene.image}]},
    }
