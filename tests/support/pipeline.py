"""The whole of Assay but its sockets, in the test's own process: every part is the real one.

A scripted registry holds the recorded images and answers as a test wants; the registry client speaks to it over HTTP,
worker processes verify, the inventory is SQLite on disk, policies are read from YAML, and reviews go in and out through
the webhook's own application, as an API server sends them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from fastapi import FastAPI

from controller import admission, app, serving, settings
from controller.inventory.store import Store
from controller.model.access import Credential
from controller.model.workload import POD_PATHS
from controller.operator.holder import SnapshotHolder
from controller.policy.snapshot import Snapshot
from controller.review.pipeline import Pipeline
from controller.settings import Settings
from controller.webhook.app import create_app
from tests.contract.registry_servers.scripted import OCI_INDEX, OCI_MANIFEST, ScriptedRegistry, descriptor, encoded
from tests.support.fixtures import (
    DEMO_LAYOUT,
    RECORDED,
    recorded_bundle,
    recorded_key,
    recorded_manifest,
    recorded_trusted_root,
)

APP = "acme/app"  # the repository of the recorded image, whose evidence is in tests/fixtures/recorded
WORKFLOW = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
ISSUER = "https://token.actions.githubusercontent.com"


@dataclass(frozen=True, slots=True)
class Answer:
    """What `/mutate` and `/validate` said. `object` is what would be stored; `response` is `/validate`'s, whole."""

    patch: list[dict[str, Any]]
    object: Mapping[str, Any]
    response: Mapping[str, Any]

    @property
    def allowed(self) -> bool:
        """The verdict."""
        return bool(self.response["allowed"])

    @property
    def message(self) -> str:
        """The denial, empty on allow."""
        return str(self.response.get("status", {}).get("message", ""))

    @property
    def warnings(self) -> str:
        """All warnings, a line each."""
        return "\n".join(self.response.get("warnings", ()))

    @property
    def images(self) -> list[str]:
        """The image strings of the pod's containers, as they would be stored."""
        return [container["image"] for container in self.object["spec"]["containers"]]


@dataclass(slots=True)
class Rig:
    """One running Assay. `leaves` reads the inventory; `publish` puts other policies in force."""

    folder: Path
    settings: Settings
    registry: ScriptedRegistry
    store: Store
    holder: SnapshotHolder
    pipeline: Pipeline
    webhook: FastAPI
    _published: int = field(default=0)

    def publish(self, *policies: Mapping[str, Any] | str, **parts: Any) -> Path:
        """Put these policies (objects, or YAML text) in force; `parts` are further parts of the snapshot.

        Returns their directory, for the command line.
        """
        self._published += 1
        directory = self.folder / f"policies-{self._published}"
        directory.mkdir()
        for number, given in enumerate(policies):
            text = given if isinstance(given, str) else yaml.safe_dump(given, sort_keys=False)
            (directory / f"{number:03}.yaml").write_text(text)
        snapshot: Snapshot = app.read_snapshot(directory, settings=self.settings)
        self.holder.publish(replace(snapshot, **parts))
        return directory

    def image(self, *bundles: str, repository: str = APP, tag: str = "1") -> str:
        """Hold the recorded image with these recorded bundles; returns its reference by tag."""
        digest = self.registry.put_manifest(repository, recorded_manifest(), tag=tag)
        for name in bundles:
            self.registry.put_referrer(repository, digest, recorded_bundle(name).raw)
        return self.reference(tag, repository=repository)

    def other_image(self, *bundles: str, repository: str = APP, tag: str = "other", mark: str = "other") -> str:
        """Hold another image, with these recorded bundles attached to it though they are about the recorded one."""
        digest = self.registry.put_image(repository, tag, mark=mark)
        for name in bundles:
            self.registry.put_referrer(repository, digest, recorded_bundle(name).raw)
        return self.reference(tag, repository=repository)

    def reference(self, tag: str, *, repository: str = APP) -> str:
        """`host/repository:tag`."""
        return f"{self.registry.host}/{repository}:{tag}"

    def policy(self, name: str = "signed", **spec: Any) -> dict[str, Any]:
        """A ClusterEvidencePolicy that demands a signature by the recorded release key, unless told otherwise."""
        defaults: dict[str, Any] = {
            "match": {"images": [f"{self.registry.host}/acme/**"]},
            "authorities": [key_authority()],
            "signatures": {"authorities": ["release"]},
        }
        merged = {key: value for key, value in {**defaults, **spec}.items() if value is not None}
        return policy(name, **merged)

    async def review(
        self,
        obj: Mapping[str, Any] | str,
        *,
        old: Mapping[str, Any] | None = None,
        mutate: bool = True,
        timeout: str = "30s",
        **request: Any,
    ) -> Answer:
        """What an API server does: ask `/mutate`, apply its patch, ask `/validate`. Text is a pod of that image."""
        wanted = pod(obj) if isinstance(obj, str) else obj
        patch: list[dict[str, Any]] = []
        if mutate:
            response = await self.ask("/mutate", wanted, old=old, timeout=timeout, **request)
            assert response["allowed"], response
            patch = json.loads(base64.b64decode(response["patch"])) if "patch" in response else []
        stored = admission.apply_pins(wanted, patch)
        stored["metadata"].setdefault("uid", str(uuid.uuid4()))
        return Answer(patch, stored, await self.ask("/validate", stored, old=old, timeout=timeout, **request))

    async def ask(
        self,
        path: str,
        obj: Mapping[str, Any],
        *,
        old: Mapping[str, Any] | None = None,
        timeout: str = "30s",
        **request: Any,
    ) -> Mapping[str, Any]:
        """One call of the webhook; returns its response. The uid is echoed, or this fails."""
        body = review_of(obj, old=old, **request)
        status, content = await self.post(path, json.dumps(body).encode(), timeout=timeout)
        assert status == 200, (status, content)
        response: Mapping[str, Any] = json.loads(content)["response"]
        assert response["uid"] == body["request"]["uid"]
        return response

    async def post(self, path: str, body: bytes, **query: str) -> tuple[int, bytes]:
        """POST bytes to the webhook's application."""
        return await _call(self.webhook, "POST", path, body, query)

    async def get(self, path: str) -> tuple[int, bytes]:
        """GET from the webhook's application."""
        return await _call(self.webhook, "GET", path, b"", {})

    def leaves(self) -> list[Mapping[str, Any]]:
        """Every recorded decision, newest first."""
        found: list[Mapping[str, Any]] = []
        for item in self.store.queries.decisions(limit=500).items:
            record = self.store.queries.decision(item.id)
            assert record is not None
            found.append(record.leaf)
        return found


