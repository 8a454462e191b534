"""`assay ledger`: whether the inventory is what was recorded, and proofs of it for others."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path

import click

from controller.cli import options, render
from controller.cli.consistency import consistency
from controller.errors import ConfigurationError, InputError
from controller.inventory.audit.verifying import Kept, Report
from controller.inventory.ledger.keeping import PUBLIC_KEY
from controller.inventory.ledger.notes import COSIGNATURE, MAX_NOTE, NoteKey
from controller.inventory.ledger.witnessing import witnesses_of
from controller.inventory.store import Store
from controller.inventory.tables import instant
from controller.settings import Settings

VERIFICATION_SCHEMA = "assay.dev/ledger-verification/v1alpha1"
MAX_DIGITS = 19  # of an entry's number
PROOF_SCHEMA = "assay.dev/ledger-proof/v1alpha1"


@click.group()
def ledger() -> None:
    """Show that nothing in the inventory was changed, removed or reordered."""


ledger.add_command(consistency)


@ledger.command(short_help="The newest signed checkpoint, to be kept elsewhere.")
@options.with_settings("database_url")
def checkpoint(load: Callable[..., Settings]) -> int:
    """Print the newest signed checkpoint (a C2SP signed note), to be kept elsewhere.

    Exit status: 0 printed, 2 nothing was signed yet.
    """
    with Store.open_to_read(load().inventory) as store:
        note = store.ledger.checkpoint()
    if note is None:
        raise InputError("LedgerEmpty", "no checkpoint was signed yet: nothing has a number in the ledger")
    click.echo(note, nl=False)
    return 0


@ledger.command(short_help="That a record is in the ledger.")
@click.argument("record")
@options.output
@options.with_settings("database_url")
def proof(load: Callable[..., Settings], *, record: str, form: str) -> int:
    """Print the proof that RECORD (a decision's or a sighting's id) is in the ledger: entry, hashes, checkpoint.

    The hashes are an inclusion proof of RFC 6962 (2.1.1).

    An entry's number stands for a record that was dropped by rule: its id went with it, its hash is still proven.

    Exit status: 0 printed, 2 there is no such record, or it has no number yet.
    """
    with Store.open_to_read(load().inventory) as store:
        number = record.isascii() and record.isdecimal() and len(record) < MAX_DIGITS
        found = store.ledger.prove_entry(int(record)) if number else store.ledger.prove(record)
        known = store.queries.record(record) is not None
    if found is None:
        why = "it has no number in the ledger yet; ask again in a few seconds" if known else "there is no such record"
        raise InputError("ProofUnavailable", f"{record[:100]}: {why}")
    value = {
        "schema": PROOF_SCHEMA,
        "record": found.record,
        "entry": found.entry.decode(),
        "index": found.index,
        "size": found.size,
        "hashes": [base64.b64encode(step).decode() for step in found.hashes],
        "checkpoint": found.checkpoint,
    }
    if form == "table":
        what = f"record {found.record}" if found.record else "what was recorded"
        click.echo(f"{what} is entry {found.index} of {found.size}")
        click.echo(f"  entry  {found.entry.decode()}")
        for step in found.hashes:
            click.echo(f"  hash   {base64.b64encode(step).decode()}")
        click.echo(render.indented(found.checkpoint, "  | "))
    else:
        render.dump(value, form)
    return 0


@ledger.command(short_help="That nothing was changed, removed or reordered.")
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A checkpoint that was kept elsewhere; may be given several times.",
)
@click.option(
    "--key",
    "key_texts",
    multiple=True,
    help="Verifier key (NAME+ID+KEY), or a file that holds one. Default: the one that lies beside the ledger's key. "
    "A witness's key counts its cosignatures; those of ledger_witnesses are known.",
)
@options.output
@options.with_settings("database_url", "ledger_directory", "ledger_witnesses")
def verify(
    load: Callable[..., Settings], *, checkpoints: tuple[Path, ...], key_texts: tuple[str, ...], form: str
) -> int:
    """Hold every row of the inventory against the ledger, and the ledger against what was signed of it.

    Needs no serving process and no network; reads everything, so it takes a while.
    Exit status: 0 all of it is as it was recorded, 1 something is not, 2 could not tell.
    """
    settings = load()
    own = settings.inventory.ledger_folder() / PUBLIC_KEY
    given = [verifier_key(text) for text in key_texts]
    witnesses = [each.key for each in witnesses_of(settings.inventory.ledger_witnesses, allow_http=True)]
    witnesses += [key for key in given if key.kind == COSIGNATURE and key not in witnesses]
    keys = [key for key in given if key.kind != COSIGNATURE] or [verifier_key(str(own))]
    kept = [Kept(str(path), path.read_bytes()[: MAX_NOTE + 1]) for path in checkpoints]
    with Store.open_to_read(settings.inventory) as store, render.progress() as say:
        report = store.verify(keys=[*keys, *witnesses], kept=kept, say=say)
    if form == "table":
        _print(report, keys, witnesses, given=any(key in given for key in keys))
    else:
        render.dump(_as_json(report, [*keys, *witnesses]), form)
    return 1 if report.findings else 0


def verifier_key(text: str) -> NoteKey:
    """A verifier key that was given as text, or as a file. Raises `ConfigurationError` (`LedgerKeyUnreadable`)."""
    try:
        return NoteKey.parse(text if "+" in text and "/" not in text.partition("+")[0][:1] else Path(text).read_text())
    except (OSError, UnicodeDecodeError) as exc:
        message = f"{text[:200]} cannot be read; give the ledger's verifier key with --key"
        raise ConfigurationError("LedgerKeyUnreadable", message) from exc
    except ValueError as exc:
        raise ConfigurationError("LedgerKeyUnreadable", f"{text[:200]} {exc}") from exc


def _print(report: Report, keys: list[NoteKey], witnesses: list[NoteKey], *, given: bool) -> None:
    word = "Violated" if report.findings else "Satisfied"
    said = "is NOT what was recorded" if report.findings else "is what was recorded"
    click.echo(f"{render.coloured(word)}  the inventory {said}: {report.entries} entries, {report.blobs} blobs")
    if report.documents:
        click.echo(f"  {report.documents} documents were read again and held against their index")
    if report.unindexed:
        click.echo(f"  {report.unindexed} documents wait to be indexed: no answer knows yet what they say")
    for finding in report.findings:
        click.echo(f"  {finding.code}  {finding.where}: {finding.message}")
    if report.omitted:
        click.echo(f"  and {report.omitted} more")
    for record, count in report.dropped.items():
        click.echo(f"  {count} entries were dropped by rule (record {record}): their hashes are what is left of them")
    if report.waiting:
        click.echo(f"  {report.waiting} records have no number yet: they are held against nothing but themselves")
    click.echo(f"  signed for {report.signed} of {report.entries} entries by {', '.join(key.name for key in keys)}")
    if not given:
        click.echo("  by the key that lies beside the ledger: give --key to be independent of this machine")
    for key in witnesses:
        seen = report.cosigned.get(key.name)
        how_far = (
            f"{seen.size} of {report.entries} entries, which it saw at {seen.at:%Y-%m-%d %H:%M:%S}Z" if seen else "none"
        )
        click.echo(f"  cosigned by the witness {key.name}: {how_far}")
    if report.kept:
        click.echo(f"  and a checkpoint that was kept elsewhere vouches for the first {report.kept}")
    else:
        click.echo(
            "  no checkpoint that was kept elsewhere was given: that the end was cut off, or exchanged by somebody\n"
            "  with the key, would not show. Keep one away from here: assay ledger checkpoint > FILE"
        )


def _as_json(report: Report, keys: list[NoteKey]) -> dict[str, object]:
    return {
        "schema": VERIFICATION_SCHEMA,
        "intact": not report.findings,
        "entries": report.entries,
        "blobs": report.blobs,
        "documents": report.documents,
        "unindexedDocuments": report.unindexed,
        "waiting": report.waiting,
        "dropped": [{"record": record, "entries": count} for record, count in report.dropped.items()],
        "signedEntries": report.signed,
        "keptEntries": report.kept,
        "cosignedEntries": [
            {"witness": name, "entries": seen.size, "seenAt": instant(seen.at)}
            for name, seen in sorted(report.cosigned.items())
        ],
        "keys": [str(key) for key in keys],
        "findings": [{"code": f.code, "where": f.where, "message": f.message} for f in report.findings],
        "findingsOmitted": report.omitted,
    }
