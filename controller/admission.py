"""AdmissionReview v1 and manifests <-> model: one reading for the webhook and the CLI.

https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#webhook-request-and-response
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Never

from controller.errors import InputError
from controller.model.decision import Decision, Verdict
from controller.model.workload import POD_PATHS, AdmissionRequest, Operation, User

API_VERSION = "admission.k8s.io/v1"
MAX_WARNINGS = 4096  # characters of all warnings together; the API server drops what goes beyond
MAX_CAUSES = 50  # mistakes that one refusal of Assay's own objects tells; a person mends these first
MAX_CAUSE = 2_000  # characters of one of them
MAX_MESSAGE = 16_000  # characters of such a refusal: with all causes a second time it stays far below what is passed on
MAX_NESTING = 200  # bounds the depth of what is parsed, below Python's own recursion limit
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

JsonPatch = Sequence[Mapping[str, Any]]
"""RFC 6902 operations."""


def parse_review(body: bytes) -> AdmissionRequest:
    """Read the body of a webhook call.

    Raises `InputError` (`AdmissionReviewMalformed`) naming the field.
    """
    review = parse_json(body)
    if not isinstance(review, dict) or review.get("apiVersion") != API_VERSION:
        raise _malformed(f"apiVersion must be {API_VERSION}")
    if review.get("kind") != "AdmissionReview":
        raise _malformed("kind must be AdmissionReview")
    return parse_request(_object(review, "request"))


def parse_json(body: bytes) -> Any:
    """JSON from outside: UTF-8, no `NaN`, no half of a surrogate pair (it could not be recorded), nesting bounded.

    Raises `InputError` (`AdmissionReviewMalformed`).
    """
    try:
        value = json.loads(body.decode(), parse_constant=_refuse_constant)
        if _SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as exc:
        raise _malformed("the body is not JSON") from exc
    if body.count(b"{") + body.count(b"[") > MAX_NESTING and _depth(value) > MAX_NESTING:
        raise _malformed(f"the body is nested more than {MAX_NESTING} levels deep (bound: MAX_NESTING)")
    return value


def parse_request(request: Mapping[str, Any]) -> AdmissionRequest:
    """Read `AdmissionReview.request`. Raises `InputError` (`AdmissionReviewMalformed`) naming the field."""
    kind = _object(request, "kind", "request.")
    resource = _object(request, "resource", "request.")
    user = _object(request, "userInfo", "request.", default={})
    try:
        operation = Operation(_text(request, "operation", "request."))
    except ValueError as exc:
        raise _malformed("request.operation must be CREATE, UPDATE, DELETE or CONNECT") from exc
    dry_run = request.get("dryRun", False)
    if dry_run is None:
        dry_run = False
    if not isinstance(dry_run, bool):
        raise _malformed("request.dryRun must be true or false")
    groups = user.get("groups") or []
    if not _is_texts(groups):
        raise _malformed("request.userInfo.groups must be a list of text")
    extra = user.get("extra") or {}
    if not isinstance(extra, dict) or not all(map(_is_texts, extra.values())):
        raise _malformed("request.userInfo.extra must be an object of lists of text")
    parsed = AdmissionRequest(
        uid=_text(request, "uid", "request."),
        operation=operation,
        group=_text(kind, "group", "request.kind.", default=""),
        version=_text(kind, "version", "request.kind."),
        kind=_text(kind, "kind", "request.kind."),
        resource=_text(resource, "resource", "request.resource."),
        subresource=_text(request, "subResource", "request.", default=""),
        namespace=_text(request, "namespace", "request.", default=""),
        name=_text(request, "name", "request.", default=""),
        user=User(
            username=_text(user, "username", "request.userInfo.", default=""),
            uid=_text(user, "uid", "request.userInfo.", default=""),
            groups=tuple(groups),
            extra=tuple((name, tuple(values)) for name, values in sorted(extra.items())),
        ),
        dry_run=dry_run,
        object=_object(request, "object", "request.", default={}),
        old_object=_object(request, "oldObject", "request.", default={}),
        raw=request,
    )
    if not parsed.uid:
        raise _malformed("request.uid must not be empty")
    if operation in {Operation.CREATE, Operation.UPDATE} and not parsed.object:
        raise _malformed(f"request.object is missing on {operation}")
    if operation is Operation.UPDATE and not parsed.old_object:
        raise _malformed("request.oldObject is missing on UPDATE")
    return parsed


def request_for(manifest: Mapping[str, Any], *, namespace: str, user: User, uid: str) -> AdmissionRequest:
    """The request that the API server would send for creating this manifest.

    Raises `InputError` (`KindUnsupported`, `ObjectMalformed`).
    """
    api_version, kind = manifest.get("apiVersion"), manifest.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise InputError("ObjectMalformed", "a manifest must have apiVersion and kind")
    group, _, version = api_version.rpartition("/")
    if (group, kind) not in POD_PATHS:
        raise InputError("KindUnsupported", f"{api_version} {kind} holds no pod that Assay knows of")
    metadata = _object(manifest, "metadata", default={})
    placed = {**manifest, "metadata": {**metadata, "namespace": metadata.get("namespace") or namespace}}
    resource = f"{kind.lower()}s"
    parsed = parse_request(
        {
            "uid": uid,
            "kind": {"group": group, "version": version, "kind": kind},
            "resource": {"group": group, "version": version, "resource": resource},
            "operation": "CREATE",
            "namespace": placed["metadata"]["namespace"],
            "name": metadata.get("name") or "",
            "userInfo": {"username": user.username, "uid": user.uid, "groups": list(user.groups)},
            "dryRun": False,
            "object": placed,
            "oldObject": None,
        }
    )
    return replace(parsed, dry_run=True)  # it was not asked in earnest; what rules read is what they would read then


def pod_of(image: str, *, namespace: str, name: str = "pod") -> dict[str, Any]:
    """A pod that runs one image."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "image", "image": image}]},
    }