@asynccontextmanager
async def running(
    folder: Path, *policies: Mapping[str, Any] | str, registry: ScriptedRegistry | None = None, **chosen: Any
) -> AsyncIterator[Rig]:
    """A rig with these policies in force (or none) and these settings by name."""
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    flags = {
        "registry_allow_loopback": True,
        "worker_processes": 1,
        "database_url": f"sqlite:///{folder / 'inventory.db'}",
        "tag_max_age": 0,  # a test that lets a tag move means it
        "missing_max_age": 0,
        "failure_max_age": 0,
        "trusted_root": [f"public-good={RECORDED / 'trusted_root.json'}", f"demo={DEMO_LAYOUT / 'trusted_root.json'}"],
        **chosen,
    }
    loaded = settings.load(flags=flags, environment={})
    async with AsyncExitStack() as stack:
        served = registry or await stack.enter_async_context(ScriptedRegistry())
        store = stack.enter_context(Store.open(loaded.inventory))
        holder = SnapshotHolder()
        pipeline = await stack.enter_async_context(
            app.open_pipeline(
                loaded, snapshots=holder, namespaces=app.LocalNamespaces(), recorder=store.writer, clock=app.now
            )
        )
        webhook = create_app(loaded.webhook, pipeline=pipeline, readiness=serving.Readiness(holder))
        rig = Rig(folder, loaded, served, store, holder, pipeline, webhook)
        if policies:
            rig.publish(*policies)
        yield rig


def policy(name: str, *, namespace: str = "", **spec: Any) -> dict[str, Any]:
    """A ClusterEvidencePolicy, or an EvidencePolicy when a namespace is given, with this spec and no other."""
    kind = "EvidencePolicy" if namespace else "ClusterEvidencePolicy"
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": "assay.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def key_authority(name: str = "release", *, key: str = "release", **more: Any) -> dict[str, Any]:
    """An authority that is one of the recorded keys, needing no log."""
    return {"name": name, "key": {"pem": recorded_key(key)}, "transparencyLog": "Optional", **more}


def workflow_authority(name: str = "workflow", **identity: str) -> dict[str, Any]:
    """An authority that is the recorded release workflow, by the recorded Sigstore."""
    return {"name": name, "keyless": {"identities": [{"issuer": ISSUER, "subject": WORKFLOW, **identity}]}}


def pod(*images: str, name: str = "app", namespace: str = "shop", uid: str = "", **spec: Any) -> dict[str, Any]:
    """A pod with a container an image. Without `uid` the API server's part gives each review one of its own."""
    metadata = {"name": name, "namespace": namespace, **({"uid": uid} if uid else {})}
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": containers, **spec}}


