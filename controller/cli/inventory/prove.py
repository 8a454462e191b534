"""`assay inventory prove`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import click

from controller.cli import EXIT_DENIED, EXIT_ERROR, options, render
from controller.cli.inventory.shared import known_at, whole
from controller.cli.ledger import verifier_key
from controller.errors import InputError
from controller.inventory.asking.names import Named
from controller.inventory.bundle.export_key import ledger_key
from controller.inventory.bundle.proving import Chain, Link, State, prove
from controller.inventory.bundle.source import Selection
from controller.inventory.store import Store
from controller.reading.wire.proofs import Proof
from controller.settings import Settings
from controller.workers.replay import replay

SCHEMA = "assay.dev/proof/v1alpha1"
_WORDS = {State.HOLDS: "holds", State.FAILS: "FAILS", State.MISSING: "MISSING"}


@click.command("prove", short_help="That evidence is about the very image that ran.")
@click.argument("name", metavar="DIGEST|RUN|RECORD")
@click.option("--document", help="Only this evidence: the digest of its artefact, or of its statement.")
@click.option("-n", "--namespace", help="As far as this namespace is concerned.")
@click.option("--limit", default=20, show_default=True, help="Of a digest: the newest runs and decisions looked at.")
@click.option("--ledger-key", "ledger_key_text", help="Verifier key of the ledger (NAME+ID+KEY), or a file with it.")
@known_at
@options.output
@options.with_settings("database_url", "ledger_directory")
def command(
    load: Callable[..., Settings],
    *,
    name: str,
    document: str | None,
    namespace: str | None,
    limit: int,
    ledger_key_text: str | None,
    known_at: datetime | None,
    form: str,
) -> int:
    """Prove that evidence is about the very image that ran: from the run to the signature, link by link.

    DIGEST is an image (sha256:…), RUN a run's name at its runtime (containerd://…), RECORD the id of a decision or of a
    sighting. Each link is verified now, from stored bytes: run, admission, ledger, bytes, subject, proof.
    Exit status: 0 every link holds; 1 one fails or is missing, and it is named; 2 there is nothing to prove, or what
    is left open cannot be told here (the ledger's key is not known, or a proof is one that this version cannot make).
    """
    settings = load()
    known = verifier_key(ledger_key_text) if ledger_key_text else ledger_key(settings.inventory)
    with Store.open_to_read(settings.inventory) as store:
        name, document = store.questions.names.whole(Named.IMAGE, name), whole(store, Named.ARTIFACT, document)
        found = store.questions.gatherer.gather(
            Selection.named(name, namespace), known_at=known_at or datetime.now(UTC), newest=limit
        )
        if found is None:
            raise InputError("NothingToProve", f"the inventory has no record of {name[:100]}")
        again = partial(replay, blob=found.blob, limits=settings.documents)
        chain = prove(found, again, keys=[known] if known else [], artifact=document)
    if form == "table":
        _print(chain)
    else:
        answer = Proof.model_validate(chain).model_dump(mode="json", by_alias=True)
        render.dump({"schema": SCHEMA, **answer}, form)
    return 0 if chain.holds else EXIT_ERROR if chain.untold else EXIT_DENIED


def _print(chain: Chain) -> None:
    word, said = "Violated", "the chain is broken: see FAILS and MISSING"
    if chain.holds:
        word, said = "Satisfied", "every link holds"
    elif chain.untold:
        word, said = "Error", "the chain holds so far as it can be told here: see UNKNOWN"
    click.echo(f"{render.coloured(word)}  {said}")
    for link in chain.missing:
        _print_link(link, "  ")
    for run in chain.runs:
        click.echo(f"  run of {run.namespace}/{run.pod}, container {run.container}, since {run.started_at[:19]}Z")
        for link in run.links:
            _print_link(link, "    ")
    for document in chain.documents:
        what = document.predicate_type or "signature"
        click.echo(f"  {what}, for {document.policy}")
        for link in document.links:
            _print_link(link, "    ")


def _print_link(link: Link, margin: str) -> None:
    code = f"{link.code}: " if link.code else ""
    word = "UNKNOWN" if link.untold else _WORDS[link.state]
    click.echo(render.plain(f"{margin}{word:7}  {link.name:9}  {code}{link.told}"))
