"""`assay inventory blob`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime

import click

from controller.cli import options
from controller.cli.inventory.shared import known_at
from controller.cli.writing import writing
from controller.errors import InputError
from controller.inventory.asking.names import Named
from controller.inventory.store import Store
from controller.model.reference import Digest
from controller.settings import Settings


@click.command(short_help="Raw evidence, byte for byte.")
@click.argument("digest")
@click.option("-n", "--namespace", help="Only if this namespace may see it.")
@known_at
@click.option("-O", "--output-file", "target", default="-", metavar="FILE", help="Where they go; - is stdout.")
@options.with_settings("database_url")
def blob(
    load: Callable[..., Settings], *, digest: str, namespace: str | None, known_at: datetime | None, target: str
) -> None:
    """Write out evidence as it was fetched, byte for byte: a bundle, a statement, a policy, a trust root.

    DIGEST (sha256:…) is what records, proofs and exports call it by, and what its bytes hash to. They are a stranger's,
    so a terminal does not get them.
    """
    if target == "-" and sys.stdout.isatty():
        raise InputError("OutputMissing", "raw bytes are not shown on a terminal: name a file (-O FILE), or use a pipe")
    with Store.open_to_read(load().inventory) as store:
        name = str(Digest.parse(store.questions.names.whole(Named.ARTIFACT, digest)))
        content = store.queries.blob(name, known_at=known_at, namespace=namespace)
    if content is None:
        seen = f" that namespace {namespace} may see" if namespace else ""
        raise InputError("BlobUnknown", f"no evidence {name} is kept{seen}")
    with writing(target) as file:
        file.write(content)
