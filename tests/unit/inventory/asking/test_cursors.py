"""Cursors: read as they were written, by the list that gave them out, and nothing else."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.errors import InputError
from controller.inventory.asking import cursors
from controller.inventory.asking.paging import Paging

MOMENT = datetime(2026, 5, 1, 12, 30, 0, 250_000, tzinfo=UTC)
LATER = datetime(2026, 5, 2, tzinfo=UTC)
AT = "2026-05-01T12:30:00.250000Z"


def told(text: str) -> str:
    """A cursor by its text, independently of the code that writes them."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def test_a_place_is_read_as_it_was_written() -> None:
    values = (MOMENT, 'déjà \U0001f980, "quoted"', -5, "", 2**63 - 1)
    cursor = cursors.write("names", values, (None, MOMENT))
    found = cursors.read(cursor, "names", datetime, str, int, str, int, times=2)
    assert (found.place, found.times) == (values, (None, MOMENT))


def test_what_a_cursor_says_is_written_out() -> None:
    assert cursors.write("runs", (MOMENT, 12), (None, MOMENT)) == told(f'["runs",[null,"{AT}"],["{AT}",12]]')
    assert cursors.write("packages", (7, "npm/é")) == told('["packages",[],[7,"npm/é"]]')


def test_the_longest_name_of_a_package_is_in_a_cursor_that_is_taken() -> None:
    key = "\x01" * 1500  # three parts of `index.contents.MAX_NAME` bytes, each of which takes six
    cursor = cursors.write("components", (7, key), (MOMENT, MOMENT, MOMENT))
    assert cursors.read(cursor, "components", int, str, times=3).place == (7, key)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        '"abc"',
        '{"a":1,"b":2,"c":3}',
        '["list",[],[1,"a"]',
        '["list",[]]',
        '["list",[],[1,"a"],[]]',
        '["list",[],["a",1]]',
        '["list",[],[1,"a",2]]',
        '["list",[],[1]]',
        '["list",[],{"1":"a"}]',
        '["list",[],"1a"]',
        '["list",[],[1,true]]',
        '["list",[],[1.0,"a"]]',
        '["list",[],[1,"\\u0000"]]',
        '["list",[],[1,"\\ud800"]]',
        f'["list",[],[{2**63},"a"]]',
        '["list",null,[1,"a"]]',
        f'["list",["{AT}"],[1,"a"]]',
        '["list",["yesterday"],[1,"a"]]',
        '["list",[7],[1,"a"]]',
        '[7,[],[1,"a"]]',
        "[" * 1500,
        f'["list",[],[1,"{"x" * cursors.MAX_CURSOR}"]]',
    ],
)
def test_what_was_not_given_out_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="CursorMalformed"):
        cursors.read(told(text), "list", int, str)


@pytest.mark.parametrize("cursor", ["!", "é", "A"])
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(InputError, match="CursorMalformed"):
        cursors.read(cursor, "list", int, str)


@pytest.mark.parametrize("place", [(MOMENT, 12), (7, "a")])
def test_a_cursor_of_another_list_is_refused_whether_its_places_are_alike_or_not(place: tuple[Any, ...]) -> None:
    with pytest.raises(InputError, match=r"CursorOfAnotherList: .* that of list"):
        cursors.read(cursors.write("lists", place), "list", int, str)


def paging(times: tuple[datetime | None, ...], **asked: Any) -> Paging:
    return Paging.of("list", cursors.write("list", (7,), times), int, **{"as_of": None, "known_at": None, **asked})


def test_a_page_has_the_times_of_the_first() -> None:
    found = paging((MOMENT, None, LATER), now=True)
    assert (found.place, found.at, found.known_at, found.read_by) == ((7,), MOMENT, LATER, LATER)
    found = paging((None, MOMENT, LATER))
    assert (found.as_of, found.known_at) == (None, MOMENT)
    # Nothing is known of what will be recorded: it is not there on the pages after the first.
    assert paging((None, LATER, MOMENT)).known_at == MOMENT


@pytest.mark.parametrize(
    ("times", "asked"),
    [
        ((MOMENT, None, LATER), {"as_of": MOMENT}),
        ((MOMENT, None, LATER), {"known_at": LATER}),
        ((None, MOMENT, LATER), {"known_at": MOMENT}),
        ((None, None, LATER), {"ever": True}),
    ],
)
def test_a_time_that_is_the_first_pages_may_be_given_again(
    times: tuple[datetime | None, ...], asked: dict[str, Any]
) -> None:
    assert paging(times, **asked).place == (7,)


@pytest.mark.parametrize(
    ("times", "asked"),
    [
        ((MOMENT, None, LATER), {"as_of": LATER}),
        ((None, None, LATER), {"as_of": LATER}),
        ((None, None, LATER), {"known_at": MOMENT}),
        ((None, MOMENT, LATER), {"known_at": LATER}),
        ((MOMENT, None, LATER), {"ever": True}),
    ],
)
def test_a_time_that_is_another_than_the_first_pages_is_refused(
    times: tuple[datetime | None, ...], asked: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match="CursorOfAnotherTime: the cursor is of a list"):
        paging(times, **asked)


def test_a_cursor_without_the_moment_of_its_first_page_is_refused() -> None:
    with pytest.raises(InputError, match="CursorMalformed"):
        paging((MOMENT, MOMENT, None))
