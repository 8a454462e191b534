"""`assay inventory exceptions`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import dump, known_at, utc
from controller.inventory.store import Store
from controller.reading import wire
from controller.settings import Settings


@click.command()
@click.argument("name", required=False)
@known_at
@click.option("--limit", default=50, show_default=True, help="Exceptions that are listed.")
@options.output
@options.with_settings("database_url")
def exceptions(
    load: Callable[..., Settings], *, name: str | None, known_at: datetime | None, limit: int, form: str
) -> None:
    """List the exceptions that were used (or the versions of NAME), the last used first: by whom, why and how often."""
    with Store.open_to_read(load().inventory) as store:
        found = store.queries.exceptions(name=name, limit=limit, known_at=utc(known_at))
    if form != "table":
        dump(wire.ExceptionList(items=[wire.ExceptionRecord.model_validate(item) for item in found]), form)
        return
    render.table(
        ("EXCEPTION", "APPROVER", "EXPIRES", "USES", "LAST USED", "WHY"),
        (
            (
                item.name + (" (break-glass)" if item.break_glass else ""),
                item.approver + (" (claimed)" if item.approval == "claimed" else ""),
                f"{item.expires:%Y-%m-%d %H:%M:%S}",
                str(item.uses),
                f"{item.last_used_at:%Y-%m-%d %H:%M:%S}",
                item.reason,
            )
            for item in found
        ),
    )
