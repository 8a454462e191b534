"""AdmissionReview v1: read strictly, answered exactly."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller import admission
from controller.errors import InputError
from controller.model.decision import Decision, Verdict
from controller.model.workload import Operation, User

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {"containers": []}}


def request(**changes: Any) -> dict[str, Any]:
    content = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "name": "web",
        "namespace": "shop",
        "operation": "CREATE",
        "userInfo": {"username": "alice", "uid": "7", "groups": ["dev", "system:authenticated"]},
        "object": POD,
        "oldObject": None,
        "dryRun": False,
        "options": {"apiVersion": "meta.k8s.io/v1", "kind": "CreateOptions"},
    }
    return {name: value for name, value in (content | changes).items() if value is not ...}


def body(**changes: Any) -> bytes:
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request(**changes)}
    return json.dumps(review).encode()


def test_a_review_is_read_whole() -> None:
    parsed = admission.parse_review(body(subResource="ephemeralcontainers", dryRun=True))
    assert parsed.uid == "705ab4f5-6393-11e8-b7cc-42010a800002"
    assert parsed.operation is Operation.CREATE
    assert (parsed.group, parsed.version, parsed.kind, parsed.resource) == ("", "v1", "Pod", "pods")
    assert (parsed.subresource, parsed.namespace, parsed.name) == ("ephemeralcontainers", "shop", "web")
    assert parsed.user == User("alice", "7", ("dev", "system:authenticated"))
    assert parsed.dry_run is True
    assert parsed.object == POD
    assert parsed.old_object == {}
    assert parsed.raw["options"]["kind"] == "CreateOptions"


def test_what_the_api_server_may_leave_out_is_filled_in() -> None:
    parsed = admission.parse_review(body(name=..., namespace=..., userInfo=..., dryRun=None, oldObject=...))
    assert (parsed.name, parsed.namespace, parsed.user, parsed.dry_run) == ("", "", User(), False)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"uid": ""}, "request.uid"),
        ({"uid": None}, "request.uid"),
        ({"uid": 7}, "request.uid"),
        ({"kind": None}, "request.kind"),
        ({"kind": {"version": "v1"}}, "request.kind.kind"),
        ({"resource": "pods"}, "request.resource"),
        ({"operation": "create"}, "request.operation"),
        ({"operation": None}, "request.operation"),
        ({"dryRun": "false"}, "request.dryRun"),
        ({"dryRun": 0}, "request.dryRun"),
        ({"namespace": 7}, "request.namespace"),
        ({"userInfo": []}, "request.userInfo"),
        ({"userInfo": {"groups": "dev"}}, "request.userInfo.groups"),
        ({"userInfo": {"groups": [7]}}, "request.userInfo.groups"),
        ({"userInfo": {"extra": {"scopes": "a"}}}, "request.userInfo.extra"),
        ({"userInfo": {"username": 7}}, "request.userInfo.username"),
        ({"object": None}, "request.object"),
        ({"object": {}}, "request.object"),
        ({"object": [1]}, "request.object"),
        ({"operation": "UPDATE"}, "request.oldObject"),
        ({"operation": "UPDATE", "oldObject": {}}, "request.oldObject"),
    ],
    ids=str,
)
def test_a_malformed_request_is_an_error_that_names_the_field(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match="AdmissionReviewMalformed") as caught:
        admission.parse_review(body(**changes))
    assert caught.value.message.startswith(field)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b"{} {}",
        b"\xff\xfe{\x00}\x00",
        b'{"apiVersion": "admission.k8s.io/v1beta1", "kind": "AdmissionReview", "request": {}}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "ConversionReview", "request": {}}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}',
        b'{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": []}',
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b'{"x": NaN}',
        b'{"x": -Infinity}',
        b'{"x": ' + b"9" * 10_000 + b"}",
        b'{"x": "\xff"}',
    ],
    ids=lambda content: content[:30],
)
def test_a_foreign_body_is_refused(content: bytes) -> None:
    with pytest.raises(InputError, match="AdmissionReviewMalformed"):
        admission.parse_review(content)


def test_half_a_surrogate_pair_is_refused_and_a_whole_one_is_read() -> None:
    with pytest.raises(InputError, match="not JSON"):
        admission.parse_review(body(name="\ud800"))
    assert admission.parse_review(body(name="\U0001f600")).name == "\U0001f600"
    assert admission.parse_review(body(name="\\ud800")).name == "\\ud800", "an escaped backslash is none"


@pytest.mark.guarantee(10)
def test_nesting_past_the_bound_is_an_error_that_names_it() -> None:
    def nested(depth: int) -> bytes:
        return b'{"a":' * depth + b"1" + b"}" * depth

    assert admission.parse_json(nested(admission.MAX_NESTING))
    with pytest.raises(InputError, match="MAX_NESTING"):
        admission.parse_json(nested(admission.MAX_NESTING + 1))
    assert admission.parse_json(b"[" + b"[]," * 5000 + b"[]]"), "many brackets side by side are no nesting"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from([*request(), "subResource"]), json_values, max_size=4))
def test_any_json_in_any_field_is_read_or_refused(changes: dict[str, Any]) -> None:
    try:
        parsed = admission.parse_review(body(**changes))
    except InputError:
        return
    assert parsed.uid
    assert parsed.object or parsed.operation in {Operation.DELETE, Operation.CONNECT}


def decision(**changes: Any) -> Decision:
    fields: dict[str, Any] = {
        "verdict": Verdict.ALLOW,
        "message": "",
        "warnings": (),
        "audit": (),
        "flags": (),
        "evaluations": (),
    }
    return Decision(**(fields | changes))


def test_an_allow_is_answered_exactly() -> None:
    assert admission.decision_response("u-1", decision()) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {"uid": "u-1", "allowed": True},
    }


def test_a_denial_is_answered_exactly() -> None:
    denied = decision(verdict=Verdict.DENY, message="why", warnings=("careful",), audit=(("record", "r-1"),))
    assert admission.decision_response("u-1", denied) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": "u-1",
            "allowed": False,
            "status": {"status": "Failure", "code": 403, "reason": "Forbidden", "message": "why"},
            "warnings": ["careful"],
            "auditAnnotations": {"record": "r-1"},
        },
    }


def test_a_refusal_is_never_an_allow() -> None:
    answer = admission.refusal_response("u-1", code=503, reason="ServiceUnavailable", message="why")
    assert answer["response"] == {
        "uid": "u-1",
        "allowed": False,
        "status": {"status": "Failure", "code": 503, "reason": "ServiceUnavailable", "message": "why"},
    }


def test_a_patch_is_answered_exactly_and_an_empty_one_is_none() -> None:
    assert admission.patch_response("u-1", [])["response"] == {"uid": "u-1", "allowed": True}
    patch = [{"op": "test", "path": "/a", "value": "x"}, {"op": "replace", "path": "/a", "value": "y"}]
    response = admission.patch_response("u-1", patch)["response"]
    assert json.loads(base64.b64decode(response.pop("patch"))) == patch
    assert response == {"uid": "u-1", "allowed": True, "patchType": "JSONPatch"}


def test_no_more_warnings_are_sent_than_the_api_server_passes_on() -> None:
    warnings = tuple(f"{number} {'ä' * 120}" for number in range(100))
    shown = admission.decision_response("u-1", decision(warnings=warnings))["response"]["warnings"]
    assert sum(len(text.encode()) for text in shown) <= admission.MAX_WARNINGS
    assert shown[:-1] == list(warnings[: len(shown) - 1])
    assert shown[-1] == f"and {100 - len(shown) + 1} more"


@pytest.mark.parametrize(
    ("api_version", "kind", "resource", "group"),
    [
        ("v1", "Pod", "pods", ""),
        ("v1", "ReplicationController", "replicationcontrollers", ""),
        ("apps/v1", "Deployment", "deployments", "apps"),
        ("batch/v1", "CronJob", "cronjobs", "batch"),
    ],
)
def test_a_manifest_becomes_the_request_that_creates_it(api_version: str, kind: str, resource: str, group: str) -> None:
    manifest = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, "spec": {}}
    made = admission.request_for(manifest, namespace="shop", user=User("alice", "", ("dev",)), uid="u-1")
    assert (made.uid, made.operation, made.group, made.version, made.kind) == (
        "u-1",
        Operation.CREATE,
        group,
        "v1",
        kind,
    )
    assert (made.resource, made.namespace, made.name, made.dry_run) == (resource, "shop", "web", True)
    assert made.object["metadata"] == {"name": "web", "namespace": "shop"}
    assert made.user == User("alice", "", ("dev",))
    assert manifest["metadata"] == {"name": "web"}, "the manifest itself is left as it was"


@pytest.mark.parametrize(
    ("manifest", "code"),
    [
        ({}, "ObjectMalformed"),
        ({"apiVersion": 1, "kind": "Pod"}, "ObjectMalformed"),
        ({"apiVersion": "v1", "kind": "Secret"}, "KindUnsupported"),
        ({"apiVersion": "apps/v1", "kind": "Pod"}, "KindUnsupported"),
        ({"apiVersion": "v1", "kind": "Pod", "metadata": []}, "AdmissionReviewMalformed"),
    ],
    ids=str,
)
def test_a_manifest_that_holds_no_pod_is_refused(manifest: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError, match=code):
        admission.request_for(manifest, namespace="shop", user=User(), uid="u-1")


def test_pins_are_applied_to_a_copy() -> None:
    obj = {"spec": {"containers": [{"image": "a"}, {"image": "b"}]}}
    patch = [
        {"op": "test", "path": "/spec/containers/1/image", "value": "b"},
        {"op": "replace", "path": "/spec/containers/1/image", "value": "b@sha256:…"},
    ]
    assert admission.apply_pins(obj, patch) == {"spec": {"containers": [{"image": "a"}, {"image": "b@sha256:…"}]}}
    assert obj["spec"]["containers"][1] == {"image": "b"}


def test_a_pinned_request_shows_rules_the_object_that_would_be_stored() -> None:
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"image": "a:1"}]}}
    request = admission.request_for(
        {"apiVersion": "v1", "kind": "Pod", **pod}, namespace="shop", user=User(), uid="u-1"
    )
    patch = [
        {"op": "test", "path": "/spec/containers/0/image", "value": "a:1"},
        {"op": "replace", "path": "/spec/containers/0/image", "value": "a:1@sha256:0"},
    ]
    pinned = admission.pinned_request(request, patch)
    assert pinned.object["spec"]["containers"][0]["image"] == "a:1@sha256:0"
    assert pinned.raw["object"] == pinned.object
    assert (pinned.dry_run, pinned.raw["dryRun"]) == (True, False)  # never recorded, and rules do not notice
    assert request.object["spec"]["containers"][0]["image"] == "a:1"
