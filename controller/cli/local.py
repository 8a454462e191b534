"""What the verdict commands share: a pipeline over policies from files, without cluster and without inventory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import click

from controller import app
from controller.errors import InputError
from controller.model.decision import Evaluation, Outcome, Verdict
from controller.model.policy import Action, Namespace
from controller.registry.handed import HandedOver, read_bundles
from controller.registry.layout import OciLayout
from controller.review.pipeline import Pipeline
from controller.review.ports import Registry
from controller.settings import Settings
from controller.workers import WorkerPool

EXIT_ALLOWED, EXIT_DENIED, EXIT_COULD_NOT_TELL = 0, 1, 2
SECONDS = 60.0  # bound on one verdict from the command line, unless --timeout says otherwise
VERDICT_SETTINGS = (
    "trusted_root",
    "registry_insecure_hosts",
    "registry_ca_files",
    "registry_allow_private",
    "exception_max_duration",
    "no_match",
    "templates",
)


@asynccontextmanager
async def pipeline(
    settings: Settings,
    directory: Path,
    *,
    namespace: Namespace | None,
    at: datetime | None,
    layout: Path | None = None,
    bundles: Sequence[Path] = (),
    workers: WorkerPool | None = None,
) -> AsyncIterator[Pipeline]:
    """A pipeline that sees what lies in the directory. `at` is the time that the verdict is asked for.

    With `layout`, an OCI image layout, nothing goes to a network; with `bundles` these files are all the evidence.
    `workers` are some that others share.
    """
    snapshot = app.read_snapshot(directory, settings=settings)
    if not len(snapshot.policies):
        raise InputError("NoPolicies", f"{directory} holds no ClusterEvidencePolicy and no EvidencePolicy")
    clock = app.now if at is None else fixed_clock(at)
    for line in app.idle_exceptions(snapshot, clock()):
        click.echo(f"note: {line}", err=True)
    handed = read_bundles(bundles, settings.registry)

    def through(registry: Registry) -> Registry:
        images = registry if layout is None else OciLayout(layout, settings.registry, clock=clock)
        return HandedOver(images, handed, clock=clock) if bundles else images

    quick = replace(settings, workers=replace(settings.workers, worker_processes=1))
    async with app.open_pipeline(
        quick,
        snapshots=app.fixed(snapshot),
        namespaces=app.LocalNamespaces({namespace.name: namespace} if namespace else None),
        recorder=app.NoRecorder(),
        clock=clock,
        through=through,
        workers=workers,
    ) as opened:
        yield opened


def exit_status(verdict: Verdict, evaluations: tuple[Evaluation, ...]) -> int:
    """1 if anything is Violated under Deny, else 2 on any Error (or a denial without a violation), else 0."""
    denying = [e for e in evaluations if Action.DENY in e.actions]
    if any(e.outcome is Outcome.VIOLATED for e in denying):
        return EXIT_DENIED
    if any(e.outcome is Outcome.ERROR for e in evaluations):
        return EXIT_COULD_NOT_TELL
    return EXIT_DENIED if verdict is Verdict.DENY else EXIT_ALLOWED


def fixed_clock(at: datetime) -> Callable[[], datetime]:
    """A clock that has stopped."""
    return lambda: at
