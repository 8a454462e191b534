"""`assay policy explain`: which policies are about an image and why, and what each part of them came to."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from controller import admission, app, images
from controller.cli import local, options, render
from controller.cli.policy import explaining
from controller.cli.review import documents, namespace_of, request_of
from controller.cli.times import TIME
from controller.errors import InputError
from controller.model.deadline import Deadline
from controller.model.policy import Namespace
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest, User
from controller.review.explanation import Explanation
from controller.review.explanation import explain as explanation_of
from controller.review.pipeline import Reviewed
from controller.settings import Settings


@click.command()
@click.argument("subject", metavar="IMAGE|FILE")
@click.option("--policies", required=True, type=click.Path(exists=True, path_type=Path), help="Directory of policies.")
@click.option("--user", default="", help="User name of the request (a manifest has none).")
@click.option("--group", "groups", multiple=True, help="Group of the user; may be given several times.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace of an image or a manifest.")
@click.option("--namespace-object", type=click.File("rb"), help="The Namespace object, for its labels.")
@click.option("--now", "at", type=TIME, help="Judge as of this time (RFC 3339).")
@options.offline
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sigstore bundle (JSON, or one a line) to judge by, in the place of what lies beside the image.",
)
@click.option("--timeout", default=local.SECONDS, show_default=True, help="Seconds that the verdict may take.")
@options.output
@options.with_settings(*local.VERDICT_SETTINGS)
def explain(
    load: Callable[..., Settings],
    *,
    subject: str,
    policies: Path,
    user: str,
    groups: tuple[str, ...],
    namespace: str,
    namespace_object: Any,
    at: datetime | None,
    layout: Path | None,
    bundles: tuple[Path, ...],
    timeout: float,
    form: str,
) -> int:
    """Explain what policies say of an IMAGE, or of a FILE with one manifest or AdmissionReview (- is standard input).

    For each policy: what made it match or not, which requirements are met by what, the exceptions that were used, and
    the value of every rule and of every part of it. Environment values, arguments and commands of the object are
    withheld. The verdict is that of `assay review`, and so is the exit status: 0 allowed, 1 denied, 2 could not tell.
    """
    request = _request(subject, namespace=namespace, user=User(username=user, groups=groups))
    labelled = namespace_of(namespace_object) if namespace_object else None
    now = at or app.now()
    settings = load(registry_allow_loopback=True)
    reviewed, explanation = asyncio.run(
        _explain(
            settings, policies, request, namespace=labelled, at=now, layout=layout, bundles=bundles, timeout=timeout
        )
    )
    if form == "table":
        for line in explaining.lines(reviewed, explanation):
            click.echo(line)
    else:
        render.dump(explaining.as_json(reviewed, explanation), form)
    return local.exit_status(reviewed.decision.verdict, reviewed.decision.evaluations)


async def _explain(
    settings: Settings,
    policies: Path,
    request: AdmissionRequest,
    *,
    namespace: Namespace | None,
    at: datetime,
    layout: Path | None,
    bundles: tuple[Path, ...],
    timeout: float,
) -> tuple[Reviewed, Explanation]:
    deadline = Deadline.after(timeout)
    quick = replace(settings, workers=replace(settings.workers, worker_processes=1))
    async with (
        app.open_workers(quick) as workers,
        local.pipeline(
            settings, policies, namespace=namespace, at=at, layout=layout, bundles=bundles, workers=workers
        ) as pipeline,
    ):
        pinned = admission.pinned_request(request, await pipeline.mutate(request, deadline=deadline))
        reviewed = await pipeline.review(pinned, images.extract(pinned), deadline=deadline)
        return reviewed, await explanation_of(reviewed, workers, now=at, deadline=deadline)


def _request(subject: str, *, namespace: str, user: User) -> AdmissionRequest:
    """The request of a file with one object, or of a pod that runs the image."""
    if subject != "-" and not Path(subject).is_file():
        try:
            Reference.parse(subject)
        except InputError as exc:
            raise InputError(exc.code, f"{subject[:200]!r} is no file and no image: {exc.message}") from exc
        pod = admission.pod_of(subject, namespace=namespace, name="explain")
        return admission.request_for(pod, namespace=namespace, user=user, uid=str(uuid.uuid4()))
    with click.open_file(subject, "rb") as file:
        found = documents(io.BufferedReader(file) if not hasattr(file, "name") else file)
    if len(found) != 1:
        raise InputError("FileUnreadable", f"{subject} holds {len(found)} objects; give one")
    return request_of(found[0], namespace=namespace, user=user)
