"""`assay inventory policies`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, as_of, known_at, listing, moment
from controller.inventory.records import PolicyPage
from controller.inventory.store import Store
from controller.reading import wire
from controller.settings import Settings


@click.command(short_help="Policies: which versions there were, since when and until when.")
@click.argument("name", required=False)
@click.option("--cluster", help="Only of this cluster.")
@click.option("--in-force", is_flag=True, help="Only the versions that were in force then.")
@as_of
@known_at
@listing("Versions")
@options.with_settings("database_url")
def policies(
    load: Callable[..., Settings],
    *,
    name: str | None,
    cluster: str | None,
    in_force: bool,
    as_of: datetime | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List the versions of policies (or of NAME, or NAMESPACE/NAME) that an operator saw, the latest applied first.

    WRITTEN BY is the program that the cluster names for the spec, and no person: who that was is in the API server's
    audit log. A deletion is told by when it was seen; (unwatched) beside it: it was found later. The version itself,
    byte for byte: assay inventory blob HASH.
    """
    with Store.open_to_read(load().inventory) as store:
        listing.show(
            lambda limit, cursor, known_at: store.queries.policies(
                name=name,
                cluster=cluster,
                in_force=in_force,
                limit=limit,
                cursor=cursor,
                as_of=as_of,
                known_at=known_at,
            ),
            wire.PolicyPage,
            table=_print,
            known_at=known_at,
        )


def _print(page: PolicyPage) -> None:
    render.table(
        ("POLICY", "CLUSTER", "VERSION", "WRITTEN BY", "SINCE", "UNTIL", "STATE", "PROBLEM"),
        (
            (
                f"{item.namespace}/{item.name}" if item.namespace else item.name,
                item.cluster,
                item.hash[:19],
                item.manager or "-",
                moment(item.applied_at),
                moment(item.ended_at) + (" (unwatched)" if item.unwatched else ""),
                str(item.state),
                item.problem or "-",
            )
            for item in page.items
        ),
    )
