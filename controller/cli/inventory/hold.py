"""`assay inventory hold`: what must not be dropped, whatever its age."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from controller.cli import options, render
from controller.cli.inventory.shared import DAY, SCHEMA, known_at
from controller.cli.times import PAST, TIME
from controller.inventory.retention.holds import Hold
from controller.inventory.retention.leaves import Selection
from controller.inventory.retention.recording import HoldRecorder
from controller.inventory.store import Store, beside
from controller.settings import Settings


@click.group(short_help="Legal holds: keep what a court or an investigation needs.")
def hold() -> None:
    """Keep what a court or an investigation needs, and say why: placing and lifting are both in the ledger."""


def _by(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--by", "person", default="", help="Who says so; default: the user of this machine.")(function)


@hold.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why, for whoever reads it in years.")
@click.option("--digest", help="Keep what is about this image (sha256:…), its index and manifests.")
@click.option("-n", "--namespace", help="Keep what is about this namespace.")
@click.option("--since", type=TIME, help="Keep what happened from this time on (UTC).")
@click.option("--until", type=TIME, help="Keep what happened before this time (UTC).")
@_by
@options.with_settings("database_url")
def add(
    load: Callable[..., Settings],
    *,
    name: str,
    reason: str,
    digest: str | None,
    namespace: str | None,
    since: datetime | None,
    until: datetime | None,
    person: str,
) -> int:
    """Place a hold NAME. Conditions that are given hold together; at least one has to be."""
    what = Selection(digest, namespace, since, until)
    settings = load()
    with beside(settings.inventory) as (engine, blobs):
        recorder = HoldRecorder(engine, blobs, cluster=settings.review.cluster_name, clock=_now)
        record = recorder.place(name, reason=reason, person=person or getpass.getuser(), what=what)
    click.echo(f"held: {_told(what)}, until the hold {name} is lifted (record {record})")
    return 0


@hold.command()
@click.argument("name")
@click.option("--reason", required=True, help="Why it may go now.")
@_by
@options.with_settings("database_url")
def lift(load: Callable[..., Settings], *, name: str, reason: str, person: str) -> int:
    """Lift the hold NAME. What is older than its rule allows is dropped by the next round."""
    settings = load()
    with beside(settings.inventory) as (engine, blobs):
        recorder = HoldRecorder(engine, blobs, cluster=settings.review.cluster_name, clock=_now)
        record = recorder.lift(name, reason=reason, person=person or getpass.getuser())
    click.echo(f"lifted: {name} (record {record})")
    return 0


@hold.command("list")
@click.option("--all", "lifted", is_flag=True, help="Those that were lifted too.")
@click.option("--as-of", type=PAST, help=f"Those in force at this time ({DAY}); default: now.")
@known_at
@options.output
@options.with_settings("database_url")
def list_(
    load: Callable[..., Settings],
    *,
    lifted: bool,
    as_of: datetime | None,
    known_at: datetime | None,
    form: str,
) -> int:
    """List the holds that are in force."""
    with Store.open_to_read(load().inventory) as store:
        found = store.questions.holds.holds(lifted=lifted, as_of=as_of, known_at=known_at)
    if form != "table":
        render.dump({"schema": SCHEMA, "items": [_plain(one) for one in found]}, form)
        return 0
    for one in found:
        click.echo(f"{one.name}  {_told(one.what)}")
        click.echo(f"  placed {one.placed_at:%Y-%m-%d %H:%M} by {one.by}: {one.reason}  (record {one.record})")
        if one.lifted_at is not None:
            click.echo(f"  lifted {one.lifted_at:%Y-%m-%d %H:%M} by {one.lifted_by}  (record {one.lifted_record})")
    if not found:
        click.echo("nothing is held")
    return 0


def _now() -> datetime:
    return datetime.now(UTC)


def _told(what: Selection) -> str:
    parts = [f"image {what.digest}"] if what.digest else []
    parts += [f"namespace {what.namespace}"] if what.namespace else []
    parts += [f"from {what.begins:%Y-%m-%d %H:%M} on"] if what.begins else []
    parts += [f"before {what.ends:%Y-%m-%d %H:%M}"] if what.ends else []
    return ", ".join(parts)


def _plain(one: Hold) -> dict[str, Any]:
    return {
        "name": one.name,
        "reason": one.reason,
        "by": one.by,
        "placedAt": one.placed_at.isoformat(),
        "record": one.record,
        "digest": one.what.digest,
        "namespace": one.what.namespace,
        "begins": one.what.begins.isoformat() if one.what.begins else None,
        "ends": one.what.ends.isoformat() if one.what.ends else None,
        "liftedAt": one.lifted_at.isoformat() if one.lifted_at else None,
        "liftedBy": one.lifted_by or None,
        "liftedRecord": one.lifted_record or None,
    }
