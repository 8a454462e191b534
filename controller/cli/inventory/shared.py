"""What the inventory's commands share: lists, their pages, and how an answer for programs begins."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, TypeVar

import click
from click.core import ParameterSource
from pydantic import BaseModel

from controller.cli import render
from controller.cli.times import PAST
from controller.errors import AssayError, InputError
from controller.inventory.asking.asker import MAX_LIMIT
from controller.inventory.asking.names import Named
from controller.inventory.store import Store
from controller.reading.telling import told
from controller.reading.wire.rows import Form, Rows

MAX_DIGITS = 5  # of an age: some thousand years
_DAYS = {"d": 1, "w": 7}
_OF_ANY = {"form", "limit", "cursor", "whole", "config", "database_url", "as_of", "known_at", "ever"}  # of any list
SCHEMA = "assay.dev/inventory/v1alpha1"
DAY = "in UTC; a day alone is its beginning"
F = TypeVar("F", bound=Callable[..., Any])


def known_at(function: F) -> F:
    """Add `--known-at TIME`."""
    return click.option("--known-at", type=PAST, help="Only from what had been recorded by this time.")(function)


def as_of(function: F) -> F:
    """Add `--as-of TIME`."""
    return click.option("--as-of", type=PAST, help=f"What was true at this time ({DAY}); default: now.")(function)


def ran_as_of(function: F) -> F:
    """Add `--as-of TIME` to what lists things that run."""
    return click.option("--as-of", type=PAST, help=f"What ran at this time ({DAY}); default: now.")(function)


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
    what: str

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
                if not page.items:
                    click.echo(self._nothing(page.cursor), err=True)
                say_next(page.cursor)
            else:
                dump(model.model_validate(page), self.form)
            return
        rows = Rows(model, Form(self.form))
        if self.cursor is None:  # which has the time at which its list began
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

    def _nothing(self, cursor: str | None) -> str:
        """What is said where a table would have no rows."""
        if cursor is not None:
            return f"no {self.what} among those that were looked at for this page: ask for the next"
        if self.cursor is not None:
            return f"no more {self.what}"
        return f"no {self.what} found" + (": names are compared whole, letter by letter" if _narrowed() else "")


def _narrowed() -> bool:
    """Whether the command was given something to look for, beside times and the form of the answer."""
    context = click.get_current_context()
    given = {name for name in context.params if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return bool(given - _OF_ANY)


def listing(what: str, *forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add `--limit`, `--cursor`, `--all` and `-o` (with further `forms`); the command gets a `Listing`, `listing`."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any, form: str, limit: int, cursor: str | None, whole: bool, **kwargs: Any) -> Any:
            if whole and form not in tuple(Form):
                raise InputError("ListTooLong", "a whole list (--all) is printed as csv or jsonl: add -o csv")
            return function(*args, listing=Listing(form, limit, cursor, whole, what.lower()), **kwargs)

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


def whole(store: Store, what: Named, text: str | None) -> str | None:
    """A digest or fingerprint as tables show it, cut short, becomes what it is the beginning of; None stays None."""
    return store.questions.names.whole(what, text) if text is not None else None


def shortened(reference: str) -> str:
    """An image's reference for a table: of a digest in it so much as commands take for it."""
    name, at, digest = reference.partition("@")
    return f"{name}@{digest[:19]}…" if at else name


def moment(at: datetime | None) -> str:
    """A time for a table, to the second; - where there is none."""
    return f"{at:%Y-%m-%d %H:%M:%S}" if at is not None else "-"


def dump(answer: BaseModel, form: str) -> None:
    """Print an answer for programs."""
    render.dump({"schema": SCHEMA, **answer.model_dump(mode="json", by_alias=True)}, form)


def say_next(cursor: str | None) -> None:
    """Tell people how to ask for the next page, if there is one."""
    if cursor:
        click.echo(f"more: --cursor {cursor}", err=True)
