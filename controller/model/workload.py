"""What is asked: an admission request about a workload, in normal form whatever it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from controller.model.image import ImageUse

KubernetesObject = Mapping[str, Any]
"""A Kubernetes object as plain JSON values (typed models cost nine times the parse)."""


POD_PATHS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("", "Pod"): (),
    ("", "PodTemplate"): ("template",),
    ("", "ReplicationController"): ("spec", "template"),
    ("apps", "Deployment"): ("spec", "template"),
    ("apps", "ReplicaSet"): ("spec", "template"),
    ("apps", "StatefulSet"): ("spec", "template"),
    ("apps", "DaemonSet"): ("spec", "template"),
    ("batch", "Job"): ("spec", "template"),
    ("batch", "CronJob"): ("spec", "jobTemplate", "spec", "template"),
}
"""The kinds that hold a pod, (API group, kind), with the path from the object to the pod or pod template in it."""


class Operation(StrEnum):
    """AdmissionReview v1 `request.operation`."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass(frozen=True, slots=True)
class User:
    """AdmissionReview v1 `request.userInfo`. `extra` is for the cluster's authorizers alone: it is not recorded."""

    username: str = ""
    uid: str = ""
    groups: tuple[str, ...] = ()
    extra: tuple[tuple[str, tuple[str, ...]], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class AdmissionRequest:
    """AdmissionReview v1 `request`, parsed. `raw` is the request as the API server sent it, for CEL's `request`.

    `object` is empty on DELETE, `old_object` on CREATE.
    """

    uid: str
    operation: Operation
    group: str
    version: str
    kind: str
    resource: str
    subresource: str
    namespace: str
    name: str
    user: User
    dry_run: bool
    object: KubernetesObject
    old_object: KubernetesObject
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod or a workload template with every image in it (`controller.images`).

    `is_pod` tells what runs from what is only a template. `pod_metadata` and `pod_spec` are the pod's or the
    template's. `images` are all images; `changed` those that differ from the old object's.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    is_pod: bool
    labels: Mapping[str, str]
    service_account: str
    pull_secrets: tuple[str, ...]
    images: tuple[ImageUse, ...]
    changed: tuple[ImageUse, ...]
