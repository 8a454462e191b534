"""`assay inventory running`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, known_at, listing, ran_as_of, shortened, whole
from controller.inventory.asking.names import Named
from controller.inventory.records import Admission, RunPage
from controller.inventory.store import Store
from controller.reading import wire
from controller.settings import Settings


@click.command(short_help="What runs, or ran: how it was admitted, who signed it.")
@ran_as_of
@click.option("--ever", is_flag=True, help="Whatever ran at any time.")
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("--cluster", help="Only of this cluster.")
@click.option("--digest", help="Only of this digest.")
@click.option(
    "--admission",
    type=click.Choice([each.value for each in Admission], case_sensitive=False),
    help="Only runs that came to be so.",
)
@click.option("--signed/--unsigned", default=None, help="Only what somebody signed, or what nobody did.")
@click.option("--signer", help="Only what this one signed: a key's fingerprint, or an identity's subject, whole.")
@known_at
@listing("Runs")
@options.with_settings("database_url")
def running(
    load: Callable[..., Settings],
    *,
    as_of: datetime | None,
    ever: bool,
    namespace: str | None,
    cluster: str | None,
    digest: str | None,
    admission: str | None,
    signed: bool | None,
    signer: str | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List what runs, or ran, by the digest that the kubelet reported, whether Assay admitted it, and who signed it.

    Admitted: with this very image. Drifted: with another one. Unadmitted: Assay was never asked about the pod (a static
    pod, an excluded namespace, a webhook that was away). Unknown: it cannot be compared.

    Signed by: whose signature or attestation of this very image was verified when its pod was admitted. What was never
    admitted was never verified, so it counts as unsigned.
    """
    if ever and as_of is not None:
        raise click.UsageError("--ever is whatever ran at any time: leave out --as-of, or --ever")
    with Store.open_to_read(load().inventory) as store:
        digest, signer = whole(store, Named.IMAGE, digest), whole(store, Named.SIGNER, signer)
        listing.show(
            lambda limit, cursor, known_at: store.queries.runs(
                as_of=as_of,
                now=not ever,
                namespace=namespace,
                cluster=cluster,
                digest=digest,
                admission=Admission(admission) if admission else None,
                signed=signed,
                signer=signer,
                limit=limit,
                cursor=cursor,
                known_at=known_at,
            ),
            wire.RunPage,
            table=_print,
            known_at=known_at,
        )


def _print(page: RunPage) -> None:
    render.table(
        ("STARTED", "ENDED", "ADMISSION", "CLUSTER", "POD", "CONTAINER", "IMAGE", "DIGEST", "SIGNED BY"),
        (
            (
                f"{item.started_at:%Y-%m-%d %H:%M:%S}",
                f"{item.ended_at:%Y-%m-%d %H:%M:%S} {item.reason}" if item.ended_at is not None else "",
                str(item.admission),
                item.cluster,
                f"{item.namespace}/{item.pod}",
                item.container,
                shortened(item.reference),
                (item.digest or "unknown")[:19],
                ", ".join(who.subject or who.key[:19] for who in item.signers) or "nothing verified",
            )
            for item in page.items
        ),
    )
    for gap in page.gaps:
        end = f"{gap.until:%H:%M:%S}" if gap.until.date() == gap.since.date() else f"{gap.until:%Y-%m-%d %H:%M:%S}"
        click.echo(f"nobody watched {gap.cluster} from {gap.since:%Y-%m-%d %H:%M:%S} to {end}", err=True)
    if page.more_gaps:
        click.echo(
            "nobody watched at more times than these: ask of one cluster (--cluster), or of one time (--as-of)",
            err=True,
        )
