"""`assay inventory migrate`: bring a database to this version's tables."""

from __future__ import annotations

from collections.abc import Callable

import click

from controller.cli import options
from controller.inventory.store import migrate as bring
from controller.inventory.tables import REVISION
from controller.settings import Settings


@click.command(short_help="Bring the database to this version's tables.")
@options.with_settings("database_url", "blob_directory")
def migrate(load: Callable[..., Settings]) -> None:
    """Bring the database to this version's tables. One that is current is left as it is.

    `assay serve` does so when it starts (on PostgreSQL the operator; the other roles wait for it). This is for who
    keeps the right to make tables to a role of its own, or wants to see it done before an upgrade. A migration is one
    transaction: broken off, it has changed nothing. What follows from the records is made anew, which takes as long as
    reading them; nothing is recorded meanwhile. Configurations of images, which older versions kept, are deleted.
    """
    settings = load().inventory
    bring(settings.url(), settings=settings)
    click.echo(f"the database has the tables of this version (revision {REVISION})")
