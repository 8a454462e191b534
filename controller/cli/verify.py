"""`assay verify`: one image against policies, as a proof to read."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

import click

from controller import admission, images
from controller.cli import local, options, render
from controller.cli.times import TIME
from controller.errors import InputError
from controller.model.deadline import Deadline
from controller.model.evidence import Proof
from controller.model.reference import Reference
from controller.model.workload import User
from controller.review.leaf import Judged, evaluation_record, exception_record
from controller.review.pipeline import Pipeline, Reviewed
from controller.settings import Settings

SCHEMA = "assay.dev/verification/v1alpha1"


@click.command()
@click.argument("image")
@click.option("--policies", required=True, type=click.Path(exists=True, path_type=Path), help="Directory of policies.")
@click.option("-n", "--namespace", default="default", show_default=True, help="Namespace that the image would run in.")
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
def verify(
    load: Callable[..., Settings],
    *,
    image: str,
    policies: Path,
    namespace: str,
    at: datetime | None,
    layout: Path | None,
    bundles: tuple[Path, ...],
    timeout: float,
    form: str,
) -> int:
    """Verify IMAGE against the policies, as a pod that runs it would be.

    Prints each policy's outcome with the steps of every proof, and what did not count and why.
    Exit status: 0 satisfied, 1 violated, 2 could not tell (also when no policy is about the image).
    """
    settings = load(registry_allow_loopback=True)
    opened = local.pipeline(settings, policies, namespace=None, at=at, layout=layout, bundles=bundles)
    reviewed = asyncio.run(_verify(opened, image, namespace=namespace, timeout=timeout))
    status = local.exit_status(reviewed.decision.verdict, reviewed.decision.evaluations)
    if not reviewed.judged:
        raise InputError("NoPolicyMatched", f"no policy in {policies} is about {Reference.parse(image).name}")
    if form == "table":
        for judged in reviewed.judged:
            _print(judged)
    else:
        render.dump(
            {
                "schema": SCHEMA,
                "image": image,
                "digest": _digest(reviewed),
                "verdict": str(reviewed.decision.verdict),
                "evaluations": [evaluation_record(judged) for judged in reviewed.judged],
            },
            form,
        )
    return status


async def _verify(
    opened: AbstractAsyncContextManager[Pipeline], image: str, *, namespace: str, timeout: float
) -> Reviewed:
    Reference.parse(image)
    pod = admission.pod_of(image, namespace=namespace, name="verify")
    request = admission.request_for(pod, namespace=namespace, user=User(), uid=str(uuid.uuid4()))
    deadline = Deadline.after(timeout)
    async with opened as pipeline:
        patch = await pipeline.mutate(request, deadline=deadline)
        pinned = admission.pinned_request(request, patch)
        return await pipeline.review(pinned, images.extract(pinned), deadline=deadline)


def _digest(reviewed: Reviewed) -> str | None:
    return next((str(j.resolved.digest) for j in reviewed.judged if j.resolved is not None), None)


def _print(judged: Judged) -> None:
    evaluation = judged.evaluation
    click.echo(f"{render.coloured(str(evaluation.outcome))}  {evaluation.policy}")
    click.echo(f"  image   {evaluation.image.text}")
    click.echo(f"  digest  {evaluation.digest}")
    if evaluation.child is not None:
        click.echo(f"  of it   {evaluation.child}")
    for exception in evaluation.exceptions:
        click.echo(f"  exempt  {render.exception(exception_record(exception))} (else {evaluation.otherwise})")
    evidence = judged.assessment.evidence if judged.assessment else None
    for signature in evidence.signatures if evidence else ():
        _print_proof("signature", signature.proof)
    for attestation in evidence.attestations if evidence else ():
        _print_proof(f"attestation {attestation.name} ({attestation.predicate_type})", attestation.proof)
    if evidence and evidence.rejections:
        click.echo("  did not count:")
        for rejection in evidence.rejections:
            who = f" for {rejection.authority}" if rejection.authority else ""
            click.echo(f"    {rejection.location}{who}: {rejection.code}: {rejection.message}")
    for reason in evaluation.reasons:
        click.echo(f"  {reason.rule}: {reason.code}: {reason.message}")
        for label, text in (
            ("required", reason.expected),
            *(("found", found) for found in reason.found),
            ("next", reason.fix),
        ):
            if text:
                click.echo(f"    {label:8}  {text}")


def _print_proof(what: str, proof: Proof) -> None:
    click.echo(f"  {what} by {proof.signer.identity}, counted for authority {proof.authority}")
    for number, step in enumerate(proof.steps, 1):
        click.echo(f"    {number:2}. {step}")
