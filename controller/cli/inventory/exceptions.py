"""`assay inventory exceptions`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, as_of, known_at, listing, moment
from controller.inventory.records import ExceptionPage
from controller.inventory.store import Store
from controller.reading import wire
from controller.settings import Settings


@click.command(short_help="Exceptions: who approved them, until when, how often used.")
@click.argument("name", required=False)
@click.option("--in-force", is_flag=True, help="Only those that are known to have been in force then.")
@as_of
@known_at
@listing("Exceptions")
@options.with_settings("database_url")
def exceptions(
    load: Callable[..., Settings],
    *,
    name: str | None,
    in_force: bool,
    as_of: datetime | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List exceptions (or the versions of NAME), the last used first: by whom, why, until when and how often used.

    A line is one version of one exception in one cluster: extending it makes another. One that was never used is listed
    by when it was applied. STATE is as of the time asked about: InForce, Expired, Replaced, Deleted, or Unknown of one
    that was used and that no operator recorded; (unwatched) beside it: that it was deleted was found later. What
    excepts nothing (nobody's approval, an end too far) is not listed.
    """
    with Store.open_to_read(load().inventory) as store:
        listing.show(
            lambda limit, cursor, known_at: store.queries.exceptions(
                name=name, in_force=in_force, limit=limit, cursor=cursor, as_of=as_of, known_at=known_at
            ),
            wire.ExceptionPage,
            table=_print,
            known_at=known_at,
        )


def _print(page: ExceptionPage) -> None:
    render.table(
        (
            "EXCEPTION",
            "CLUSTER",
            "VERSION",
            "APPROVER",
            "APPROVED",
            "EXPIRES",
            "STATE",
            "SINCE",
            "USES",
            "LAST USED",
            "WHY",
        ),
        (
            (
                item.name + (" (break-glass)" if item.break_glass else ""),
                item.cluster,
                item.hash[:19],
                item.approver + (" (claimed)" if item.approval == "claimed" else ""),
                moment(item.approved_at),
                moment(item.expires),
                str(item.state),
                moment(item.ended_at or item.applied_at) + (" (unwatched)" if item.unwatched else ""),
                str(item.uses),
                moment(item.last_used_at),
                item.reason,
            )
            for item in page.items
        ),
    )
