"""Times on the command line: a day, or a day and a time, in UTC unless a zone is given."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

# What people write, and what answers print: `datetime.fromisoformat` alone would take week dates and more.
_FORM = re.compile(
    r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?( ?UTC|Z|[+-]\d{2}:?\d{2})?)?", re.IGNORECASE
)


class Time(click.ParamType[datetime]):
    """A time in UTC; a day alone is its beginning. `past`: one in the future is remarked upon."""

    name = "time"

    def __init__(self, *, past: bool = False) -> None:
        """`past`: it is asked about what was."""
        self._past = past

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:  # noqa: ARG002 - click's
        """For the help."""
        return "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read what was written."""
        if isinstance(value, datetime):
            return value
        try:
            if not _FORM.fullmatch(value):
                raise ValueError(value)
            read = datetime.fromisoformat(re.sub(r" ?UTC$", "Z", value, flags=re.IGNORECASE))
            moment = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(
                f"{value!r} is no time: write a day (2026-03-01), or a day and a time, in UTC (2026-03-01T14:30:00Z) or"
                " with its zone (2026-03-01T14:30:00+02:00)",
                param,
                ctx,
            )
        if self._past and moment > datetime.now(UTC):
            name = param.opts[0] if param is not None else "the time"
            click.echo(f"{name} {value} is in the future: the answer is what is known now", err=True)
        return moment


TIMES = Time()
PAST = Time(past=True)
DAY = "in UTC; a day alone is its beginning"


def known_at(function: F) -> F:
    """Add `--known-at TIME`."""
    return click.option("--known-at", type=PAST, help="Only from what had been recorded by this time.")(function)


def as_of(function: F) -> F:
    """Add `--as-of TIME`."""
    return click.option("--as-of", type=PAST, help=f"What was true at this time ({DAY}); default: now.")(function)


def ran_as_of(function: F) -> F:
    """Add `--as-of TIME` to what lists things that run."""
    return click.option("--as-of", type=PAST, help=f"What ran at this time ({DAY}); default: now.")(function)
