"""What the inventory's commands share: times, and how an answer for programs begins."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import click
from pydantic import BaseModel

from controller.cli import render
from controller.cli.times import TIME
from controller.errors import AssayError, InputError
from controller.inventory.asking.asker import MAX_LIMIT
from controller.reading.telling import told
from controller.reading.wire.rows import Form, Rows

F = TypeVar("F", bound=Callable[..., Any])

MAX_DIGITS = 5  # of an age: some thousand years
_DAYS = {"d": 1, "w": 7}
SCHEMA = "assay.dev/inventory/v1alpha1"


def known_at(function: F) -> F:
    """Add `--known-at TIME`."""
    return click.option("--known-at", type=TIME, help="From what had been recorded by this time (UTC).")(function)


def as_of(function: F) -> F:
    """Add `--as-of TIME`."""
    return click.option("--as-of", type=TIME, help="What was true at this time (UTC).")(function)


class Page(Protocol):
    """A page of any list."""

    @property
    def items(self) -> Any:
        """What is on it."""

    @property
    def cursor(self) -> str | None:
        """What asks for the next page; None on the last."""


@dataclass(frozen=True, slots=True)
class Listing:
    """How much of a list is asked for, and in which form: what the options of `listing` came to."""

    form: str
    limit: int
    cursor: str | None
    whole: bool

    def show(
        self,
        ask: Callable[[int, str | None, datetime | None], Page],
        model: type[BaseModel],
        *,
        table: Callable[[Any], None],
        known_at: datetime | None,
    ) -> None:
        """Print one page, or page after page. `ask` takes limit, cursor and `known_at`; `table` prints a page."""
        if self.form not in tuple(Form):
            page = ask(self.limit, self.cursor, known_at)
            if self.form == "table":
                table(page)
                say_next(page.cursor)
            else:
                dump(model.model_validate(page), self.form)
            return
        rows = Rows(model, Form(self.form))
        known_at = known_at or datetime.now(UTC)
        page = ask(MAX_LIMIT if self.whole else self.limit, self.cursor, known_at)
        _write(rows.head())
        _write(rows.items(getattr(model.model_validate(page), "items")))  # noqa: B009 - any page's
        while self.whole and page.cursor is not None:
            try:
                page = ask(MAX_LIMIT, page.cursor, known_at)
            except AssayError as exc:
                _write(rows.problem(told(exc)))
                raise
            _write(rows.items(getattr(model.model_validate(page), "items")))  # noqa: B009
        say_next(page.cursor)


def listing(what: str, *forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--limit`, `--cursor`, `--all` and `-o` (with further `forms`); the command gets a `Listing`, `listing`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, form: str, limit: int, cursor: str | None, whole: bool, **kwargs: Any) -> Any:
            if whole and form not in tuple(Form):
                raise InputError("ListTooLong", "a whole list (--all) is printed as csv or jsonl: add -o csv")
            return function(*args, listing=Listing(form, limit, cursor, whole), **kwargs)

        command: Callable[..., Any] = wrapper
        for option in (
            click.option(
                "-o", "--output", "form", type=click.Choice(["table", "json", "yaml", "csv", "jsonl", *forms]),
                default="table", show_default=True, help="A table for people; any other for programs.",
            ),
            click.option("--all", "whole", is_flag=True, help="The whole list, however long: with -o csv or jsonl."),
            click.option("--cursor", help="The next page, as the last one named it."),
            click.option("--limit", default=50, show_default=True, help=f"{what} on one page."),
        ):  # fmt: skip
            command = option(command)
        return command

    return decorate


def _write(content: bytes) -> None:
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def days(text: str) -> timedelta:
    """An age in days or weeks (`30d`, `12w`). Raises `InputError` (`AgeMalformed`)."""
    number, unit = text[:-1], text[-1:].lower()
    if unit not in _DAYS or not number.isascii() or not number.isdigit() or len(number) > MAX_DIGITS:
        raise InputError("AgeMalformed", f"{text!r} is no age: say days or weeks, as in 30d or 12w")
    return timedelta(days=int(number) * _DAYS[unit])


def dump(answer: BaseModel, form: str) -> None:
    """Print an answer for programs."""
    render.dump({"schema": SCHEMA, **answer.model_dump(mode="json", by_alias=True)}, form)


def say_next(cursor: str | None) -> None:
    """Tell people how to ask for the next page, if there is one."""
    if cursor:
        click.echo(f"more: --cursor {cursor}", err=True)
