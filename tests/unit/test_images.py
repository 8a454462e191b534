"""Every image of every workload kind is found, under its exact place; what an update leaves alone is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import images
from controller.admission import parse_request
from controller.errors import InputError, LimitExceeded
from controller.images import MAX_IMAGES, POD_PATHS
from controller.model.image import ContainerKind, ImageUse
from controller.model.workload import AdmissionRequest, Workload

KINDS = {
    ("", "v1", "Pod"): "",
    ("", "v1", "PodTemplate"): "template.",
    ("", "v1", "ReplicationController"): "spec.template.",
    ("apps", "v1", "Deployment"): "spec.template.",
    ("apps", "v1", "ReplicaSet"): "spec.template.",
    ("apps", "v1", "StatefulSet"): "spec.template.",
    ("apps", "v1", "DaemonSet"): "spec.template.",
    ("batch", "v1", "Job"): "spec.template.",
    ("batch", "v1", "CronJob"): "spec.jobTemplate.spec.template.",
}
PLACES = {
    ContainerKind.INIT: ("spec.initContainers[1].image", "/spec/initContainers/1/image"),
    ContainerKind.REGULAR: ("spec.containers[1].image", "/spec/containers/1/image"),
    ContainerKind.EPHEMERAL: ("spec.ephemeralContainers[1].image", "/spec/ephemeralContainers/1/image"),
    ContainerKind.VOLUME: ("spec.volumes[1].image.reference", "/spec/volumes/1/image/reference"),
}


def request(
    obj: dict[str, Any] | None,
    old: dict[str, Any] | None = None,
    *,
    kind: tuple[str, str, str] = ("", "v1", "Pod"),
    operation: str = "",
) -> AdmissionRequest:
    group, version, name = kind
    return parse_request(
        {
            "uid": "r-1",
            "kind": {"group": group, "version": version, "kind": name},
            "resource": {"group": group, "version": version, "resource": f"{name.lower()}s"},
            "operation": operation or ("UPDATE" if old is not None else "CREATE"),
            "namespace": "shop",
            "object": obj,
            "oldObject": old,
        }
    )


def placed(pod: dict[str, Any], prefix: str) -> dict[str, Any]:
    """The pod inside the object of a kind."""
    for part in reversed(prefix.rstrip(".").split(".") if prefix else []):
        pod = {part: pod}
    return {"metadata": {"name": "web", "uid": "u-1"}, **pod}


def pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "uid": "u-1"}, "spec": spec}


def entry(kind: ContainerKind, name: str, text: str) -> tuple[str, dict[str, Any]]:
    match kind:
        case ContainerKind.VOLUME:
            return "volumes", {"name": name, "image": {"reference": text}}
        case _:
            return f"{kind}s", {"name": name, "image": text}


def extract(*args: Any, **kwargs: Any) -> Workload:
    return images.extract(request(*args, **kwargs))


def test_the_table_of_kinds_is_this_one() -> None:
    assert {(group, kind) for group, _, kind in KINDS} == set(POD_PATHS)


@pytest.mark.guarantee(8)
@pytest.mark.parametrize("container", list(ContainerKind), ids=str)
@pytest.mark.parametrize(
    ("kind", "prefix"), KINDS.items(), ids=lambda value: value[2] if isinstance(value, tuple) else ""
)
def test_every_image_of_every_kind_is_found_at_its_place(
    kind: tuple[str, str, str], prefix: str, container: ContainerKind
) -> None:
    field, first = entry(container, "one", "acme/one:1")
    _, second = entry(container, "two", "acme/two:2")
    workload = extract(placed({"spec": {field: [first, second]}}, prefix), kind=kind)
    people, pointer = PLACES[container]
    expected = ImageUse(
        kind=container,
        name="two",
        text="acme/two:2",
        path="/" + prefix.replace(".", "/") + pointer.removeprefix("/"),
        field=prefix + people,
    )
    assert len(workload.images) == 2
    assert workload.images[1] == expected
    assert workload.changed == workload.images
    assert workload.is_pod is (kind[2] == "Pod")


def test_what_a_review_needs_of_a_pod_is_read() -> None:
    obj = {
        "metadata": {"generateName": "web-", "uid": "u-1", "labels": {"app": "web"}},
        "spec": {
            "serviceAccountName": "builder",
            "imagePullSecrets": [{"name": "a"}, {}, {"name": None}, {"name": "b"}],
            "containers": [{"name": "c", "image": "x"}],
        },
    }
    workload = extract(obj)
    assert (workload.kind, workload.namespace, workload.name, workload.uid) == ("Pod", "shop", "web-*", "u-1")
    assert (workload.service_account, workload.pull_secrets) == ("builder", ("a", "b"))
    assert dict(workload.labels) == {"app": "web"}


def test_labels_and_secrets_of_a_template_are_the_templates() -> None:
    template = {
        "metadata": {"labels": {"of": "the template"}},
        "spec": {"imagePullSecrets": [{"name": "s"}], "containers": [{"name": "c", "image": "x"}]},
    }
    obj = {"metadata": {"name": "web", "labels": {"of": "the deployment"}}, "spec": {"template": template}}
    workload = extract(obj, kind=("apps", "v1", "Deployment"))
    assert dict(workload.labels) == {"of": "the template"}
    assert workload.pull_secrets == ("s",)
    assert workload.service_account == "default"


def test_an_update_changes_what_differs_by_kind_name_or_reference() -> None:
    before = pod(containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "y"}])

    def changed(**spec: Any) -> list[str]:
        return [use.field for use in extract(pod(**spec), before).changed]

    assert changed(containers=[{"name": "a", "image": "x"}, {"name": "b", "image": "y"}]) == []
    assert changed(containers=[{"name": "b", "image": "y"}, {"name": "a", "image": "x"}]) == []
    assert changed(containers=[{"name": "a", "image": "x", "env": [{"name": "E"}]}]) == []
    assert changed(containers=[{"name": "a", "image": "z"}, {"name": "b", "image": "y"}]) == [
        "spec.containers[0].image"
    ]
    assert changed(containers=[{"name": "c", "image": "x"}]) == ["spec.containers[0].image"]
    assert changed(containers=[{"name": "a", "image": "y"}, {"name": "b", "image": "x"}]) == [
        "spec.containers[0].image",
        "spec.containers[1].image",
    ]
    assert changed(initContainers=[{"name": "a", "image": "x"}]) == ["spec.initContainers[0].image"]
    assert changed(ephemeralContainers=[{"name": "a", "image": "x"}]) == ["spec.ephemeralContainers[0].image"]
    assert changed(volumes=[{"name": "a", "image": {"reference": "x"}}]) == ["spec.volumes[0].image.reference"]


def test_on_create_an_old_object_takes_nothing_away() -> None:
    obj = pod(containers=[{"name": "a", "image": "x"}])
    assert len(extract(obj, obj, operation="CREATE").changed) == 1


def test_a_pod_without_an_image_is_not_passed_over_and_a_template_without_one_is() -> None:
    spec = {"spec": {"containers": [{"name": "a"}, {"name": "b", "image": ""}]}}
    assert [use.text for use in extract(placed(spec, "")).images] == ["", ""]
    assert extract(placed(spec, "spec.template."), kind=("apps", "v1", "Deployment")).images == ()


@pytest.mark.parametrize("prefix", ["", "spec.template."])
@pytest.mark.parametrize(
    "spec",
    [
        {"containers": {"name": "a"}},
        {"containers": ["x"]},
        {"containers": [{"name": "a", "image": 7}]},
        {"containers": [{"name": "a", "image": 0}]},
        {"containers": [{"name": "a", "image": False}]},
        {"containers": [{"name": "a", "image": []}]},
        {"containers": [{"name": 7, "image": "x"}]},
        {"volumes": [{"name": "a", "image": "x"}]},
        {"volumes": [{"name": "a", "image": {"reference": {}}}]},
        {"volumes": "x"},
        {"initContainers": 7},
        {"ephemeralContainers": [[]]},
        {"imagePullSecrets": {}},
        {"serviceAccountName": 7},
        [],
        "x",
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_and_never_passed_over(spec: Any, prefix: str) -> None:
    kind = ("apps", "v1", "Deployment") if prefix else ("", "v1", "Pod")
    with pytest.raises(InputError, match="ObjectMalformed"):
        extract(placed({"spec": spec}, prefix), kind=kind)


@pytest.mark.parametrize("metadata", [{"uid": 7}, {"name": []}, {"labels": []}, {"generateName": 7}, 7])
def test_metadata_of_another_form_is_refused(metadata: Any) -> None:
    with pytest.raises(InputError, match="ObjectMalformed"):
        extract({"metadata": metadata, "spec": {"containers": [{"name": "a", "image": "x"}]}})


@pytest.mark.parametrize("kind", [("", "v1", "Secret"), ("apps", "v1", "Pod"), ("x.io", "v1", "Deployment")])
def test_a_kind_that_is_not_known_is_refused(kind: tuple[str, str, str]) -> None:
    with pytest.raises(InputError, match="KindUnsupported"):
        extract(pod(containers=[{"name": "a", "image": "x"}]), kind=kind)


def test_more_images_than_the_bound_are_an_error_that_names_it() -> None:
    many = [{"name": f"c{i}", "image": "x"} for i in range(MAX_IMAGES)]
    assert len(extract(pod(containers=many)).images) == MAX_IMAGES
    too_many = pod(containers=[*many, {"name": "last", "image": "x"}])
    with pytest.raises(LimitExceeded, match="MAX_IMAGES"):
        extract(too_many)
    assert extract(too_many, too_many).changed == (), "its finalizers can still be removed"


spots = st.tuples(
    st.sampled_from(list(ContainerKind)), st.sampled_from(["a", "b", "c", "d"]), st.sampled_from(["x:1", "y:2", "z"])
)


@pytest.mark.guarantee(8)
@given(st.lists(spots, max_size=12, unique_by=lambda spot: spot[:2]), st.sampled_from(sorted(KINDS)))
def test_whatever_image_stands_anywhere_is_found(
    spots_: list[tuple[ContainerKind, str, str]], kind: tuple[str, str, str]
) -> None:
    spec: dict[str, Any] = {}
    for spot in spots_:
        field, content = entry(*spot)
        spec.setdefault(field, []).append(content)
    obj = placed({"spec": spec}, KINDS[kind])
    found = extract(obj, kind=kind).images
    assert sorted(use.identity for use in found) == sorted(spots_)
    for use in found:
        value: Any = obj
        for part in use.path.strip("/").split("/"):
            value = value[int(part)] if isinstance(value, list) else value[part]
        assert value == use.text


@given(st.lists(spots, max_size=8, unique_by=lambda s: s[:2]), st.lists(spots, max_size=8, unique_by=lambda s: s[:2]))
def test_an_update_lets_nothing_new_through(
    before: list[tuple[ContainerKind, str, str]], after: list[tuple[ContainerKind, str, str]]
) -> None:
    def obj(all_: list[tuple[ContainerKind, str, str]]) -> dict[str, Any]:
        spec: dict[str, Any] = {}
        for spot in all_:
            field, content = entry(*spot)
            spec.setdefault(field, []).append(content)
        return pod(**spec)

    changed = {use.identity for use in extract(obj(after), obj(before)).changed}
    assert changed == set(after) - set(before)
