"""`assay inventory sboms`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, days, known_at, listing, ran_as_of
from controller.inventory.asking.documents.sboms import MAY_LACK, Demands, SbomPage, SbomState
from controller.inventory.store import Store
from controller.reading.wire import sboms as wire
from controller.settings import Settings


@click.command(short_help="Running images without an SBOM, or with a bad one, and why.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in SbomState], case_sensitive=False),
    help="Only these; several may be.",
)
@click.option("--older-than", default="90d", show_default=True, help="The age from which one is stale: 90d, 26w.")
@click.option("--may-lack", default=MAY_LACK, show_default=True, help="Percent of components that may lack something.")
@ran_as_of
@click.option("-n", "--namespace", help="Only what runs in this namespace.")
@click.option("--cluster", help="Only what runs in this cluster.")
@known_at
@listing("Images")
@options.with_settings("database_url")
def sboms(
    load: Callable[..., Settings],
    *,
    states: tuple[str, ...],
    older_than: str,
    may_lack: int,
    as_of: datetime | None,
    namespace: str | None,
    cluster: str | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List the running images by the state of their SBOM, those that are worst off first, and what is wrong with it.

    NotLookedFor: no policy asked for evidence. None: there is none. OtherDigest: it is about another image. Unsigned:
    nobody signed it. Untrusted: its proof counts for no policy. Unread: it cannot be read, or not yet. Incomplete: no
    components, or too many without version, supplier or identifier (NTIA's minimum elements). Stale: too old.
    """
    demands = Demands(days(older_than), may_lack)
    with Store.open_to_read(load().inventory) as store:
        listing.show(
            lambda limit, cursor, known_at: store.questions.sboms.sboms(
                states=map(SbomState, states),
                demands=demands,
                as_of=as_of,
                namespace=namespace,
                cluster=cluster,
                limit=limit,
                cursor=cursor,
                known_at=known_at,
            ),
            wire.SbomPage,
            table=_print,
            known_at=known_at,
        )


def _print(page: SbomPage) -> None:
    counts = ", ".join(f"{count} {state}" for state, count in page.counts.items() if count)
    click.echo(f"{sum(page.counts.values())} images run: {counts or 'none'}")
    if page.unidentified:
        click.echo(f"{page.unidentified} runs have no digest that the kubelet told: nothing is known of their images")
    render.table(
        ("STATE", "IMAGE", "DIGEST", "RUNS", "NAMESPACES", "DATED", "COMPONENTS", "WHY"),
        (
            (
                str(item.state),
                ", ".join(item.repositories),
                item.digest[:19],
                str(item.runs),
                ", ".join(item.namespaces),
                f"{item.dated_at:%Y-%m-%d}" if item.dated_at is not None else "-",
                str(item.components) if item.format else "-",
                "; ".join(item.why) or "-",
            )
            for item in page.items
        ),
    )
