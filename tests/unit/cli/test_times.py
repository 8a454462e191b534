"""Times on the command line: as people write them, and as answers print them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest
from click.testing import CliRunner

from controller.cli.inventory.times import PAST, TIMES


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("2026-03-01T14:30", datetime(2026, 3, 1, 14, 30, tzinfo=UTC)),
        ("2026-03-01 14:30:05", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01 14:30:05 UTC", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01T14:30:05Z", datetime(2026, 3, 1, 14, 30, 5, tzinfo=UTC)),
        ("2026-03-01T14:30:05.123456Z", datetime(2026, 3, 1, 14, 30, 5, 123456, tzinfo=UTC)),
        ("2026-03-01T14:30:05+02:00", datetime(2026, 3, 1, 12, 30, 5, tzinfo=UTC)),
        ("2026-03-01t14:30:05-0530", datetime(2026, 3, 1, 20, 0, 5, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_as_people_and_answers_write_it_and_is_in_utc(written: str, expected: datetime) -> None:
    assert (read := TIMES.convert(written, None, None)) == expected
    assert read.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "yesterday",
        "01.03.2026",
        "03/01/2026",
        "2026-13-01",
        "2026-02-30",
        "20260301",
        "2026-W10-1",
        "2026-03-01T25:00",
        "2026-03-01T14",
        "0001-01-01T00:00:00+14:00",
        "2026-03-01T14:30:05+99:00",
        "1700000000",
    ],
)
def test_what_is_no_time_is_told_how_to_write_one(written: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        TIMES.convert(written, None, None)
    assert repr(written) in refused.value.message
    assert "2026-03-01T14:30:00Z" in refused.value.message
    assert "%" not in refused.value.message


def test_a_time_in_the_future_is_remarked_upon_where_the_past_is_asked_about() -> None:
    @click.command()
    @click.option("--as-of", type=PAST)
    @click.option("--until", type=TIMES)
    def command(as_of: datetime | None, until: datetime | None) -> None:
        click.echo(f"{as_of or until:%Y}")

    said = CliRunner().invoke(command, ["--as-of", "2999-01-01"])
    assert (said.exit_code, said.stdout) == (0, "2999\n")
    assert "--as-of 2999-01-01 is in the future" in said.stderr
    for words in (["--as-of", "2020-01-01"], ["--until", "2999-01-01"]):
        assert CliRunner().invoke(command, words).stderr == ""
    assert "TIME" in CliRunner().invoke(command, ["--help"]).stdout
