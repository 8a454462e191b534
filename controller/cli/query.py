"""`assay query`: a question of an auditor's own, in SQL."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import click

from controller.cli import options, render
from controller.errors import InputError
from controller.inventory.querying.answer import Answer, Cell
from controller.inventory.querying.questions import OwnQuestions
from controller.inventory.querying.statement import MAX_STATEMENT
from controller.inventory.querying.views import VIEWS
from controller.inventory.store import Store
from controller.reading.query import lines
from controller.reading.wire.rows import Form
from controller.settings import Settings

SCHEMA = "assay.dev/query/v1alpha1"
MAX_CELL = 100  # characters of one value in a table for people


@click.command()
@click.argument("sql", required=False)
@click.option(
    "--file", "-f", "source", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Read the question from this file (-: standard input).",
)  # fmt: skip
@click.option("--explain", is_flag=True, help="Say how the database would find the answer, and do not ask.")
@click.option("--views", "listed", is_flag=True, help="List the views and their columns.")
@click.option(
    "-o", "--output", "form", type=click.Choice(["table", "json", "yaml", "csv", "jsonl"]), default="table",
    show_default=True, help="A table for people; any other for programs.",
)  # fmt: skip
@options.with_settings("database_url", "database_query_url", "query_timeout", "query_max_rows", "query_max_bytes")
def query(
    load: Callable[..., Settings], *, sql: str | None, source: Path | None, explain: bool, listed: bool, form: str
) -> int:
    """Ask the inventory a question in SQL: one SELECT over its stable views (docs/reference/views.md), read only.

    Example: assay query "SELECT signer_subject, count(*) FROM v_evidence GROUP BY 1"

    Exit status: 0 the whole answer was printed, 2 it was cut, or could not be given.
    """
    if listed:
        _print_views()
        return 0
    if (sql is None) == (source is None):
        raise click.UsageError("give the question, or --file; --views lists what can be asked of")
    inventory = load().inventory
    with Store.open_to_read(inventory):
        answer = OwnQuestions(inventory).ask(sql if sql is not None else _read(source), explain=explain)
    if form in tuple(Form):
        for line in lines(answer, Form(form)):
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
    elif form == "table":
        render.table(answer.columns, [[_shown(cell) for cell in row] for row in answer.rows])
        click.echo(f"{len(answer.rows)} row{'' if len(answer.rows) == 1 else 's'}", err=True)
    else:
        value = {"schema": SCHEMA, "columns": list(answer.columns), "rows": [list(row) for row in answer.rows]}
        render.dump(value | {"cut": answer.cut}, form)
    return _status(answer)


def _status(answer: Answer) -> int:
    if not answer.cut:
        return 0
    setting = {"rows": "--query-max-rows", "bytes": "--query-max-bytes"}[answer.cut]
    click.echo(f"CUT: there is more than this; narrow the question, or raise {setting}", err=True)
    return 2


def _read(source: Path | None) -> str:
    try:
        content = sys.stdin.read(MAX_STATEMENT + 1) if str(source) == "-" else Path(source or "").read_text()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError("QueryRefused", f"{source} cannot be read as text") from exc
    return content


def _shown(cell: Cell) -> str:
    """A value on one line of a table, made safe for a terminal."""
    text = "" if cell is None else "true" if cell is True else "false" if cell is False else str(cell)
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return text if len(text) <= MAX_CELL else f"{text[: MAX_CELL - 1]}…"


def _print_views() -> None:
    for view in VIEWS:
        click.echo(f"{view.name}: {view.about}")
        for name, meaning, _ in view.columns:
            click.echo(f"  {name:18} {meaning}")
