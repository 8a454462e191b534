"""`assay inventory packages` and `assay inventory components`: what is in what runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from controller.cli import options, render
from controller.cli.inventory.shared import Listing, as_of, known_at, listing, whole
from controller.errors import InputError
from controller.inventory.asking.documents.components import ComponentPage
from controller.inventory.asking.documents.merged import Subject, merge
from controller.inventory.asking.documents.packages import PackagePage
from controller.inventory.asking.names import Named
from controller.inventory.store import Store
from controller.reading.wire import packages as wire
from controller.settings import Settings


@click.command(short_help="What runs, or ran, that contains a package.")
@click.argument("purl")
@click.argument("versions", default="")
@as_of
@click.option("--ever", is_flag=True, help="Whatever ran at any time, not only then.")
@click.option("-n", "--namespace", help="Only what ran in this namespace.")
@click.option("--cluster", help="Only what ran in this cluster.")
@click.option("--unverified", is_flag=True, help="Documents that nobody was found to vouch for as well, marked.")
@known_at
@listing("Matches")
@options.with_settings("database_url")
def packages(
    load: Callable[..., Settings],
    *,
    purl: str,
    versions: str,
    as_of: datetime | None,
    known_at: datetime | None,
    listing: Listing,
    **where: Any,
) -> None:
    """Find what runs, or ran, that contains a package: where, since when, and whether that was known then.

    PURL is type, namespace and name (pkg:deb/debian/openssl), VERSIONS a comparator ('<3.0.11', '>=1,<2') or a vers:
    range. A component without a version that can be compared is listed as well.

    The answer is what verified SBOMs say. An image without one is in no answer: assay inventory sboms lists those.
    """
    with Store.open_to_read(load().inventory) as store:
        listing.show(
            lambda limit, cursor, known_at: store.questions.packages.packages(
                purl, versions, as_of=as_of, limit=limit, cursor=cursor, known_at=known_at, **where
            ),
            wire.PackagePage,
            table=_print_packages,
            known_at=known_at,
        )
        if listing.form == "table":
            click.echo("an image without an SBOM that counts is in no answer: assay inventory sboms", err=True)


def _print_packages(page: PackagePage) -> None:
    render.table(
        ("STARTED", "ENDED", "CLUSTER", "POD", "CONTAINER", "VERSION", "PACKAGE", "IMAGE", "SBOM", "KNOWN SINCE"),
        (
            (
                f"{item.started_at:%Y-%m-%d %H:%M:%S}",
                f"{item.ended_at:%Y-%m-%d %H:%M:%S}" if item.ended_at is not None else "",
                item.cluster,
                f"{item.namespace}/{item.pod}",
                item.container,
                item.version or "not said",
                item.purl.partition("?")[0] or item.name,
                f"{item.reference.partition('@')[0]} {item.digest[:19]}",
                "verified" if item.verified else f"NOT VERIFIED: {item.code}",
                f"{item.recorded_at:%Y-%m-%d %H:%M:%S}{'' if item.known_then else ' (not known then)'}",
            )
            for item in page.items
        ),
    )


@click.command(short_help="All components of a cluster, namespace or image; as CycloneDX.")
@as_of
@click.option("-n", "--namespace", help="Only of what ran in this namespace.")
@click.option("--cluster", help="Only of what ran in this cluster.")
@click.option("--digest", help="Of this image (sha256:…), whether it runs or not.")
@click.option("--unverified", is_flag=True, help="Documents that nobody was found to vouch for as well.")
@known_at
@listing("Components", "cyclonedx")
@options.with_settings("database_url")
def components(
    load: Callable[..., Settings],
    *,
    as_of: datetime | None,
    known_at: datetime | None,
    listing: Listing,
    unverified: bool,
    **where: Any,
) -> None:
    """List the components of what runs, or ran, each once, with the number of images that have it.

    Of all clusters, of one, of a namespace, or of one image. With -o cyclonedx all of them as one CycloneDX 1.6
    document; it is the same to the byte for the same --as-of and --known-at.
    """
    with Store.open_to_read(load().inventory) as store:
        where["digest"] = whole(store, Named.IMAGE, where["digest"])
        if listing.form == "cyclonedx":
            subject = Subject(as_of or datetime.now(UTC), **{name: value or "" for name, value in where.items()})
            if listing.cursor is not None:
                raise InputError("ParameterInvalid", "a merged document takes no --cursor: it is the whole list")
            for piece in merge(store.questions.components, subject, unverified=unverified, known_at=known_at):
                sys.stdout.write(piece)
            return
        listing.show(
            lambda limit, cursor, known_at: store.questions.components.components(
                as_of=as_of, unverified=unverified, limit=limit, cursor=cursor, known_at=known_at, **where
            ),
            wire.ComponentPage,
            table=_print_components,
            known_at=known_at,
        )


def _print_components(page: ComponentPage) -> None:
    if page.images is not None:
        missing = page.images - (page.described or 0)
        told = f"; {missing} have no SBOM that counts" if missing else ""
        click.echo(f"{page.images} images{told}", err=True)
    render.table(
        ("PACKAGE", "VERSION", "IMAGES", "SUPPLIER", "LICENSES"),
        (
            (
                item.purl.partition("?")[0].partition("@")[0] or item.name,
                item.version or "not said",
                str(item.images),
                item.supplier,
                ", ".join(item.licenses),
            )
            for item in page.items
        ),
    )
