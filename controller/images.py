"""A workload -> every image in it (guarantee 8). Pure.

One table says where each kind keeps its pod; one function walks a pod. Whatever runs an image in a pod is here: init,
regular and ephemeral containers, and image volumes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from controller.errors import InputError, LimitExceeded
from controller.model.image import ContainerKind, ImageUse
from controller.model.workload import POD_PATHS, AdmissionRequest, Operation, Workload

_CONTAINERS = (
    ("initContainers", ContainerKind.INIT),
    ("containers", ContainerKind.REGULAR),
    ("ephemeralContainers", ContainerKind.EPHEMERAL),
)
MAX_IMAGES = 256  # bounds one review's work: images that one request may bring


def extract(request: AdmissionRequest) -> Workload:
    """The workload that the request is about, with all its images and those that the request changes.

    Raises `InputError` (`KindUnsupported`, `ObjectMalformed`) and `LimitExceeded` (`MAX_IMAGES`).
    """
    pod_path = POD_PATHS.get((request.group, request.kind))
    if pod_path is None:
        name = f"{request.group}/{request.kind}" if request.group else request.kind
        raise InputError("KindUnsupported", f"{name} holds no pod that Assay knows of")
    pod = _descend(request.object, pod_path)
    is_pod = not pod_path
    images = tuple(_images(pod, pod_path, is_pod=is_pod))
    changed = images
    if request.operation is Operation.UPDATE:
        before = {image.identity for image in _images(_descend(request.old_object, pod_path), pod_path, is_pod=is_pod)}
        changed = tuple(image for image in images if image.identity not in before)
    if len(changed) > MAX_IMAGES:
        raise LimitExceeded("MAX_IMAGES", f"the request changes {len(changed)} images, more than {MAX_IMAGES}")
    metadata = _mapping(request.object.get("metadata"), "metadata")
    spec = _mapping(pod.get("spec"), "spec")
    labels = _mapping(_mapping(pod.get("metadata"), "metadata").get("labels"), "metadata.labels")
    return Workload(
        kind=request.kind,
        namespace=request.namespace,
        name=request.name or _text(metadata, "name") or f"{_text(metadata, 'generateName')}*",
        uid=_text(metadata, "uid"),
        is_pod=is_pod,
        labels={str(key): str(value) for key, value in labels.items()},
        service_account=_text(spec, "serviceAccountName") or "default",
        pull_secrets=tuple(
            secret["name"]
            for secret in _list(spec.get("imagePullSecrets"), "imagePullSecrets")
            if isinstance(secret, dict) and isinstance(secret.get("name"), str)
        ),
        images=images,
        changed=changed,
    )


def _images(pod: Mapping[str, Any], pod_path: tuple[str, ...], *, is_pod: bool) -> Iterator[ImageUse]:
    spec = _mapping(pod.get("spec"), "spec")
    places: list[tuple[ContainerKind, Any, Any, tuple[str | int, ...]]] = []
    for field, kind in _CONTAINERS:
        for index, container in enumerate(_list(spec.get(field), field)):
            parsed = _mapping(container, field)
            places.append((kind, parsed.get("name", ""), parsed.get("image"), (field, index, "image")))
    for index, volume in enumerate(_list(spec.get("volumes"), "volumes")):
        parsed = _mapping(volume, "volumes")
        if parsed.get("image") is not None:
            reference = _mapping(parsed["image"], "volumes.image").get("reference")
            places.append(
                (ContainerKind.VOLUME, parsed.get("name", ""), reference, ("volumes", index, "image", "reference"))
            )
    for kind, name, written, place in places:
        text = "" if written is None else written
        path = (*pod_path, "spec", *place)
        if not isinstance(text, str) or not isinstance(name, str):
            raise InputError("ObjectMalformed", f"{_people(path)} and its name must be text")
        if not text and not is_pod:
            continue  # a template may leave its image for later; the pod that is made of it may not
        yield ImageUse(kind=kind, name=name, text=text, path="/" + "/".join(map(str, path)), field=_people(path))


def _people(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _descend(obj: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    for part in path:
        obj = _mapping(obj.get(part), part)
    return obj


def _mapping(value: Any, field: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError("ObjectMalformed", f"{field} must be an object")
    return value


def _text(parent: Mapping[str, Any], name: str) -> str:
    value = parent.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InputError("ObjectMalformed", f"{name} must be text")
    return value


def _list(value: Any, field: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise InputError("ObjectMalformed", f"{field} must be a list")
    return value
