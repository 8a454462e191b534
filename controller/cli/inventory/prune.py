"""`assay inventory prune`: drop what is older than its rule allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import SCHEMA
from controller.inventory.database.engines import parse, reading_engine
from controller.inventory.database.failures import unavailable_as
from controller.inventory.ledger.keeping import known_signer
from controller.inventory.retention.pruning import Pruned, Pruner
from controller.inventory.retention.rules import rules
from controller.inventory.store import beside
from controller.settings import Settings


@click.command(short_help="Drop what is older than it has to be kept.")
@click.option("--dry-run", is_flag=True, help="Say what would be dropped, and change nothing.")
@options.output
@options.with_settings(
    "database_url", "retain_decisions", "retain_sightings", "retain_evidence", "ledger_key_file", "ledger_directory"
)
def prune(load: Callable[..., Settings], *, dry_run: bool, form: str) -> int:
    """Drop decisions, runs and evidence that are older than the settings retain_… allow, and that no hold keeps.

    What is dropped is said in a record that the ledger's key signs; the ledger goes on proving that it was there. The
    serving process does the same once a day. What goes on running, and what admitted it, is never dropped.
    """
    settings = load()
    wanted = rules(settings.inventory)
    if not wanted:
        click.echo("everything is kept for ever: no retain_… is set", err=True)
        return 0
    signer = None if dry_run else known_signer(settings.inventory, cluster=settings.review.cluster_name)
    with beside(settings.inventory) as (engine, blobs):
        reading = reading_engine(parse(settings.inventory.url()), connections=1)
        try:
            pruner = Pruner(
                engine,
                reading,
                rules=wanted,
                blobs=blobs,
                cluster=settings.review.cluster_name,
                signer=signer,
                clock=lambda: datetime.now(UTC),
            )
            with unavailable_as():
                found = pruner.foresee() if dry_run else pruner.prune()
        finally:
            reading.dispose()
    _tell(found, dry_run=dry_run, form=form)
    return 0


def _tell(found: list[Pruned], *, dry_run: bool, form: str) -> None:
    if form != "table":
        items = [
            {
                "class": str(one.rule.what),
                "keepSeconds": int(one.rule.keep.total_seconds()),
                "dropped": one.dropped,
                "held": one.held,
            }
            for one in found
        ]
        render.dump({"schema": SCHEMA, "dryRun": dry_run, "items": items}, form)
        return
    for one in found:
        what = "blobs" if one.rule.what == "evidence" else "records"
        word = "would be dropped" if dry_run else "dropped"
        held = f", {one.held} kept by a hold" if one.held else ""
        click.echo(f"{one.rule.what}, older than {one.rule.keep.days} days: {one.dropped} {what} {word}{held}")
