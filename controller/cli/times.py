"""Times as options: one form for all commands, and every form that Assay itself prints."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

_FORM = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:?\d\d)?)?", re.ASCII)


class Time(click.ParamType[datetime]):
    """A day (its first moment), or a time as RFC 3339 has it; in UTC, unless it says otherwise.

    Seconds may be left out, a space may stand for the `T`, as tables print times, and a zone may lack its colon, as
    `date +%z` prints it. `past`: the past is asked about,
    and whoever names a moment in the future is told that nothing is known of it.
    """

    name = "time"

    def __init__(self, *, past: bool = False) -> None:
        self._past = past

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment. What is none ends the command as wrong usage."""
        if isinstance(value, datetime):
            return value
        try:
            if not _FORM.fullmatch(value):
                raise ValueError(value)
            moment = datetime.fromisoformat(value.upper())
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            shown = "2026-03-01, 2026-03-01T14:30:00Z or 2026-03-01T14:30:00.5+02:00"
            self.fail(f"{value!r} is no time: write {shown}", param, ctx)
        if self._past and moment > datetime.now(UTC):
            name = param.opts[0] if param is not None else "the time"
            click.echo(f"{name} {value} is in the future: the answer is what is known now", err=True)
        return moment


TIME, PAST = Time(), Time(past=True)
