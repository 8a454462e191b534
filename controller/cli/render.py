"""How answers are printed: JSON and YAML for programs, plain aligned text for people. Colour only on a terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click
import yaml

PROGRESS = 0.2  # seconds between two words of how far something has come
_STYLES = {
    "error": "red",
    "warning": "yellow",
    "Allow": "green",
    "Deny": "red",
    "Satisfied": "green",
    "Violated": "red",
    "Error": "yellow",
    "Exempt": "yellow",
}


def coloured(word: str) -> str:
    """A verdict or outcome in its colour, where standard output is a terminal that wants it."""
    plain = not sys.stdout.isatty() or bool(os.environ.get("NO_COLOR"))
    return word if plain or word not in _STYLES else click.style(word, fg=_STYLES[word], bold=True)


def dump(value: Any, form: str) -> None:
    """Print for programs."""
    if form == "json":
        click.echo(json.dumps(value, indent=2, sort_keys=False, default=str))
    else:
        click.echo(yaml.safe_dump(json.loads(json.dumps(value, default=str)), sort_keys=False), nl=False)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns; the last one is never padded. Of no rows nothing, not even the headings."""
    body = [[plain(str(cell)) for cell in row] for row in rows]
    if not body:
        return
    widths = [max(len(row[i]) for row in [list(headings), *body]) for i in range(len(headings))]
    for row in [list(headings), *body]:
        padded = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        line = "  ".join([*padded, row[-1]])
        for word in _STYLES:
            if word in row:
                line = line.replace(word, coloured(word), 1)
        click.echo(line)


def plain(text: str) -> str:
    """A text with words of somebody else's for a line: nothing in it moves a terminal, and none begins a line."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """What tells people at a terminal, on standard error, how far long work has come, a few times a second at most."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    last = 0.0

    def say(what: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= PROGRESS:
            last = now
            click.echo(f"\r\033[K{what} …", err=True, nl=False)

    try:
        yield say
    finally:
        click.echo("\r\033[K", err=True, nl=False)


def exception(record: Mapping[str, Any]) -> str:
    """One exception of a leaf as a line: until when, by which, who said so, and why."""
    loud = "BREAK-GLASS, " if record["breakGlass"] else ""
    by = f"{'claimed' if record['claimed'] else 'approved'} by {record['approver']}"
    return f"{loud}until {record['expires'][:19]}Z by {record['name']}, {by}: {record['reason']}"


def indented(text: str, margin: str) -> str:
    """Every line of the text behind the margin."""
    return "\n".join(margin + line for line in text.splitlines())
