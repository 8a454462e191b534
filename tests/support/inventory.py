"""Leaves as the review makes them, and the two databases they go to."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from controller.inventory.asking.reads import Read
from controller.inventory.asking.reads import leaf as made
from controller.inventory.store import Store, migrate
from controller.inventory.tables import INSTANT_FORMAT
from controller.model.deadline import Deadline
from controller.model.reference import Digest
from controller.settings import InventorySettings
from tests.support.postgres import Postgres

START = datetime(2026, 11, 22, 11, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a1" * 32
POLICY_HASH = "sha256:" + "b2" * 32
ARTIFACT = "sha256:" + "c3" * 32


def soon() -> Deadline:
    """Long enough for a busy machine; a test that meets it has found something that hangs."""
    return Deadline.after(60)


def leaf(number: int = 0, **changes: Any) -> dict[str, Any]:
    """A decision about one signed image with an SBOM, the `number`th second after START."""
    uid = str(uuid.uuid4())
    value: dict[str, Any] = {
        "schema": "assay.dev/decision/v1alpha1",
        "id": str(uuid.uuid4()),
        "salt": uuid.uuid4().hex,
        "decisionKey": f"{uid}:{'d4' * 32}:CREATE",
        "decidedAt": (START + timedelta(seconds=number)).strftime(INSTANT_FORMAT),
        "cluster": "local",
        "verdict": "Allow",
        "flags": [],
        "message": "",
        "warnings": [],
        "latencyUs": 1234,
        "request": {
            "uid": str(uuid.uuid4()),
            "operation": "CREATE",
            "kind": "Pod",
            "resource": "pods",
            "subresource": "",
            "namespace": "shop",
            "name": f"web-{number}",
            "user": {"username": "jane", "uid": "1", "groups": ["developers"]},
        },
        "object": {
            "uid": uid,
            "hash": "d4" * 32,
            "serviceAccount": "default",
            "kind": "Pod",
            "name": f"web-{number}",
            "namespace": "shop",
        },
        "images": [image()],
        "evaluations": [evaluation()],
        "blobs": [],
        "verifier": {"assay": "0.1.0", "sigstore": "4.5.1", "celpy": "0.5.0"},
    }
    return value | changes


def image(reference: str = "ghcr.io/acme/app:1.2", digest: str | None = DIGEST) -> dict[str, Any]:
    """A leaf's image."""
    return {
        "kind": "Container",
        "container": "app",
        "field": "spec.containers[0].image",
        "reference": reference,
        "repository": reference.partition("@")[0].rpartition(":")[0] if digest else None,
        "digest": digest,
        "mediaType": "application/vnd.oci.image.index.v1+json" if digest else None,
    }


def evaluation(index: int = 0, *, policy: str = "release-signed", outcome: str = "Satisfied") -> dict[str, Any]:
    """A leaf's evaluation: one signature by an identity, one attested SBOM, one artefact that did not count."""
    proof = {
        "artifact": ARTIFACT,
        "location": f"referrer {ARTIFACT}",
        "authority": "release",
        "signer": {
            "key": "",
            "issuer": "https://token.actions.githubusercontent.com",
            "subject": "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.2",
            "claims": {"sourceRepositoryURI": "https://github.com/acme/app"},
        },
        "logEntry": {"logId": "bG9n", "index": 7, "integratedAt": "2026-11-22T10:00:00.000000Z"},
        "signedAt": "2026-11-22T10:00:00.000000Z",
        "steps": ["the certificate is of this root"],
    }
    return {
        "image": index,
        "policy": {"kind": "ClusterEvidencePolicy", "namespace": "", "name": policy, "hash": POLICY_HASH},
        "actions": ["Deny"],
        "outcome": outcome,
        "errorKind": None,
        "reasons": [],
        "signatures": [proof],
        "attestations": [
            {"name": "sbom", "predicateType": "https://spdx.dev/Document", "statement": ARTIFACT, **proof},
        ],
        "rejections": [
            {
                "artifact": "sha256:" + "e5" * 32,
                "location": "tag sha256-….sig, layer 0",
                "authority": "release",
                "code": "KeyMismatch",
                "message": "signed by another key",
            },
        ],
        "used": {"trustRoots": {"public-good": "sha256:" + "f6" * 32}},
    }


def excepted(evaluation_: dict[str, Any] | None = None, name: str = "hotfix", **changes: Any) -> dict[str, Any]:
    """A leaf's evaluation that an exception made Exempt."""
    exempt = {"outcome": "Exempt", "otherwise": "Violated", "exceptions": [exception_of(name, **changes)]}
    return (evaluation_ or evaluation()) | exempt


def exception_of(name: str = "hotfix", **changes: Any) -> dict[str, Any]:
    """A version of an exception, as leaves tell of it."""
    entry = {
        "name": name,
        "hash": "sha256:" + "ab" * 32,
        "approver": "jane",
        "claimed": False,
        "approvedAt": "2026-11-22T09:00:00.000000Z",
        "reason": "the signing service is down",
        "expires": "2026-11-23T09:00:00.000000Z",
        "breakGlass": False,
    }
    return entry | changes


