"""What a review needs of the cluster besides policies: namespaces, service accounts, pull secrets and nodes, watched.

Watched and not asked for, so that a warm review makes no call to the API server. Secrets are the price: Assay holds the
pull credentials of the cluster in memory, as the kubelets do. Only secrets of type kubernetes.io/dockerconfigjson are
listed, only registries' names and credentials of them are kept, and nothing of them is ever logged.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from controller.cluster.client import NOT_FOUND, ClusterClient
from controller.cluster.watch import Mirror
from controller.errors import AssayError, InputError, Unavailable
from controller.model.access import Credential, parse_docker_config
from controller.model.deadline import Deadline
from controller.model.image import Platform
from controller.model.policy import Namespace
from controller.policy.snapshot import Snapshot
from controller.settings import ClusterSettings

logger = logging.getLogger(__name__)

NAMESPACES = "/api/v1/namespaces"
SERVICE_ACCOUNTS = "/api/v1/serviceaccounts"
SECRETS = "/api/v1/secrets"
NODES = "/api/v1/nodes"
PULL_SECRET_TYPE = "kubernetes.io/dockerconfigjson"  # noqa: S105 - a type
PULL_SECRET_KEY = ".dockerconfigjson"  # noqa: S105 - a name


class Directory:
    """Mirrors that fill in a snapshot's namespaces, service accounts, pull secrets and the platforms of nodes."""

    def __init__(self, client: ClusterClient, *, changed: Callable[[], None], window: float) -> None:
        self._namespaces = Mirror(client, NAMESPACES, project=namespace_of, changed=changed, window=window)
        self._accounts = Mirror(client, SERVICE_ACCOUNTS, project=_pull_secrets_of, changed=changed, window=window)
        self._secrets = Mirror(
            client,
            SECRETS,
            project=_credentials_of,
            changed=changed,
            query={"fieldSelector": f"type={PULL_SECRET_TYPE}"},
            window=window,
        )
        self._nodes = Mirror(client, NODES, project=platform_of, changed=changed, window=window)

    async def run(self) -> None:
        """Mirror until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for mirror in self._mirrors:
                tasks.create_task(mirror.run(), name=f"mirror {mirror.path}")

    async def synced(self) -> None:
        """Return once each of them was listed whole."""
        for mirror in self._mirrors:
            await mirror.synced.wait()

    def unsynced(self) -> tuple[str, ...]:
        """What was never listed whole, by path."""
        return tuple(mirror.path for mirror in self._mirrors if not mirror.synced.is_set())

    def age(self) -> float:
        """Seconds since the most silent of them gave a sign; infinite before the first lists."""
        signs = [mirror.last_sign for mirror in self._mirrors]
        return max(float("inf") if sign is None else time.monotonic() - sign for sign in signs)

    def fill(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what is known now."""
        return (
            snapshot.with_namespaces({name: value for (_, name), value in self._namespaces.items.items()})
            .with_service_accounts(dict(self._accounts.items))
            .with_pull_secrets(dict(self._secrets.items))
            .with_node_platforms(frozenset(self._nodes.items.values()))
        )

    @property
    def _mirrors(self) -> tuple[Mirror[Any], ...]:
        return (self._namespaces, self._accounts, self._secrets, self._nodes)


class ClusterNamespaces:
    """Asks for one namespace that no snapshot knows yet (`review.ports.Namespaces`). Belongs to the serving loop."""

    def __init__(self, settings: ClusterSettings) -> None:
        self._settings = settings
        self._client: ClusterClient | None = None

    async def fetch(self, name: str, *, deadline: Deadline) -> Namespace:
        """The namespace. Raises `Unavailable`: an unknown namespace is never *unmatched*."""
        deadline.check(f"namespace {name} was asked for")
        try:
            if self._client is None:
                self._client = await ClusterClient.connect(self._settings)
            return namespace_of(
                await self._client.get(f"{NAMESPACES}/{name}", timeout=max(deadline.remaining(), 0.001))
            )
        except AssayError as exc:
            code = "NamespaceUnknown" if exc.code == NOT_FOUND else "NamespaceUnavailable"
            raise Unavailable(code, f"namespace {name} cannot be read: {exc.message}") from exc

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None


def namespace_of(obj: Mapping[str, Any]) -> Namespace:
    """What is kept of a Namespace object."""
    metadata = obj["metadata"]
    return Namespace(metadata["name"], metadata.get("labels") or {}, metadata.get("annotations") or {})


def platform_of(obj: Mapping[str, Any]) -> Platform | None:
    """The platform of a Node object, as its kubelet says it; None while that has said none."""
    info = (obj.get("status") or {}).get("nodeInfo") or {}
    system, architecture = info.get("operatingSystem"), info.get("architecture")
    return Platform(system, architecture) if system and architecture else None


def _pull_secrets_of(obj: Mapping[str, Any]) -> tuple[str, ...] | None:
    names = tuple(entry["name"] for entry in obj.get("imagePullSecrets") or () if entry.get("name"))
    return names or None


def _credentials_of(obj: Mapping[str, Any]) -> tuple[Credential, ...] | None:
    if obj.get("type") != PULL_SECRET_TYPE:
        return None
    try:
        content = base64.b64decode((obj.get("data") or {})[PULL_SECRET_KEY], validate=True)
        return parse_docker_config(content)
    except (InputError, KeyError, TypeError, ValueError, binascii.Error) as exc:
        # The cause is named by its type alone: messages of decoders quote what they read.
        metadata = obj["metadata"]
        logger.warning(
            "pull secret %s/%s cannot be read (%s) and gives no credentials",
            metadata.get("namespace"),
            metadata.get("name"),
            type(exc).__name__,
        )
        return None
