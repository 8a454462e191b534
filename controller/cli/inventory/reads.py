"""`assay inventory reads`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, as_of, known_at, listing
from controller.cli.times import TIME
from controller.inventory.asking.reads import ReadPage
from controller.inventory.store import Store
from controller.reading.wire import reads as wire
from controller.settings import Settings


@click.command(short_help="Who read what, where that is recorded.")
@click.option("--user", "username", help="Only of this user.")
@click.option("--resource", help="Only of this: decisions, images, blobs, …")
@click.option("--of", "identity", help="Only of this digest or record.")
@click.option("--since", type=TIME, help="Read at or after this time (UTC).")
@click.option("--until", type=TIME, help="Read before this time (UTC).")
@as_of
@known_at
@listing("Reads")
@options.with_settings("database_url")
def reads(
    load: Callable[..., Settings],
    *,
    username: str | None,
    resource: str | None,
    identity: str | None,
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List who read what, the latest first, where that is recorded (setting log_reads)."""
    with Store.open_to_read(load().inventory) as store:
        listing.show(
            lambda limit, cursor, known_at: store.questions.reads.reads(
                username=username,
                resource=resource,
                identity=identity,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
                as_of=as_of,
                known_at=known_at,
            ),
            wire.ReadPage,
            table=_print,
            known_at=known_at,
        )


def _print(page: ReadPage) -> None:
    render.table(
        ("READ", "BY", "VIA", "WHAT", "NAMESPACE", "OF", "ITEMS", "RECORD"),
        (
            (
                f"{item.decided_at:%Y-%m-%d %H:%M:%S}",
                item.username,
                item.via,
                f"{item.verb} {item.resource}",
                item.namespace or "all",
                item.identity or "-",
                "?" if item.count is None else str(item.count),
                item.id,
            )
            for item in page.items
        ),
    )
