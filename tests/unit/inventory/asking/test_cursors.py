"""Cursors: read as they were written, those of earlier versions too, and nothing else."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest

from controller.errors import InputError
from controller.inventory.asking import cursors

MOMENT = datetime(2026, 5, 1, 12, 30, 0, 250_000, tzinfo=UTC)


def told(text: str) -> str:
    """A cursor by its text, independently of the code that writes them."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_place_is_read_as_it_was_written() -> None:
    values = (MOMENT, 'déjà \U0001f980, "quoted"', -5, "")
    assert cursors.read(cursors.write(*values), datetime, str, int, str) == values
    assert cursors.read_place(cursors.write_place(MOMENT, 2**63 - 1)) == (MOMENT, 2**63 - 1)
    assert cursors.read_pair(cursors.write_pair(7, "npm/a b"), int, str) == (7, "npm/a b")


def test_cursors_that_were_given_out_before_are_still_written_and_read_so() -> None:
    assert cursors.write_place(MOMENT, 12) == told("2026-05-01T12:30:00.250000Z 12")
    assert cursors.write_pair(7, "npm/é") == told("7 npm/é")
    assert cursors.write(MOMENT, "a", 3) == told('["2026-05-01T12:30:00.250000Z","a",3]')
    assert cursors.read(told('["é"]'), str) == cursors.read(told('["\\u00e9"]'), str) == ("é",)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '["a"',
        '["a",1]',
        '[1,"a",2]',
        "[1,true]",
        '["a","b"]',
        '[1,"\\u0000"]',
        '[1,"\\ud800"]',
        f'[{2**63},"a"]',
        "[" * 1500,
    ],
)
def test_values_of_another_kind_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="CursorMalformed"):
        cursors.read(told(text), int, str)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-05-01T12:30:00.250000Z",
        "2026-05-01 1",
        "2026-05-01T12:30:00.250000Z -1",
        f"2026-05-01T12:30:00.250000Z {2**63}",
        "2026-05-01T12:30:00.250000Z 1 2",
    ],
)
def test_a_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="CursorMalformed"):
        cursors.read_place(told(text))


@pytest.mark.parametrize("cursor", ["!", "é", "A", told("x" * 2048)])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InputError, match="CursorMalformed"):
        cursors.read_pair(cursor, int, str)