def patch_response(uid: str, patch: JsonPatch) -> dict[str, Any]:
    """The answer of `/mutate`: always allowed, with a patch when there is something to pin."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if patch:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(list(patch)).encode()).decode()
    return _review(response)


def decision_response(uid: str, decision: Decision) -> dict[str, Any]:
    """The answer of `/validate`."""
    response: dict[str, Any] = {"uid": uid, "allowed": decision.verdict is Verdict.ALLOW}
    if decision.verdict is Verdict.DENY:
        response["status"] = _failure(403, "Forbidden", decision.message)
    if decision.warnings:
        response["warnings"] = _bounded(decision.warnings)
    if decision.audit or decision.annotations:
        response["auditAnnotations"] = dict((*decision.audit, *decision.annotations))
    return _review(response)


def refusal_response(uid: str, *, code: int, reason: str, message: str) -> dict[str, Any]:
    """The answer when no decision could be made or recorded: never an allow."""
    return _review({"uid": uid, "allowed": False, "status": _failure(code, reason, message)})


def allow_response(uid: str, *, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """The answer for one of Assay's own objects that is taken."""
    return _warned({"uid": uid, "allowed": True}, warnings)


def invalid_response(
    request: AdmissionRequest, causes: Sequence[tuple[str, str, str]], *, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """The answer for one of Assay's own objects that is refused, in the form of the API server's own refusals.

    `causes` are code, field and message of each mistake; at most MAX_CAUSES of them are shown.
    """
    shown = [(code, field[:MAX_CAUSE], _cut(message, MAX_CAUSE)) for code, field, message in causes[:MAX_CAUSES]]
    if len(causes) > len(shown):
        shown.append(("TooMany", "", f"and {len(causes) - len(shown)} more"))
    told = [f"{field}: {message}" if field else message for _, field, message in shown]
    kind = f"{request.kind}.{request.group}"
    text = f"{kind} {json.dumps(request.name, ensure_ascii=False)} is invalid: "
    text += told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    status = _failure(422, "Invalid", _cut(text, MAX_MESSAGE))
    status["details"] = {
        "name": request.name,
        "group": request.group,
        "kind": request.kind,
        "causes": [{"reason": code, "field": field, "message": message} for code, field, message in shown],
    }
    return _warned({"uid": request.uid, "allowed": False, "status": status}, warnings)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _warned(response: dict[str, Any], warnings: Sequence[str]) -> dict[str, Any]:
    if warnings:
        response["warnings"] = _bounded([" ".join(warning.split()) for warning in warnings])
    return _review(response)


def apply_pins(obj: Mapping[str, Any], patch: JsonPatch) -> dict[str, Any]:
    """The object with `/mutate`'s own `test` and `replace` operations applied, for the CLI. Pure."""
    copy: dict[str, Any] = json.loads(json.dumps(obj))
    for operation in patch:
        if operation["op"] != "replace":
            continue
        *parents, last = operation["path"].strip("/").split("/")
        target: Any = copy
        for part in parents:
            target = target[int(part)] if isinstance(target, list) else target[part]
        target[last] = operation["value"]
    return copy


def pinned_request(request: AdmissionRequest, patch: JsonPatch, *, dry_run: bool = True) -> AdmissionRequest:
    """The request as `/validate` gets it after `/mutate`: with the pins, in `raw` too, since rules read that."""
    obj = apply_pins(request.object, patch)
    raw = {**request.raw, "object": obj}
    return replace(request, object=obj, raw=raw, dry_run=dry_run)


def _review(response: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response}


def _failure(code: int, reason: str, message: str) -> dict[str, Any]:
    return {"status": "Failure", "code": code, "reason": reason, "message": message}


def _bounded(warnings: Sequence[str]) -> list[str]:
    """As many warnings as the API server passes on; the record has all."""
    shown: list[str] = []
    left = MAX_WARNINGS - 32
    for warning in warnings:
        left -= len(warning.encode())
        if left < 0:
            return [*shown, f"and {len(warnings) - len(shown)} more"]
        shown.append(warning)
    return shown


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _object(parent: Mapping[str, Any], name: str, place: str = "", default: Any = None) -> Mapping[str, Any]:
    value = parent.get(name)
    if value is None and default is not None:
        value = default
    if not isinstance(value, dict):
        raise _malformed(f"{place}{name} must be an object")
    return value


def _text(parent: Mapping[str, Any], name: str, place: str, default: str | None = None) -> str:
    value = parent.get(name)
    if value is None and default is not None:
        value = default
    if not isinstance(value, str):
        raise _malformed(f"{place}{name} must be text")
    return value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _malformed(message: str) -> InputError:
    return InputError("AdmissionReviewMalformed", message)
