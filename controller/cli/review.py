"""`assay review`: what the webhook would answer, for an AdmissionReview or a manifest, without a cluster."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import click
import yaml

from controller import admission, images
from controller.cli import local, options, render
from controller.cli.times import TIME
from controller.errors import InputError
from controller.model.deadline import Deadline
from controller.model.decision import Decision, Verdict
from controller.model.policy import Namespace
from controller.model.workload import AdmissionRequest, User
from controller.review.pipeline import Pipeline
from controller.review.scope import untouched
from controller.settings import Settings

MAX_INPUT = 16 * 1024 * 1024  # bytes of one file: more than an API server takes


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--policies", required=True, type=click.Path(exists=True, path_type=Path), help="Directory of policies.")
@click.option("--user", default="", help="User name of the request (a manifest has none).")
@click.option("--group", "groups", multiple=True, help="Group of the user; may be given several times.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of a manifest without one.")
@click.option("--namespace-object", type=click.File("rb"), help="The Namespace object, for its labels.")
@click.option("--now", "at", type=TIME, help="Judge as of this time (RFC 3339).")
@options.offline
@click.option("--timeout", default=local.SECONDS, show_default=True, help="Seconds that the verdict may take.")
@options.output
@options.with_settings(*local.VERDICT_SETTINGS)
def review(
    load: Callable[..., Settings],
    *,
    file: Any,
    policies: Path,
    user: str,
    groups: tuple[str, ...],
    namespace: str,
    namespace_object: Any,
    at: datetime | None,
    layout: Path | None,
    timeout: float,
    form: str,
) -> int:
    """Review FILE (an AdmissionReview, or a Pod or workload manifest; - is standard input) as the cluster would.

    Mutates and validates, records nothing, and prints the answer; -o json prints the AdmissionReview itself.
    Exit status: 0 allowed, 1 denied, 2 could not tell.
    """
    requests = [
        request_of(document, namespace=namespace, user=User(username=user, groups=groups))
        for document in documents(file)
    ]
    labelled = namespace_of(namespace_object) if namespace_object else None
    settings = load(registry_allow_loopback=True)
    opened = local.pipeline(settings, policies, namespace=labelled, at=at, layout=layout)
    return asyncio.run(_review(opened, requests, timeout=timeout, form=form))


async def _review(
    opened: AbstractAsyncContextManager[Pipeline], requests: list[AdmissionRequest], *, timeout: float, form: str
) -> int:
    status = local.EXIT_ALLOWED
    answers = []
    async with opened as pipeline:
        for request in requests:
            deadline = Deadline.after(timeout)
            patch = await pipeline.mutate(request, deadline=deadline)
            pinned = admission.pinned_request(request, patch)
            decision = await pipeline.validate(pinned, deadline=deadline)
            answer = admission.decision_response(request.uid, decision)
            answer["response"] |= admission.patch_response(request.uid, patch)["response"] | {
                "allowed": answer["response"]["allowed"]
            }
            answers.append(answer)
            status = _worst(status, local.exit_status(decision.verdict, decision.evaluations))
            if form == "table":
                _print(request, decision, patch)
    if form != "table":
        render.dump(answers[0] if len(answers) == 1 else {"apiVersion": "v1", "kind": "List", "items": answers}, form)
    return status


def documents(file: Any) -> list[Mapping[str, Any]]:
    """The objects of a YAML or JSON file. Raises `InputError` (`FileUnreadable`) naming it."""
    content = file.read(MAX_INPUT + 1)
    if len(content) > MAX_INPUT:
        raise InputError("FileTooLarge", f"{file.name} has more than {MAX_INPUT} bytes")
    try:
        found = [document for document in yaml.safe_load_all(content) if document is not None]
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        raise InputError("FileUnreadable", f"{file.name}{place}: neither YAML nor JSON") from exc
    if not found or not all(isinstance(document, dict) for document in found):
        raise InputError("FileUnreadable", f"{file.name}: expected Kubernetes objects")
    return [item for document in found for item in _items(document)]


def request_of(document: Mapping[str, Any], *, namespace: str, user: User) -> AdmissionRequest:
    """The request that an AdmissionReview is, or that creating the manifest would be."""
    if document.get("kind") == "AdmissionReview":
        return admission.parse_review(json.dumps(document, default=str).encode())
    return admission.request_for(document, namespace=namespace, user=user, uid=str(uuid.uuid4()))


def _items(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if document.get("kind") == "List" and isinstance(document.get("items"), list):
        return [item for item in document["items"] if isinstance(item, dict)]
    return [document]


def namespace_of(file: Any) -> Namespace:
    """The Namespace object of a file. Raises `InputError` (`NamespaceMalformed`)."""
    obj = documents(file)[0]
    metadata = obj.get("metadata") or {}
    if obj.get("kind") != "Namespace" or not metadata.get("name"):
        raise InputError("NamespaceMalformed", f"{file.name}: expected a Namespace object with a name")
    return Namespace(metadata["name"], metadata.get("labels") or {}, metadata.get("annotations") or {})


def _worst(one: int, other: int) -> int:
    """1 before 2 before 0: a violation that was found is the firmer answer."""
    order = (local.EXIT_ALLOWED, local.EXIT_COULD_NOT_TELL, local.EXIT_DENIED)
    return max(one, other, key=order.index)


def _print(request: AdmissionRequest, decision: Decision, patch: tuple[Mapping[str, Any], ...]) -> None:
    workload = images.extract(request)
    click.echo(f"{render.coloured(str(decision.verdict))}  {workload.kind} {workload.namespace}/{workload.name}")
    if untouched(request, workload):
        click.echo("  nothing to judge: no image is changed")
    for operation in patch:
        if operation["op"] == "replace":
            click.echo(f"  pinned {operation['path']} to {operation['value']}")
    for evaluation in decision.evaluations:
        click.echo(f"  {evaluation.policy}: {render.coloured(str(evaluation.outcome))}  {evaluation.image.text}")
    for warning in decision.warnings:
        click.echo(f"  warning: {warning}")
    if decision.verdict is Verdict.DENY:
        click.echo(render.indented(decision.message, "  "))
