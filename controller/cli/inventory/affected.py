"""`assay inventory affected`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import click

from controller.cli import options, render
from controller.cli.inventory.decisions import print_decisions
from controller.cli.inventory.shared import Listing, dump, known_at, listing, ran_as_of, shortened
from controller.errors import InputError
from controller.inventory.asking.affected.questions import Affected
from controller.inventory.asking.affected.records import AffectedDecisions, AffectedImages, AffectedRuns, Extent
from controller.inventory.asking.affected.resting import Footing, Told
from controller.inventory.asking.names import Named
from controller.inventory.store import Store
from controller.reading.wire import affected as wire
from controller.settings import Settings

_NAMED = {Footing.SIGNER: Named.SIGNER, Footing.ARTIFACT: Named.ARTIFACT}
_LISTS = ("runs", "decisions", "images")


@click.command(short_help="What rests on a bad signer, builder, source, base, log entry.")
@click.option("--signer", help="A key's fingerprint, or an identity's subject, whole.")
@click.option("--builder", help="A builder's id; of a workflow also without its reference.")
@click.option("--source", help="A source repository, a commit, or REPOSITORY@COMMIT.")
@click.option("--base", help="A base image: its digest, or its name, with a tag if that matters.")
@click.option("--log-entry", help="An entry of a transparency log: its index, or LOGID:INDEX.")
@click.option("--artifact", help="The blob of a signature or attestation (sha256:…).")
@click.option("--list", "what", type=click.Choice(_LISTS), default="runs", show_default=True, help="What is listed.")
@click.option("--count", is_flag=True, help="How far it reaches alone, without a list.")
@click.option("--ever", is_flag=True, help="All runs until then, not only those at that time.")
@ran_as_of
@click.option("-n", "--namespace", help="Only what ran or was decided in this namespace.")
@known_at
@listing("Items")
@options.with_settings("database_url")
def affected(
    load: Callable[..., Settings],
    *,
    what: str,
    count: bool,
    ever: bool,
    as_of: datetime | None,
    namespace: str | None,
    known_at: datetime | None,
    listing: Listing,
    **named: str | None,
) -> None:
    """Show the blast radius of what turned out bad: how far it reaches, and what runs that rests on it.

    An image rests on a signer, a log entry or an artefact if it was ever proven by it, at any admission; on a builder,
    a source or a base image by verified provenance (builder and source also by a signer's certificate). A base image
    counts too where an image only claims it, by an annotation or a label that nobody signed: SAYS tells by whose word
    it is. Decisions that are listed or counted are those that let such an image in from the first time that it counted.
    What a namespace's own policies found counts for its own runs and decisions alone.
    """
    bad = {Footing(name.replace("_", "-")): text for name, text in named.items() if text is not None}
    footing, value = wire.only(bad)
    times: dict[str, Any] = {"as_of": as_of, "namespace": namespace}
    with Store.open_to_read(load().inventory) as store:
        value = store.questions.names.whole(_NAMED[footing], value) if footing in _NAMED else value
        family = store.questions.affected
        if count or (listing.form == "table" and listing.cursor is None):
            extent = family.extent(footing, value, known_at=known_at, **times)
            _show_extent(extent, f"{footing} {value}", as_of, listing.form)
        if count:
            return
        ask, model, table = _list(family, what)
        also = {"ever": ever} if what == "runs" else {}
        listing.show(
            lambda limit, cursor, known_at: ask(
                footing, value, limit=limit, cursor=cursor, known_at=known_at, **times, **also
            ),
            model,
            table=table,
            known_at=known_at,
        )


def _list(family: Affected, what: str) -> tuple[Callable[..., Any], Any, Callable[[Any], None]]:
    """What asks for this list, its model, and what prints a page of it."""
    match what:
        case "decisions":
            return family.decisions, wire.AffectedDecisions, _print_decisions
        case "images":
            return family.images, wire.AffectedImages, _print_images
    return family.runs, wire.AffectedRuns, _print_runs


def _show_extent(extent: Extent, what: str, as_of: datetime | None, form: str) -> None:
    if form in {"json", "yaml"}:
        dump(wire.Extent.model_validate(extent), form)
        return
    if form != "table":
        raise InputError("FormImpossible", "how far it reaches is no list: print it as table, json or yaml")
    then = f"at {as_of:%Y-%m-%d %H:%M:%S}" if as_of is not None else "now"
    least = "at least " if extent.more else ""
    click.echo(what)
    if not extent.images and not extent.admitted:
        click.echo("  nothing that is recorded rests on it: names are compared whole, letter by letter")
        return
    since = f", first seen {extent.first_known_at:%Y-%m-%d %H:%M:%S}" if extent.first_known_at else ""
    claimed = f" ({extent.claimed} by their own claim alone)" if extent.claimed else ""
    click.echo(f"  images    {extent.images} rest on it{claimed}{since}")
    alone = f" ({extent.running_claimed} by claim alone)" if extent.running_claimed else ""
    click.echo(f"  running   {extent.running} runs{alone} of {extent.running_images} of these images, {then}")
    if extent.running:
        click.echo(f"  where     namespaces {', '.join(extent.namespaces)}; clusters {', '.join(extent.clusters)}")
    click.echo(f"  ran       {least}{extent.ran} runs until then")
    click.echo(f"  admitted  {least}{extent.admitted} decisions let one of them in")


def _print_runs(page: AffectedRuns) -> None:
    render.table(
        ("STARTED", "ENDED", "CLUSTER", "POD", "CONTAINER", "ADMISSION", "IMAGE", "DIGEST", "SAYS"),
        (
            (
                f"{run.started_at:%Y-%m-%d %H:%M:%S}",
                f"{run.ended_at:%Y-%m-%d %H:%M:%S}" if run.ended_at is not None else "",
                run.cluster,
                f"{run.namespace}/{run.pod}",
                run.container,
                str(run.admission),
                shortened(run.reference),
                (run.digest or "unknown")[:19],
                ", ".join(run.sources),
            )
            for run in page.items
        ),
    )


def _print_decisions(page: AffectedDecisions) -> None:
    print_decisions(page.items, ("SAYS", [", ".join(item.sources) for item in page.items]))


def _print_images(page: AffectedImages) -> None:
    render.table(
        ("DIGEST", "SINCE", "SAYS", "BY"),
        (
            (
                one.digest,
                f"{one.since:%Y-%m-%d %H:%M:%S}",
                ", ".join(_word(told) for told in one.sources),
                ", ".join(one.artifacts),
            )
            for one in page.items
        ),
    )


def _word(told: Told) -> str:
    """By whose word; and where alone it counts, if it does not everywhere."""
    return f"{told.source} (in {', '.join(told.only_in)} alone)" if told.only_in else str(told.source)
