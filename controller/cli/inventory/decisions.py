"""`assay inventory decisions`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, as_of, known_at, listing, whole
from controller.cli.times import TIME
from controller.inventory.asking.names import Named
from controller.inventory.records import FLAGS, DecisionFilter, DecisionImage, DecisionSummary
from controller.inventory.store import Store
from controller.reading import wire
from controller.settings import Settings


@click.command(short_help="What was allowed and denied, and how it came about.")
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("--name", help="Only of objects (pods) of this name.")
@click.option("--verdict", type=click.Choice(["Allow", "Deny"], case_sensitive=False), help="Only these.")
@click.option("--image", help="Only of this image (registry/repository[:tag][@digest]).")
@click.option("--digest", help="Only of this digest.")
@click.option("--policy", help="Only where this policy (name or namespace/name) was evaluated.")
@click.option("--exception", help="Only where this EvidenceException was used.")
@click.option("--flag", type=click.Choice(FLAGS, case_sensitive=False), help="Only those that came about so.")
@click.option("--since", type=TIME, help="Decided at or after this time (UTC).")
@click.option("--until", type=TIME, help="Decided before this time (UTC).")
@as_of
@known_at
@listing("Decisions")
@options.with_settings("database_url")
def decisions(
    load: Callable[..., Settings],
    *,
    namespace: str | None,
    name: str | None,
    verdict: str | None,
    image: str | None,
    digest: str | None,
    policy: str | None,
    exception: str | None,
    flag: str | None,
    since: datetime | None,
    until: datetime | None,
    as_of: datetime | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List decisions, newest first."""
    where = DecisionFilter(
        namespace=namespace,
        name=name,
        verdict=verdict,
        image=image,
        policy=policy,
        exception=exception,
        flag=flag,
        since=since,
        until=until,
    )
    with Store.open_to_read(load().inventory) as store:
        where = replace(where, digest=whole(store, Named.IMAGE, digest))
        listing.show(
            lambda limit, cursor, known_at: store.queries.decisions(
                where, limit=limit, cursor=cursor, as_of=as_of, known_at=known_at
            ),
            wire.DecisionPage,
            table=lambda page: print_decisions(page.items),
            known_at=known_at,
        )


def print_decisions(items: Sequence[DecisionSummary], also: tuple[str, Sequence[str]] | None = None) -> None:
    """Decisions as a table, with one more column (its heading and its cells) before the last."""
    heading, cells = ((also[0],), [(cell,) for cell in also[1]]) if also is not None else ((), [()] * len(items))
    render.table(
        ("DECIDED", "VERDICT", "NAMESPACE", "OBJECT", "IMAGE", "WHY", *heading, "RECORD"),
        (
            (
                f"{item.decided_at:%Y-%m-%d %H:%M:%S}",
                item.verdict,
                item.namespace or "-",
                f"{item.kind}/{item.name}",
                ", ".join(map(_image, item.images)) or "-",
                ", ".join((*item.reasons, *item.flags)) or "-",
                *more,
                item.id,
            )
            for item, more in zip(items, cells, strict=True)
        ),
    )


def _image(image: DecisionImage) -> str:
    name, digest = image.reference.partition("@")[0], (image.digest or "")[:19]
    return f"{name}@{digest}…" if digest else name
