"""`assay inventory findings`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, days, known_at, listing, ran_as_of, whole
from controller.inventory.asking.documents.findings import FindingFilter, FindingPage, FindingRecord
from controller.inventory.asking.names import Named
from controller.inventory.store import Store
from controller.model.documents import Severity
from controller.reading.wire import findings as wire
from controller.settings import Settings


@click.command(short_help="Vulnerabilities that reports found, and what VEX clears.")
@click.option("--severity", type=click.Choice(list(Severity), case_sensitive=False), help="At least so bad.")
@click.option("--id", "vulnerability", help="Only this vulnerability, by its identifier or an alias.")
@click.option("--digest", help="Only of this image.")
@click.option("--fixable/--unfixable", default=None, help="Only with, or without, a known fix, by the report's word.")
@click.option("--cleared/--open", "cleared", default=None, help="Only what VEX clears, or what nothing clears.")
@click.option("--min-age", help="Only what has been known for so long: 30d, 12w.")
@ran_as_of
@click.option("-n", "--namespace", help="Only what runs in this namespace.")
@click.option("--cluster", help="Only what runs in this cluster.")
@known_at
@listing("Findings")
@options.with_settings("database_url")
def findings(
    load: Callable[..., Settings],
    *,
    severity: str | None,
    vulnerability: str | None,
    digest: str | None,
    fixable: bool | None,
    cleared: bool | None,
    min_age: str | None,
    as_of: datetime | None,
    namespace: str | None,
    cluster: str | None,
    known_at: datetime | None,
    listing: Listing,
) -> None:
    """List what the newest verified reports found in the images that run, the worst first, and what VEX says of it.

    The age counts from the earliest report of the image that names the finding.
    """
    where = FindingFilter(
        severity=Severity(severity.upper()) if severity is not None else None,
        vulnerability=vulnerability,
        digest=digest,
        fixable=fixable,
        cleared=cleared,
        min_age=days(min_age) if min_age is not None else None,
        namespace=namespace,
        cluster=cluster,
    )
    with Store.open_to_read(load().inventory) as store:
        where = replace(where, digest=whole(store, Named.IMAGE, digest))
        listing.show(
            lambda limit, cursor, known_at: store.questions.findings.findings(
                where, as_of=as_of, limit=limit, cursor=cursor, known_at=known_at
            ),
            wire.FindingPage,
            table=lambda page: _print(page, as_of or datetime.now(UTC)),
            known_at=known_at,
        )


def _print(page: FindingPage, now: datetime) -> None:
    if page.unreported:
        click.echo(f"{page.unreported} of {page.images} running images have no verified report that says anything")
    render.table(
        ("SEVERITY", "VULNERABILITY", "PACKAGE", "FIX", "AGE", "STATE", "IMAGE", "DIGEST", "RUNS", "NAMESPACES"),
        (
            (
                item.severity,
                item.vulnerability,
                f"{item.package or item.purl} {item.version or ''}".strip(),
                _fix(item),
                f"{max(0, (now - item.first_seen_at).days)}d",
                _state(item),
                ", ".join(item.repositories),
                item.digest[:19],
                str(item.runs),
                ", ".join(item.namespaces),
            )
            for item in page.items
        ),
    )


def _fix(item: FindingRecord) -> str:
    if item.fixed_versions:
        return ", ".join(item.fixed_versions)
    return "none" if item.fixable is False else "not told"


def _state(item: FindingRecord) -> str:
    """Open, or what clears it; what is said and does not clear it stands beside `open`."""
    said = ", ".join(dict.fromkeys(f"{one.status} {one.justification}".strip() for one in item.statements))
    word = "cleared" if item.cleared else "open"
    return f"{word}: {said}" if said else word
