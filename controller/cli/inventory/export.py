"""`assay inventory export`: the evidence bundle of a release or an incident, and its verification anywhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from controller import __version__
from controller.cli import EXIT_DENIED, EXIT_ERROR, options, render
from controller.cli.inventory.shared import known_at, whole
from controller.cli.ledger import verifier_key
from controller.cli.times import TIME
from controller.cli.writing import writing
from controller.errors import InputError
from controller.inventory.asking.names import Named
from controller.inventory.bundle import archive, assembling, checking, signing
from controller.inventory.bundle.archive import Archive, File
from controller.inventory.bundle.checking import BundleReport
from controller.inventory.bundle.export_key import ledger_key, open_export_key
from controller.inventory.bundle.source import Circumstances, Selection
from controller.inventory.ledger.notes import NoteKey
from controller.inventory.store import Store
from controller.settings import Settings
from controller.workers.replay import replay

VERIFICATION_SCHEMA = "assay.dev/bundle-verification/v1alpha1"

_EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="An evidence bundle for a release or an incident.")
@click.option("--digest", help="All about this image (sha256:…).")
@click.option("--run", help="One run of a container, by its runtime's name (containerd://…).")
@click.option("--record", help="One decision or sighting, by its id, with what belongs to it.")
@click.option("-n", "--namespace", help="Everything of this namespace; beside another: as far as it is this one's.")
@click.option("--from", "since", type=TIME, help="Decided, or still running, at or after this time (UTC).")
@click.option("--to", "until", type=TIME, help="Decided, or started, before this time (UTC).")
@known_at
@click.option("-O", "--output-file", "target", type=click.Path(dir_okay=False), help="The bundle's file; - is stdout.")
@click.option("--verify", "bundle", type=_EXISTING, help="Verify this bundle instead; needs no database.")
@click.option("--key", "key_file", type=_EXISTING, help="With --verify: the public key of who made it (PEM).")
@click.option("--ledger-key", "ledger_key_text", help="Verifier key of the ledger (NAME+ID+KEY), or a file with it.")
@options.output
@options.with_settings("database_url", "ledger_directory", "export_key_file")
def export(
    load: Callable[..., Settings],
    *,
    digest: str | None,
    run: str | None,
    record: str | None,
    namespace: str | None,
    since: datetime | None,
    until: datetime | None,
    known_at: datetime | None,
    target: str | None,
    bundle: Path | None,
    key_file: Path | None,
    ledger_key_text: str | None,
    form: str,
) -> int:
    """Write what is known of a release or an incident into one signed file, or verify such a file.

    The bundle holds the raw evidence, the records with proofs that they are in the ledger, policies and trust roots, a
    SLSA verification summary for each image, and a README.md by which an auditor verifies all of it with public tools.
    Exit status: 0 written, or it holds; 1 something in the bundle does not hold; 2 could not tell.
    """
    settings = load()
    known = verifier_key(ledger_key_text) if ledger_key_text else None
    if bundle is not None:
        return _verify(bundle, settings, key_file=key_file, known=known, form=form)
    if not target:
        raise InputError("OutputMissing", "name the bundle's file: -O FILE.tar")
    now = datetime.now(UTC)
    chosen = Selection(digest, run, record, namespace, since, until)
    key = open_export_key(settings.inventory)
    with Store.open_to_read(settings.inventory) as store:
        chosen = replace(chosen, digest=whole(store, Named.IMAGE, digest))
        moment = known_at or now
        found = store.questions.gatherer.gather(chosen, known_at=moment)
        if found is None:
            raise InputError("NothingToExport", f"nothing is recorded of {_told(chosen)}")
        about = Circumstances(chosen, moment, now, known or ledger_key(settings.inventory), __version__)
        files = assembling.assemble(found, about, key)
        counted = _Counted(files)
        with writing(target) as file:
            for piece in archive.write(counted):
                file.write(piece)
    if target != "-":
        click.echo(f"{target}: {counted.files} files, {counted.bytes} bytes, {len(found.positions)} records")
        click.echo("  to verify: unpack it and follow README.md, or: assay inventory export --verify FILE --key KEY")
    if about.ledger_key is None:
        click.echo(
            "the ledger's key is not known here, so it is not in the bundle, and without it nobody can tell whether"
            " its records are in the ledger: export again with --ledger-key, or give the key to whoever verifies",
            err=True,
        )
    return 0


def _told(chosen: Selection) -> str:
    """What was selected, in words."""
    named = {"digest": chosen.digest, "run": chosen.run, "record": chosen.record, "namespace": chosen.namespace}
    told = ", ".join(f"{name} {value[:100]}" for name, value in named.items() if value is not None)
    return told if chosen.since is None and chosen.until is None else f"{told} in that time"


class _Counted:
    """Files, counted as they go by, and shown on a terminal."""

    def __init__(self, files: Iterable[File]) -> None:
        self._files = files
        self.files = self.bytes = 0

    def __iter__(self) -> Iterator[File]:
        shown = sys.stderr.isatty()
        for file in self._files:
            self.files += 1
            self.bytes += len(file.content)
            if shown and self.files % 50 == 0:
                click.echo(f"\r{self.files} files, {self.bytes // 1024} KiB", err=True, nl=False)
            yield file
        if shown:
            click.echo("\r\033[K", err=True, nl=False)


def _verify(bundle: Path, settings: Settings, *, key_file: Path | None, known: NoteKey | None, form: str) -> int:
    with bundle.open("rb") as file:
        found = Archive(file)
        key = _public_key(key_file.read_bytes() if key_file else found.read(assembling.EXPORT_KEY), key_file)
        keys = [known] if known else _own_ledger_keys(found)
        report = checking.verify(
            found,
            export_key=key,
            ledger_keys=keys,
            ledger_expected=known is not None,
            replay=lambda leaf, blob: (
                (f"{proof.policy}, {proof.image}", proof.trouble)
                for proof in replay(leaf, blob, limits=settings.documents)
            ),
        )
    given = {"exportKeyGiven": key_file is not None, "ledgerKeyGiven": known is not None}
    if form == "table":
        _print(report, **given)
    else:
        render.dump(_as_json(report, **given), form)
    return EXIT_DENIED if report.findings else EXIT_ERROR if report.untold else 0


def _public_key(pem: bytes, file: Path | None) -> Ed25519PublicKey:
    try:
        return signing.read_key(pem)
    except ValueError as exc:
        where = str(file) if file else assembling.EXPORT_KEY
        raise InputError("ExportKeyUnreadable", f"{where} {exc}") from exc


def _own_ledger_keys(bundle: Archive) -> list[NoteKey]:
    if assembling.LEDGER_KEY not in bundle:
        return []
    try:
        return [NoteKey.parse(bundle.read(assembling.LEDGER_KEY)[:4096].decode())]
    except ValueError:  # no key is known then, and that is told
        return []


def _print(report: BundleReport, *, exportKeyGiven: bool, ledgerKeyGiven: bool) -> None:  # noqa: N803 - JSON's names
    word, said = ("Violated", "does NOT hold") if report.findings else ("Satisfied", "holds")
    if report.untold and not report.findings:
        word, said = "Error", "holds so far as it can be told here"
    click.echo(f"{render.coloured(word)}  the bundle {said}: {report.files} files, {report.records} records")
    for finding in report.findings:
        click.echo(_plain(f"  {finding.code}  {finding.where}: {finding.message}"))
    if report.omitted:
        click.echo(f"  and {report.omitted} more")
    selection = report.index.get("selection")
    if isinstance(selection, dict):
        about = ", ".join(f"{name} {value}" for name, value in selection.items())
        click.echo(_plain(f"  about {about}"))
        click.echo(_plain(f"  as it was known at {report.index.get('knownAt')}, made at {report.index.get('madeAt')}"))
    if report.checkpoint is not None:
        where = f"the ledger {report.checkpoint.origin} (of {report.checkpoint.size} entries)"
        click.echo(f"  {report.proven} of {report.records} records are proven to be in {where}")
    elif report.keyless:
        click.echo("  no record is proven to be in the ledger: its key is not known, give it with --ledger-key")
    elif report.unnumbered:
        click.echo("  no record is proven to be in the ledger that you named: the bundle has no checkpoint")
    else:
        click.echo("  no record is proven to be in a ledger: there is no checkpoint whose signature holds")
    click.echo(f"  {report.proofs} proofs were made again from the bundle's bytes")
    if report.unproven:
        click.echo(f"  {report.unproven} could not be: the bundle lacks their bytes, and says so (index.json, missing)")
    if report.impossible:
        why = report.impossible[0]
        click.echo(_plain(f"  {len(report.impossible)} cannot be made again by this version of Assay: {why}"))
    click.echo(f"  {report.summaries} summaries are signed, and say what the records say")
    if not exportKeyGiven:
        click.echo("  by the key that lies in the bundle: give --key to know who made it")
    if not ledgerKeyGiven and report.checkpoint is not None:
        click.echo("  the ledger's key is that of the bundle: give --ledger-key to know whose ledger it is")


def _plain(line: str) -> str:
    """A line with words of somebody else's, of a length that can be read."""
    return render.plain(line[:1000])


def _as_json(report: BundleReport, *, exportKeyGiven: bool, ledgerKeyGiven: bool) -> dict[str, object]:  # noqa: N803
    checkpoint = report.checkpoint
    return {
        "schema": VERIFICATION_SCHEMA,
        "holds": not report.findings and not report.untold,
        "files": report.files,
        "records": report.records,
        "recordsInLedger": report.proven,
        "ledger": {"origin": checkpoint.origin, "size": checkpoint.size} if checkpoint is not None else None,
        "proofs": report.proofs,
        "unproven": report.unproven,
        "impossible": len(report.impossible),
        "summaries": report.summaries,
        "exportKeyGiven": exportKeyGiven,
        "ledgerKeyGiven": ledgerKeyGiven,
        "ledgerKeyKnown": not report.keyless,
        "findings": [{"code": f.code, "where": f.where, "message": f.message} for f in report.findings],
        "findingsOmitted": report.omitted,
    }
