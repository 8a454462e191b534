"""`assay ledger consistency`: that what somebody keeps of the ledger is the beginning of what it is now."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

from controller.cli import EXIT_DENIED, options, render
from controller.errors import InputError
from controller.inventory.ledger import merkle, notes
from controller.inventory.ledger.checkpoint import Checkpoint
from controller.inventory.ledger.reading import LedgerReader
from controller.inventory.store import Store
from controller.settings import Settings

SCHEMA = "assay.dev/ledger-consistency/v1alpha1"
MAX_DIGITS = 19  # of a size


@dataclass(frozen=True, slots=True)
class Point:
    """A size of the ledger; its root where a checkpoint says it, and that checkpoint's ledger."""

    size: int
    root: bytes | None = None
    origin: str = ""
    note: str = ""

    @classmethod
    def of(cls, note: str) -> Point:
        """What a checkpoint says, by whomever it is signed. Raises `ValueError` for what is none."""
        said = Checkpoint.parse(notes.split(note.encode())[0])
        return cls(said.size, said.root, said.origin, note)


@click.command(short_help="That what was kept is the beginning of the ledger.")
@click.argument("old", metavar="OLD")
@click.argument("new", metavar="[NEW]", required=False)
@options.output
@options.with_settings("database_url")
def consistency(load: Callable[..., Settings], *, old: str, new: str | None, form: str) -> int:
    """Print the proof that the ledger of size OLD is the beginning of that of size NEW: hashes (RFC 6962, 2.1.2).

    Each is a number of entries, or a file with a checkpoint that was kept; NEW is the newest checkpoint unless it is
    given. Where checkpoints tell both roots the proof is verified. Whose signatures they bear is not looked at: for
    that, and for every row of the inventory, assay ledger verify --checkpoint FILE.

    Exit status: 0 the one is the beginning of the other, or its proof is printed; 1 it is not; 2 could not tell.
    """
    with Store.open_to_read(load().inventory) as store:
        first = _point(old)
        second = _point(new) if new is not None else _newest(store.ledger)
        why, hashes = _compare(store.ledger, first, second)
    if form == "table":
        _print(first, second, why, hashes)
    else:
        value = {
            "schema": SCHEMA,
            "old": first.size,
            "new": second.size,
            "hashes": [base64.b64encode(step).decode() for step in hashes],
            "holds": None if first.root is None or second.root is None else not why,
            "trouble": why,
            "checkpoint": second.note,
        }
        render.dump(value, form)
    return EXIT_DENIED if why else 0


def _point(text: str) -> Point:
    """A size, or what a file's checkpoint says. Raises `InputError` (`CheckpointMalformed`)."""
    if text.isascii() and text.isdecimal() and len(text) < MAX_DIGITS:
        return Point(int(text))
    try:
        with Path(text).open("rb") as file:
            return Point.of(file.read(notes.MAX_NOTE + 1).decode())
    except OSError as exc:
        message = f"{text[:200]} is no number of entries, and no file with a checkpoint: {exc.strerror}"
        raise InputError("CheckpointMalformed", message) from exc
    except ValueError as exc:
        raise InputError("CheckpointMalformed", f"{text[:200]} {exc}") from exc


def _newest(ledger: LedgerReader) -> Point:
    note = ledger.checkpoint()
    if note is None:
        raise InputError("LedgerEmpty", "no checkpoint was signed yet: nothing has a number in the ledger")
    return Point.of(note)


def _compare(ledger: LedgerReader, old: Point, new: Point) -> tuple[str, list[bytes]]:
    """Why the old one is not the beginning of the new one, empty if it is or nobody knows the roots; and the proof."""
    if old.origin and new.origin and old.origin != new.origin:
        return f"it is a checkpoint of another ledger, {old.origin}", []
    if old.root is not None and old.size > new.size:
        return f"it has {old.size} entries, more than {new.size}: the end of the ledger was cut off", []
    hashes = ledger.continues(old.size, new.size)
    if old.root is None or new.root is None:
        return "", hashes
    if merkle.verify_consistency(old.size, new.size, hashes, old.root, new.root):
        return "", hashes
    return f"the first {old.size} entries are others than it was made of", []


def _print(old: Point, new: Point, why: str, hashes: list[bytes]) -> None:
    if why:
        click.echo(f"{render.coloured('Violated')}  what was kept is NOT the beginning of the ledger: {why}")
        return
    if old.root is not None and new.root is not None:
        click.echo(
            f"{render.coloured('Satisfied')}  the ledger of {old.size} entries is the beginning of that of {new.size}"
        )
    else:
        click.echo(f"that the ledger of {old.size} entries is the beginning of that of {new.size} is proven by")
    for step in hashes:
        click.echo(f"  hash   {base64.b64encode(step).decode()}")
    if not hashes:
        click.echo("  no hash: they are of one size")
    if new.note:
        click.echo(render.indented(new.note, "  | "))
