"""`assay inventory assets`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, known_at, listing, ran_as_of
from controller.inventory.store import Store
from controller.reading.wire import assets as wire
from controller.settings import Settings


@click.command(short_help="Images that run, as FedRAMP's asset list.")
@ran_as_of
@click.option("-n", "--namespace", help="Only what runs in this namespace.")
@click.option("--cluster", help="Only what runs in this cluster.")
@known_at
@listing("Assets")
@options.with_settings("database_url")
def assets(
    load: Callable[..., Settings],
    *,
    as_of: datetime | None,
    namespace: str | None,
    cluster: str | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List the images that run as assets, for FedRAMP's Integrated Inventory Workbook: -o csv --all has its columns.

    An asset is an image by repository and digest, however many containers run it. What Assay does not know is empty.
    """
    with Store.open_to_read(load().inventory) as store:
        listing.show(
            lambda limit, cursor, known_at: wire.AssetPage.of(
                store.questions.assets.assets(
                    as_of=as_of,
                    namespace=namespace,
                    cluster=cluster,
                    limit=limit,
                    cursor=cursor,
                    known_at=known_at,
                )
            ),
            wire.AssetPage,
            table=_print,
            known_at=known_at,
        )


def _print(page: wire.AssetPage) -> None:
    render.table(
        ("ASSET", "OS", "SCANNED", "OWNER", "COMMENTS"),
        (
            (
                item.identifier,
                item.system or "-",
                item.in_latest_scan,
                item.application_owner or "-",
                item.comments,
            )
            for item in page.items
        ),
    )
