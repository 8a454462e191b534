"""Lists on both databases: every item once, whatever arrives between two pages, and what was true at a time."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from controller.cli import run
from controller.cli.inventory import shared
from controller.errors import InputError
from controller.inventory.asking import cursors
from controller.inventory.store import Store
from controller.reading.app import create_app
from tests.support.asgi import Answer, call
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


async def test_an_exception_used_again_between_two_pages_is_not_passed_over(opened: Store, clock: Clock) -> None:
    await record(opened, *(used(number, f"e{number}") for number in range(6)))
    page = opened.queries.exceptions(limit=2)
    seen = [item.name for item in page.items]
    clock.now = datetime.now(UTC)  # it is recorded after the first page was asked for
    await record(opened, used(10, "e0"))
    while page.cursor is not None:
        page = opened.queries.exceptions(limit=2, cursor=page.cursor)
        seen += [item.name for item in page.items]
    assert seen == ["e5", "e4", "e3", "e2", "e1", "e0"]
    assert page.items[-1].uses == 1
    assert opened.queries.exceptions().items[0].uses == 2


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "forged",
        cursors.write("exceptions", (1, "a"), (None, None, START)),
        cursors.write("exceptions", (START, "a", "b", "c", 4), (None, None, START)),
        cursors.write("exceptions", (START, *"abc\0"), (None, None, START)),
        cursors.write("exceptions", (START, *"abcd")),
        "A" * (cursors.MAX_CURSOR + 1),
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


async def test_commands_go_on_with_a_list_as_it_began_and_with_no_other(
    database: Database, opened: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    await record(opened, *(used(number, f"e{number}") for number in range(4)))
    monkeypatch.setenv("ASSAY_DATABASE_URL", database.settings.database_url)

    def printed(*arguments: str, status: int = 0) -> tuple[str, str]:
        assert run(["inventory", *arguments]) == status
        return capfd.readouterr()

    for form in (("-o", "jsonl"), ("-o", "csv"), ()):
        out, err = printed("exceptions", "--limit", "2", *form)
        cursor = err.rpartition(" ")[2].strip()
        more, err = printed("exceptions", "--cursor", cursor, *form)
        told = [name for name in ("e3", "e2", "e1", "e0") if name in out], [n for n in ("e1", "e0") if n in more]
        assert (told, "--cursor" in err) == ((["e3", "e2"], ["e1", "e0"]), False)
    _, err = printed("exceptions", "--cursor", cursor, "--known-at", "2026-11-22", status=2)
    assert "CursorOfAnotherTime" in err
    _, err = printed("running", "--cursor", cursor, status=2)
    assert "CursorOfAnotherList" in err


async def test_calls_go_on_with_a_list_as_it_began_and_with_no_other(opened: Store) -> None:
    await record(opened, *(used(number, f"e{number}") for number in range(4)))
    app = create_app(opened.questions)

    async def asked(path: str, **query: str) -> tuple[int, Any]:
        answer = await call(app, "GET", f"/api/v1/{path}", query=urlencode(query), headers={"host": "127.0.0.1"})
        return answer.status, answer.json

    _, first = await asked("exceptions", limit="2")
    status, page = await asked("exceptions", cursor=first["cursor"])
    assert (status, [item["name"] for item in page["items"]]) == (200, ["e1", "e0"])
    for path, query, code in (
        ("exceptions", {"knownAt": "2026-11-22T00:00:00Z"}, "CursorOfAnotherTime"),
        ("exceptions", {"asOf": "2026-11-22T00:00:00Z"}, "CursorOfAnotherTime"),
        ("decisions", {}, "CursorOfAnotherList"),
    ):
        status, refusal = await asked(path, cursor=first["cursor"], **query)
        assert (status, refusal["code"]) == (400, code)
    # A time that was given for the first page may be given again.
    _, first = await asked("exceptions", limit="2", knownAt="2026-11-23T00:00:00Z")
    status, page = await asked("exceptions", cursor=first["cursor"], knownAt="2026-11-23T00:00:00Z")
    assert (status, [item["name"] for item in page["items"]]) == (200, ["e1", "e0"])


async def test_a_page_whose_list_did_not_change_is_not_sent_again(opened: Store) -> None:
    await record(opened, *(used(number, f"e{number}") for number in range(4)))
    app = create_app(opened.questions)

    async def asked(**headers: str) -> Answer:
        return await call(app, "GET", "/api/v1/exceptions", query="limit=2", headers={"host": "127.0.0.1", **headers})

    first, second = await asked(), await asked()
    # The cursor has the time of the question; that of the page that is kept goes on as well.
    assert (first.body != second.body, first.headers["etag"]) == (True, second.headers["etag"])
    assert (await asked(**{"if-none-match": first.headers["etag"]})).status == 304
    await record(opened, used(10, "e0"))
    assert (await asked(**{"if-none-match": first.headers["etag"]})).status == 200
