"""Lists on both databases: every item once, whatever arrives between two pages, and what was true at a time."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from controller.cli import run
from controller.cli.inventory import shared
from controller.errors import InputError
from controller.inventory.asking import cursors
from controller.inventory.store import Store
from tests.support.inventory import (
    DIGEST,
    START,
    Clock,
    Database,
    excepted,
    leaf,
    sighting,
    soon,
)


async def record(opened: Store, *leaves: dict[str, Any]) -> None:
    await asyncio.gather(*(opened.writer.record(item, blobs={}, deadline=soon()) for item in leaves))


def used(number: int, name: str) -> dict[str, Any]:
    return leaf(number, evaluations=[excepted(name=name)])


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


LISTS: dict[str, tuple[Callable[[int], dict[str, Any]], Callable[..., Any], Callable[[Any], Any]]] = {
    "decisions": (
        leaf,
        lambda store, **page: store.queries.decisions(**page),
        lambda item: item.decided_at,
    ),
    "runs": (
        lambda number: sighting("Started", number, uid=f"pod-{number}"),
        lambda store, **page: store.queries.runs(**page),
        lambda item: item.started_at,
    ),
    "exceptions": (
        lambda number: used(number, f"exception {number}"),
        lambda store, **page: store.queries.exceptions(**page),
        lambda item: item.last_used_at,
    ),
}


@pytest.mark.parametrize("name", LISTS)
async def test_what_was_there_is_visited_once_whatever_arrives_between_two_pages(
    opened: Store, clock: Clock, name: str
) -> None:
    make, ask, key = LISTS[name]
    await record(opened, *(make(number) for number in range(0, 20, 2)))
    seen: list[Any] = []
    cursor: str | None = None
    arrived: list[int] = []
    while True:
        page = ask(opened, limit=3, cursor=cursor)
        seen += page.items
        cursor = page.cursor
        if cursor is None:
            break
        arrived.append((19, 1, 17, 11, -1, 3, 21)[len(arrived)])
        await record(opened, make(arrived[-1]))
    assert len(arrived) >= 3
    places = [key(item) for item in seen]
    assert places == sorted(places, reverse=True)
    assert len(places) == len(set(places))
    assert {at(number) for number in range(0, 20, 2)} <= set(places)
    # At `known_at` it is one state: nothing of what arrived later is there.
    clock.now = at(3600)
    await record(opened, make(9))
    steady, cursor = [], None
    while True:
        page = ask(opened, limit=4, cursor=cursor, known_at=at(60))
        steady += [key(item) for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert steady == [at(number) for number in sorted([*range(0, 20, 2), *arrived], reverse=True)]


async def test_exceptions_last_used_at_one_moment_are_each_on_one_page(opened: Store) -> None:
    names = sorted(f"exception {number}" for number in range(7))
    await record(opened, *(used(0, name) for name in names))
    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = opened.queries.exceptions(limit=2, cursor=cursor)
        seen += [item.name for item in page.items]
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == names


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "forged",
        cursors.write(1, "a"),
        cursors.write(START, "a", "b", "c", 4),
        cursors.write(START, *"abc\0"),
        "A" * 4096,
    ],
)
async def test_a_cursor_of_exceptions_that_was_not_given_out_is_refused(opened: Store, cursor: str) -> None:
    with pytest.raises(InputError) as refused:
        opened.queries.exceptions(cursor=cursor)
    assert refused.value.code == "CursorMalformed"


async def test_every_question_of_decisions_can_be_asked_as_of_an_earlier_day(opened: Store, clock: Clock) -> None:
    early, late = used(0, "hotfix"), used(100, "hotfix")
    late["verdict"] = "Deny"
    clock.now = at(200)
    await record(opened, early, late)
    then = at(50)
    queries = opened.queries
    assert [item.id for item in queries.decisions(as_of=then).items] == [early["id"]]
    assert [item.id for item in queries.decisions(as_of=at(100)).items] == [late["id"], early["id"]]
    assert queries.decisions(as_of=at(-1)).items == ()
    assert queries.decision(late["id"], as_of=then) is None
    assert queries.decision(late["id"], as_of=at(100)) is not None
    seen = queries.image(DIGEST, as_of=then)
    assert seen is not None
    assert (seen.admitted, seen.denied, seen.last_decided_at) == (1, 0, START)
    assert [item.id for item in seen.decisions.items] == [early["id"]]
    assert queries.image(DIGEST, as_of=at(-1)) is None
    (exception,) = queries.exceptions(as_of=then).items
    assert (exception.uses, exception.last_used_at) == (1, START)
    assert queries.exceptions(as_of=at(-1)).items == ()
    # The two times are two: decided by then, but not known by then.
    assert queries.decisions(as_of=then, known_at=then).items == ()
    assert len(queries.decisions(as_of=then, known_at=at(200)).items) == 1


async def test_a_whole_list_is_printed_as_csv_or_jsonl(
    database: Database, opened: Store, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    values = [leaf(number) for number in range(7)]
    await record(opened, *values)
    monkeypatch.setattr(shared, "MAX_LIMIT", 2)
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)
    ids = [value["id"] for value in reversed(values)]

    def printed(*arguments: str, status: int = 0) -> tuple[str, str]:
        assert run(["inventory", "decisions", *arguments]) == status
        out, err = capfdbinary.readouterr()
        return out.decode(), err.decode()

    out, _ = printed("--all", "-o", "csv")
    assert [row["id"] for row in csv.DictReader(io.StringIO(out, newline=""))] == ids
    out, _ = printed("--all", "-o", "jsonl")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ids
    out, err = printed("-o", "jsonl", "--limit", "3")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ids[:3]
    assert "more: --cursor" in err
    out, _ = printed("-o", "jsonl", "--all", "--as-of", at(2).strftime("%Y-%m-%dT%H:%M:%S"))
    assert [json.loads(line)["id"] for line in out.splitlines()] == ids[-3:]
    _, err = printed("--all", status=2)
    assert "ListTooLong" in err or "csv or jsonl" in err
