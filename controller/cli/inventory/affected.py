"""`assay inventory affected`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.decisions import print_decisions
from controller.cli.inventory.shared import TIMES, dump, known_at, say_next, utc
from controller.inventory.affected import AffectedPage, Listing
from controller.inventory.resting import Footing
from controller.inventory.store import Store
from controller.reading.wire import affected as wire
from controller.settings import Settings


@click.command()
@click.option("--signer", help="A key's fingerprint, or an identity's subject, whole.")
@click.option("--log-entry", help="An entry of a transparency log: its index, or LOGID:INDEX.")
@click.option("--artifact", help="The blob of a signature or attestation (sha256:…).")
@click.option(
    "--list",
    "listing",
    type=click.Choice(list(Listing)),
    default=Listing.RUNS,
    show_default=True,
    help="What is listed.",
)
@click.option("--ever", is_flag=True, help="All runs until then, not only those at that time.")
@click.option("--as-of", type=TIMES, help="What ran at this time (UTC); default: now.")
@click.option("-n", "--namespace", help="Only what ran or was decided in this namespace.")
@known_at
@click.option("--limit", default=50, show_default=True, help="Items on one page.")
@click.option("--cursor", help="The next page, as the last one named it.")
@options.output
@options.with_settings("database_url")
def affected(
    load: Callable[..., Settings],
    *,
    listing: str,
    ever: bool,
    as_of: datetime | None,
    namespace: str | None,
    known_at: datetime | None,
    limit: int,
    cursor: str | None,
    form: str,
    **named: str | None,
) -> None:
    """Show the blast radius of a signer, a log entry or an artefact that turned out bad: how far it reaches, and what
    runs that rests on it.

    An image rests on it if it was ever proven by it, at any admission. Decisions that are listed or counted are those
    that let such an image in from the first time that it counted.
    """
    footing, value = wire.only(
        {Footing(name.replace("_", "-")): text for name, text in named.items() if text is not None}
    )
    with Store.open_to_read(load().inventory) as store:
        page = store.questions.affected.affected(
            footing,
            value,
            listing=Listing(listing),
            as_of=utc(as_of),
            ever=ever,
            namespace=namespace,
            limit=limit,
            cursor=cursor,
            known_at=utc(known_at),
        )
    if form != "table":
        dump(wire.AffectedPage.model_validate(page), form)
        return
    if cursor is None:
        _print_extent(page, f"{footing} {value}", as_of)
    _print_list(page, Listing(listing))
    say_next(page.cursor)


def _print_extent(page: AffectedPage, what: str, as_of: datetime | None) -> None:
    extent = page.extent
    then = f"at {as_of:%Y-%m-%d %H:%M:%S}" if as_of is not None else "now"
    least = "at least " if extent.more else ""
    click.echo(what)
    if not extent.images and not extent.admitted:
        click.echo("  nothing that is recorded rests on it")
        return
    since = f", first seen {extent.first_known_at:%Y-%m-%d %H:%M:%S}" if extent.first_known_at else ""
    click.echo(f"  images    {extent.images} rest on it{since}")
    click.echo(f"  running   {extent.running} runs of {extent.running_images} of these images, {then}")
    if extent.running:
        click.echo(f"  where     namespaces {', '.join(extent.namespaces)}; clusters {', '.join(extent.clusters)}")
    click.echo(f"  ran       {least}{extent.ran} runs until then")
    click.echo(f"  admitted  {least}{extent.admitted} decisions let one of them in")


def _print_list(page: AffectedPage, listing: Listing) -> None:
    match listing:
        case Listing.RUNS:
            render.table(
                ("STARTED", "ENDED", "CLUSTER", "POD", "CONTAINER", "ADMISSION", "IMAGE", "DIGEST"),
                (
                    (
                        f"{run.started_at:%Y-%m-%d %H:%M:%S}",
                        f"{run.ended_at:%Y-%m-%d %H:%M:%S}" if run.ended_at is not None else "",
                        run.cluster,
                        f"{run.namespace}/{run.pod}",
                        run.container,
                        str(run.admission),
                        run.reference,
                        (run.digest or "unknown")[:19],
                    )
                    for run in page.runs
                ),
            )
        case Listing.DECISIONS:
            print_decisions(page.decisions)
        case Listing.IMAGES:
            render.table(
                ("DIGEST", "SINCE", "BY"),
                ((one.digest, f"{one.since:%Y-%m-%d %H:%M:%S}", ", ".join(one.artifacts)) for one in page.images),
            )
