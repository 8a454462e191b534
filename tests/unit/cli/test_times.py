"""Times on the command line: every form that Assay prints, and no other."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import pytest
from click.testing import CliRunner

from controller.cli.times import PAST, TIME


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01 14:30", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        ("2026-03-01 14:30:05", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01T14:30:05", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01T14:30:05Z", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01t14:30:05z", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01T14:30:05.123456Z", datetime(2026, 3, 1, 14, 30, 5, 123456, tzinfo=UTC)),
        ("2026-03-01T14:30:05.5+02:00", datetime(2026, 3, 1, 12, 30, 5, 500000, tzinfo=UTC)),
        ("2026-03-01T00:30:00-07:00", datetime(2026, 3, 1, 7, 30, tzinfo=UTC)),
        ("2026-03-01T00:30:00-0700", datetime(2026, 3, 1, 7, 30, tzinfo=UTC)),
    ],
)
def test_a_time_is_taken_in_every_form_that_is_printed_and_is_utc_unless_it_says_otherwise(
    text: str, moment: datetime
) -> None:
    read = TIME.convert(text, None, None)
    assert read == moment
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "1 March 2026", "2026-3-1", "2026-02-30", "2026-W10", "20260301", "1772323200", "2026-03"),
        *("2026-03-01T25:00:00Z", "2026-03-01T14", "2026-03-01T14:30:05 Z", "2026-03-01T14:30:05Z\n"),
        *("0001-01-01T00:00:00+05:00", "\uff12026-03-01", "2026-03-01T14:30:05.1234567890Z"),
    ],
)
def test_what_is_no_time_is_refused_in_words_that_show_one(text: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        TIME.convert(text, None, None)
    assert repr(text) in refused.value.message
    assert "2026-03-01T14:30:00Z" in refused.value.message


def test_a_time_in_the_future_is_remarked_upon_where_the_past_is_asked_about() -> None:
    @click.command()
    @click.option("--as-of", type=PAST)
    @click.option("--until", type=TIME)
    def command(as_of: datetime | None, until: datetime | None) -> None:
        click.echo(f"{as_of or until:%Y}")

    said = CliRunner().invoke(command, ["--as-of", "2999-01-01"])
    assert (said.exit_code, said.stdout) == (0, "2999\n")
    assert "--as-of 2999-01-01 is in the future" in said.stderr
    for words in (["--as-of", "2020-01-01"], ["--until", "2999-01-01"]):
        assert CliRunner().invoke(command, words).stderr == ""
