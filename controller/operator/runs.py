"""From a pod's status to the runs of its containers. Pure.

The kubelet's `imageID` is what ran, whatever the pod says; `image` in the status is unreliable, so the reference is the
pod's own. https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/#ContainerStatus
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from controller.model.image import ContainerKind
from controller.model.sighting import Run, SeenPod

_DIGEST = re.compile(r"(?:[a-z-]+://)?(?:(?P<repository>[^@]+)@)?(?P<digest>sha256:[0-9a-f]{64})")
_KINDS = (
    (ContainerKind.INIT, "initContainerStatuses", "initContainers"),
    (ContainerKind.REGULAR, "containerStatuses", "containers"),
    (ContainerKind.EPHEMERAL, "ephemeralContainerStatuses", "ephemeralContainers"),
)

_OVER = frozenset({"Succeeded", "Failed"})
_FIRST_YEAR = 1970  # a container that began before is a kubelet's mistake


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
            reason=status.get("reason") or _disruption(status),
            runs=tuple(_runs(spec, status)),
            idle=tuple(_idle(status)),
            over=status.get("phase") in _OVER,
        )
    except (KeyError, TypeError, AttributeError, ValueError):
        return None


def _disruption(status: Mapping[str, Any]) -> str:
    """Why a controller ends the pod, which says so in a condition (DeletionByPodGC, EvictionByEvictionAPI, …).

    https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
    """
    conditions = (one for one in status.get("conditions") or () if one.get("type") == "DisruptionTarget")
    return next((one.get("reason") or "" for one in conditions if one.get("status") == "True"), "")


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


def _idle(status: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The containers that do not run. One that is gone need not have a run to show for it: the kubelet forgets ids and
    times where it lost the container (ContainerStatusUnknown)."""
    for kind, statuses, _ in _KINDS:
        for entry in status.get(statuses) or ():
            if not (entry.get("state") or {}).get("running"):
                yield str(kind), entry["name"]


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
    """A moment; None for none, and for one that cannot be."""
    try:
        found = datetime.fromisoformat(text).astimezone(UTC) if text else None
    except (ValueError, OverflowError):
        return None
    return found if found is not None and found.year >= _FIRST_YEAR else None