def workload(group: str, kind: str, pod_: Mapping[str, Any]) -> dict[str, Any]:
    """A workload of this kind whose template is this pod."""
    inside: dict[str, Any] = {"metadata": {"labels": {"app": "x"}}, "spec": pod_["spec"]}
    for part in reversed(POD_PATHS[group, kind]):
        inside = {part: inside}
    version = f"{group}/v1" if group else "v1"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "app", "namespace": "shop"}, **inside}


def review_of(obj: Mapping[str, Any], *, old: Mapping[str, Any] | None = None, **request: Any) -> dict[str, Any]:
    """The AdmissionReview that an API server would send for this object."""
    group, _, version = obj["apiVersion"].rpartition("/")
    return {
        "apiVersion": admission.API_VERSION,
        "kind": "AdmissionReview",
        "request": {
            "uid": str(uuid.uuid4()),
            "kind": {"group": group, "version": version, "kind": obj["kind"]},
            "resource": {"group": group, "version": version, "resource": f"{obj['kind'].lower()}s"},
            "operation": "CREATE" if old is None else "UPDATE",
            "namespace": obj["metadata"].get("namespace", ""),
            "name": obj["metadata"]["name"],
            "userInfo": {"username": "jane", "groups": ["developers"]},
            "object": obj,
            "oldObject": old,
            "dryRun": False,
            **request,
        },
    }


def load_demo(registry: ScriptedRegistry) -> None:
    """Let the registry hold all that the demo's recorded layout holds."""
    blobs = DEMO_LAYOUT / "blobs" / "sha256"
    for file in blobs.iterdir():
        registry.put_blob(file.read_bytes())
    waiting: list[tuple[str, dict[str, Any], str]] = []
    for entry in json.loads((DEMO_LAYOUT / "index.json").read_text())["manifests"]:
        name = entry["annotations"]["org.opencontainers.image.ref.name"]
        repository, _, tag = name.rpartition(":") if "@" not in name else (name.partition("@")[0], "", "")
        waiting.append((repository, entry, tag))
    while waiting:
        repository, entry, tag = waiting.pop()
        content = (blobs / entry["digest"].removeprefix("sha256:")).read_bytes()
        registry.put_manifest(repository, content, media_type=entry["mediaType"], tag=tag)
        value = json.loads(content)
        if "subject" in value:
            _list_referrer(registry, repository, value["subject"]["digest"], content, value["artifactType"])
        waiting += [(repository, child, "") for child in value.get("manifests", ())]


def put_annotated_referrer(rig: Rig, bundle: str, annotations: Mapping[str, str]) -> None:
    """Attach a recorded bundle to the recorded image, under annotations that say something else about it."""
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    empty = rig.registry.put_blob(b"{}")
    content = rig.registry.put_blob(recorded_bundle(bundle).raw)
    subject = descriptor(recorded_manifest(), OCI_MANIFEST)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": kind,
        "config": descriptor(empty, "application/vnd.oci.empty.v1+json"),
        "layers": [descriptor(content, kind)],
        "subject": subject,
        "annotations": dict(annotations),
    }
    raw = encoded(manifest)
    rig.registry.put_manifest(APP, raw)
    _list_referrer(rig.registry, APP, subject["digest"], raw, kind, annotations=dict(annotations))


def trust_roots() -> Iterable[bytes]:
    """The bytes of the trust roots that every rig has."""
    return (recorded_trusted_root(), (DEMO_LAYOUT / "trusted_root.json").read_bytes())


def pull_secret(host: str, username: str, password: str) -> dict[tuple[str, str], tuple[Credential, ...]]:
    """The snapshot's `pull_secrets` with one, `shop/pull`."""
    return {("shop", "pull"): (Credential(prefix=host, username=username, password=password),)}


def _list_referrer(
    registry: ScriptedRegistry, repository: str, subject: str, content: bytes, artifact_type: str, **more: Any
) -> None:
    entry = descriptor(content, OCI_MANIFEST, artifactType=artifact_type, **more)
    listing = registry._listing(repository, subject)
    if entry not in listing["manifests"]:
        listing["manifests"].append(entry)
    registry.put_manifest(repository, listing, media_type=OCI_INDEX, tag=registry._listing_name(subject))


async def _call(
    application: FastAPI, method: str, path: str, body: bytes, query: Mapping[str, str]
) -> tuple[int, bytes]:
    """One HTTP exchange with an ASGI application."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": urlencode(query).encode(),
        "headers": [(b"content-type", b"application/json"), (b"host", b"assay.test")],
        "server": ("assay.test", 443),
        "client": ("api.test", 1),
        "root_path": "",
    }
    sent: list[Any] = []
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(given, {"type": "http.disconnect"})

    async def send(message: Any) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])
