"""`assay inventory refused`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import DAY, Listing, known_at, listing, shortened
from controller.cli.times import PAST
from controller.inventory.asking.decisions.refused import Refusal, RefusedPage
from controller.inventory.store import Store
from controller.reading.wire import refused as wire
from controller.settings import Settings


@click.command(short_help="What runs and today's policies would refuse.")
@click.option("--as-of", type=PAST, help=f"What ran at this time ({DAY}), and was refused by then; default: now.")
@click.option("-n", "--namespace", help="Only of this namespace.")
@click.option("--cluster", help="Only of this cluster.")
@click.option("--policy", help="Only by this policy (name or namespace/name).")
@known_at
@listing("Runs")
@options.with_settings("database_url")
def refused(
    load: Callable[..., Settings],
    *,
    as_of: datetime | None,
    namespace: str | None,
    cluster: str | None,
    policy: str | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List what runs though a policy would refuse it today, as it was last evaluated in that namespace.

    A policy refuses an image if its newest evaluation of it there is Violated or Error, and it denies. OLD beside a
    policy: it has judged with another version since. What no policy judged again since it was admitted is not listed:
    nothing is known of it.
    """
    moment = as_of or datetime.now(UTC)
    with Store.open_to_read(load().inventory) as store:
        listing.show(
            lambda limit, cursor, known_at: store.questions.refused.refused(
                as_of=moment,
                namespace=namespace,
                cluster=cluster,
                policy=policy,
                limit=limit,
                cursor=cursor,
                known_at=known_at,
            ),
            wire.RefusedPage,
            table=_print,
            known_at=known_at,
        )


def _print(page: RefusedPage) -> None:
    render.table(
        ("STARTED", "CLUSTER", "POD", "CONTAINER", "IMAGE", "DIGEST", "REFUSED BY", "SINCE", "WHY", "RECORD"),
        (
            (
                f"{item.run.started_at:%Y-%m-%d %H:%M:%S}",
                item.run.cluster,
                f"{item.run.namespace}/{item.run.pod}",
                item.run.container,
                shortened(item.run.reference),
                (item.run.digest or "unknown")[:19],
                _policy(refusal),
                f"{refusal.since:%Y-%m-%d %H:%M:%S}",
                ", ".join(refusal.reasons) or refusal.outcome,
                refusal.record,
            )
            for item in page.items
            for refusal in item.refusals
        ),
    )


def _policy(refusal: Refusal) -> str:
    policy = refusal.policy
    name = f"{policy.namespace}/{policy.name}" if policy.namespace else policy.name
    return name if refusal.current else f"{name} (OLD)"
