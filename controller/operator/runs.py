"""From a pod's status to the runs of its containers. Pure.

The kubelet's `imageID` is what ran, whatever the pod says; `image` in the status is unreliable, so the reference is the
pod's own. https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ContainerStatus
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from controller.model.image import ContainerKind
from controller.model.sighting import Run, SeenPod

_DIGEST = re.compile(r"(?:[a-z-]+://)?(?:(?P<repository>[^@]+)@)?(?P<digest>sha256:[0-9a-f]{64})")
_KINDS = (
    (ContainerKind.INIT, "initContainerStatuses", "initContainers"),
    (ContainerKind.REGULAR, "containerStatuses", "containers"),
    (ContainerKind.EPHEMERAL, "ephemeralContainerStatuses", "ephemeralContainers"),
)


def pod_of(obj: Mapping[str, Any]) -> SeenPod | None:
    """What is kept of a Pod object; None for one that cannot be read."""
    try:
        metadata, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
        owner = next((o for o in metadata.get("ownerReferences") or () if o.get("controller")), None)
        return SeenPod(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            node=spec.get("nodeName") or "",
            service_account=spec.get("serviceAccountName") or "",
            owner=f"{owner['kind']}/{owner['name']}" if owner else "",
            reason=status.get("reason") or "",
            runs=tuple(_runs(spec, status)),
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def digest_of(image_id: str) -> tuple[str, str]:
    """(repository, digest) of an `imageID`; both empty for one that names no manifest."""
    match = _DIGEST.fullmatch(image_id)
    if match is None or not match["repository"]:
        return "", ""
    return match["repository"], match["digest"]


def _runs(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[Run]:
    for kind, statuses, containers in _KINDS:
        written = {c["name"]: c.get("image") or "" for c in spec.get(containers) or ()}
        for entry in status.get(statuses) or ():
            image = written.get(entry["name"], entry.get("image") or "")
            for state in (entry.get("lastState") or {}, entry.get("state") or {}):
                run = _run(kind, entry, state, image)
                if run is not None:
                    yield run


def _run(kind: ContainerKind, entry: Mapping[str, Any], state: Mapping[str, Any], image: str) -> Run | None:
    running, ended = state.get("running"), state.get("terminated")
    found = running or ended
    started = _time(found.get("startedAt")) if found else None
    # A container that was never created ends as well (ContainerCannotRun), and has no id.
    identity = (ended or {}).get("containerID") or (entry.get("containerID") if state is entry.get("state") else "")
    if found is None or started is None or not identity:
        return None
    image_id = entry.get("imageID") or ""
    repository, digest = digest_of(image_id)
    return Run(
        kind=kind,
        container=entry["name"],
        id=identity,
        image=image,
        image_id=image_id,
        repository=repository,
        digest=digest,
        started_at=started,
        ended_at=_time(ended.get("finishedAt")) or started if ended else None,
        reason=(ended.get("reason") or "") if ended else "",
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
