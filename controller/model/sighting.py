"""What was seen running: one run of one container, by the kubelet's word."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.model.image import ContainerKind


@dataclass(frozen=True, slots=True)
class Run:
    """One run of one container, from its start to its end.

    `id` is the container runtime's name of it: a restart is another run. `image_id` is what the kubelet reports, and
    `digest` the `sha256:<hex>` in it, empty where it has none (a bare configuration digest says nothing of a manifest).
    `ended_at` is None while it runs.
    """

    kind: ContainerKind
    container: str
    id: str
    image: str
    image_id: str
    repository: str
    digest: str
    started_at: datetime
    ended_at: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SeenPod:
    """A pod as the API server had it, with all that ran in it. `owner` is its controller, `Kind/name`, or empty."""

    namespace: str
    name: str
    uid: str
    node: str
    service_account: str
    owner: str
    reason: str = ""
    runs: tuple[Run, ...] = ()
