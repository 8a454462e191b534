"""Times as options: one form for all commands, and every form that Assay itself prints."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import click

_FORM = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)


class Time(click.ParamType[datetime]):
    """A day (its first moment), or a time as RFC 3339 has it; in UTC, unless it says otherwise.

    Seconds may be left out, and a space may stand for the `T`: so tables print times.
    """

    name = "time"

    def convert(self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment. What is none ends the command as wrong usage."""
        if isinstance(value, datetime):
            return value
        try:
            if not _FORM.fullmatch(value):
                raise ValueError(value)
            moment = datetime.fromisoformat(value.upper())
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            shown = "2026-03-01, 2026-03-01T14:30:00Z or 2026-03-01T14:30:00.5+02:00"
            self.fail(f"{value!r} is no time: write {shown}", param, ctx)


TIME = Time()