def resource(
    fact: str,
    number: int = 0,
    *,
    exception: dict[str, Any] | None = None,
    reason: str = "",
    cluster: str = "local",
    **changes: Any,
) -> dict[str, Any]:
    """That a version of a policy (or this exception) was applied, or deleted, the `number`th second after START."""
    identity = str(uuid.uuid4())
    told = {
        "kind": "ClusterEvidencePolicy" if exception is None else "EvidenceException",
        "namespace": "",
        "name": "release-signed" if exception is None else exception["name"],
        "uid": "policy-1" if exception is None else f"uid of {exception['name']}",
        "generation": 1,
        "life": 0,
        "hash": POLICY_HASH if exception is None else exception["hash"],
        "manager": "kubectl" if fact == "Applied" else "",
        "problem": "",
    }
    return {
        "schema": "assay.dev/resource/v1alpha1",
        "id": identity,
        "salt": uuid.uuid4().hex,
        "decisionKey": f"resource:{identity}",
        "verdict": fact,
        "decidedAt": (START + timedelta(seconds=number)).strftime(INSTANT_FORMAT),
        "cluster": cluster,
        "blobs": [],
        "resource": told | changes,
        "exception": exception if fact == "Applied" else None,
        "reason": reason,
    }


def sighting(what: str, number: int = 0, **run: Any) -> dict[str, Any]:
    """That a run of a container started (or ended), the `number`th second after START, or when nobody watched."""
    identity = str(uuid.uuid4())
    at = (START + timedelta(seconds=number)).strftime(INSTANT_FORMAT)
    value: dict[str, Any] = {
        "schema": "assay.dev/sighting/v1alpha1",
        "id": identity,
        "salt": uuid.uuid4().hex,
        "decisionKey": f"sighting:{identity}",
        "verdict": what,
        "decidedAt": at,
        "cluster": "local",
        "blobs": [],
    }
    if what == "Gap":
        return value | {"gap": {"since": START.strftime(INSTANT_FORMAT), "until": at}}
    pod = {"namespace": "shop", "name": "web", "uid": "pod-1", "node": "worker", "serviceAccount": "web", "owner": ""}
    pod |= {name: run.pop(name) for name in list(run) if name in pod}
    started = {
        "kind": "container",
        "container": "app",
        "id": "containerd://1",
        "image": "ghcr.io/acme/app:1.2",
        "imageId": f"ghcr.io/acme/app@{DIGEST}",
        "repository": "ghcr.io/acme/app",
        "digest": DIGEST,
        "startedAt": at,
        "endedAt": at if what == "Ended" else None,
        "reason": "Completed" if what == "Ended" else "",
    }
    return value | {"pod": pod, "run": started | run}


def read_of(username: str, number: int = 0, **changes: Any) -> dict[str, Any]:
    """A leaf that says that somebody read a decision, the `number`th second after START."""
    read = Read(
        username=username,
        via="REST",
        verb="get",
        resource="decisions",
        namespace="shop",
        identity=f"record-{number}",
        parameters={"knownAt": ["2026-11-22T11:00:00Z"]},
        status=200,
        count=1,
    )
    return made(replace(read, **changes), cluster="local", now=START + timedelta(seconds=number))


def blob(content: bytes) -> tuple[Digest, bytes]:
    """Bytes under their digest."""
    return Digest.of(content), content


class Clock:
    """A clock that goes where it is set."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


@dataclass(frozen=True)
class Database:
    """A database of one kind, empty and current."""

    kind: str
    settings: InventorySettings

    def open(self, clock: Clock | None = None) -> Store:
        """Open it for recording."""
        return Store.open(self.settings) if clock is None else Store.open(self.settings, clock=clock)


def sqlite_database(directory: Path, **settings: Any) -> Database:
    """The SQLite file in this directory; one that has all tables and holds nothing, if it is not there."""
    file = directory / "inventory.db"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        shutil.copy(_sqlite_template() / file.name, file)
    url = f"sqlite:///{file}"
    return Database("sqlite", InventorySettings(database_url=url, **{"durability": "Database", **settings}))


@functools.cache
def _sqlite_template() -> Path:
    """A folder with an inventory that was migrated and closed: copying it takes no time."""
    folder = tempfile.TemporaryDirectory(prefix="assay-sqlite-")
    atexit.register(folder.cleanup)
    migrate(f"sqlite:///{Path(folder.name) / 'inventory.db'}")
    return Path(folder.name)


def before_forks() -> None:
    """Import all that opening an inventory imports: a second of work that no forked process has to repeat."""
    with tempfile.TemporaryDirectory(prefix="assay-sqlite-") as folder:
        sqlite_database(Path(folder)).open().close()
    create_engine("postgresql+psycopg://").dispose()


def postgres_database(server: Postgres, **settings: Any) -> Database:
    """A new database on this server, migrated."""
    url = server.new_of(migrate)
    return Database("postgresql", InventorySettings(database_url=url, **{"durability": "Database", **settings}))
