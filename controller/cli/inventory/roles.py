"""`assay inventory roles`."""

from __future__ import annotations

import click

from controller.inventory.querying import roles as database


@click.command(short_help="SQL for PostgreSQL's roles that cannot write.")
@click.option("--reader", default=database.READER, show_default=True, help="The role for database_reader_url.")
@click.option("--querier", default=database.QUERIER, show_default=True, help="The role for database_query_url.")
@click.option("--owner", help="The role that migrates, as database_url names it; default: who runs the statements.")
@click.option("--schema", default="public", show_default=True, help="The schema that the tables lie in.")
def roles(*, reader: str, querier: str, owner: str | None, schema: str) -> None:
    """Print the SQL that makes PostgreSQL's roles that cannot write: one for readers, one for `assay query`.

    Run it once as a superuser in Assay's database, then give each role a password. What later versions of Assay add can
    be read by both without running it again.
    """
    for statement in database.statements(reader=reader, querier=querier, owner=owner, schema=schema):
        click.echo(f"{statement};")
