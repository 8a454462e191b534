"""Whole lists over HTTP: all of it, of one state, to who may, and never an end that is none."""

from __future__ import annotations

import asyncio
import csv
import http.client
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import uvicorn
from fastapi import FastAPI

from controller.errors import Unavailable
from controller.inventory.store import Store
from controller.model.workload import User
from controller.reading import whole
from controller.reading.app import create_app
from tests.support.asgi import Answer, call
from tests.support.inventory import DIGEST, START, Clock, excepted, leaf, sighting, soon, sqlite_database

COUNT = 7
EXCEPTION_USES = (1, 3, 4)


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def values() -> list[dict[str, Any]]:
    made = [leaf(number) for number in range(COUNT)]
    for number in EXCEPTION_USES:
        made[number]["evaluations"] = [excepted(name=f"hotfix-{number}")]
    return made


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, clock: Clock, values: list[dict[str, Any]]) -> Iterator[Store]:
    with sqlite_database(tmp_path_factory.mktemp("inventory")).open(clock) as opened:
        runs = [sighting("Started", number, uid=f"pod-{number}") for number in range(COUNT)]
        record(opened, *values, *runs)
        yield opened


@pytest.fixture(autouse=True)
def short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "MAX_LIMIT", 2)


@pytest.fixture
def app(store: Store) -> FastAPI:
    return create_app(store.questions)


def record(store: Store, *values: dict[str, Any]) -> None:
    async def fill() -> None:
        for value in values:
            await store.writer.record(value, blobs={}, deadline=soon())

    asyncio.run(fill())


def ask(app: Any, path: str, headers: dict[str, str] | None = None, **query: Any) -> Answer:
    sent = {"host": "127.0.0.1", **(headers or {})}
    return asyncio.run(call(app, "GET", path, query=urlencode(query), headers=sent))


def lines(answer: Answer) -> list[Any]:
    assert answer.status == 200
    return [json.loads(line) for line in answer.body.splitlines()]


def rows(answer: Answer) -> list[dict[str, str]]:
    assert answer.status == 200
    return list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))


@pytest.mark.parametrize(
    ("headers", "query", "media"),
    [
        ({}, {"format": "csv"}, "text/csv; charset=utf-8; header=present"),
        ({}, {"format": "jsonl"}, "application/jsonl"),
        ({}, {"format": "ndjson"}, "application/x-ndjson"),
        ({"accept": "text/csv"}, {}, "text/csv; charset=utf-8; header=present"),
        ({"accept": "application/jsonl"}, {}, "application/jsonl"),
        ({"accept": "application/x-ndjson, application/json;q=0.5"}, {}, "application/x-ndjson"),
        ({"accept": "text/csv;q=0.1, application/json"}, {}, "application/json"),
        ({"accept": "text/csv"}, {"format": "json"}, "application/json"),
        ({"accept": "text/html, */*;q=0.8"}, {}, "application/json"),
        ({}, {}, "application/json"),
    ],
)
def test_the_form_is_asked_for_by_name_or_by_accept(
    app: FastAPI, headers: dict[str, str], query: dict[str, str], media: str
) -> None:
    answer = ask(app, "/api/v1/decisions", headers, **query)
    assert (answer.status, answer.headers["content-type"]) == (200, media)
    assert "Accept" in answer.headers["vary"]


@pytest.mark.parametrize("path", ["/api/v1/decisions", "/api/v1/runs", "/api/v1/exceptions"])
def test_a_stream_is_the_whole_list_in_its_order_whatever_its_form(app: FastAPI, path: str) -> None:
    pages, cursor = [], None
    while True:
        page = ask(app, path, limit=1, **({"cursor": cursor} if cursor else {})).json
        pages += page["items"]
        cursor = page["cursor"]
        if cursor is None:
            break
    assert len(pages) == (len(EXCEPTION_USES) if path.endswith("exceptions") else COUNT)
    assert lines(ask(app, path, format="jsonl")) == lines(ask(app, path, format="ndjson")) == pages
    csv_rows = rows(ask(app, path, format="csv"))
    key = "name" if path.endswith("exceptions") else "startedAt" if path.endswith("runs") else "id"
    assert [row[key] for row in csv_rows] == [item[key] for item in pages]


def test_every_list_that_has_pages_is_to_be_had_whole(app: FastAPI) -> None:
    lists = 0
    for path, operations in app.openapi()["paths"].items():
        names = {parameter["name"] for parameter in operations["get"].get("parameters", ())}
        if "cursor" in names:
            lists += 1
            assert "format" in names, path
    assert lists > 5


def test_a_stream_keeps_the_filters(app: FastAPI, values: list[dict[str, Any]]) -> None:
    found = lines(ask(app, "/api/v1/decisions", format="jsonl", exception="hotfix-3"))
    assert [item["id"] for item in found] == [values[3]["id"]]
    before = (START + timedelta(seconds=4)).isoformat().replace("+00:00", "Z")
    assert [item["id"] for item in lines(ask(app, "/api/v1/decisions", format="jsonl", asOf=before))] == [
        value["id"] for value in reversed(values[:5])
    ]
    assert rows(ask(app, "/api/v1/decisions", format="csv", namespace="nowhere")) == []


def test_a_stream_is_of_the_state_in_which_it_began(tmp_path: Path) -> None:
    clock = Clock()
    with sqlite_database(tmp_path).open(clock) as store:
        first = [leaf(number) for number in range(5)]
        record(store, *first)
        app, late = create_app(store.questions), [leaf(number) for number in (-1, 1, 3, 99)]
        asked = store.queries.decisions
        pages: list[Any] = []

        def ask_and_record(*args: Any, **kwargs: Any) -> Any:
            page = asked(*args, **kwargs)
            clock.now = START + timedelta(days=36500)  # after the stream began, whatever the day
            record(store, late[len(pages)])
            pages.append(page)
            return page

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store.queries, "decisions", ask_and_record)
            found = lines(ask(app, "/api/v1/decisions", format="jsonl"))
        assert len(pages) == 3
        assert [item["id"] for item in found] == [value["id"] for value in reversed(first)]
        assert len(store.queries.decisions().items) == 5 + 3


@pytest.mark.parametrize("name", ["limit", "cursor"])
def test_a_whole_list_takes_no_part_of_itself(app: FastAPI, name: str) -> None:
    answer = ask(app, "/api/v1/decisions", format="csv", **{name: "3"})
    assert (answer.status, answer.json["code"]) == (400, "ParameterInvalid")


def test_a_question_that_makes_no_sense_is_a_problem_in_any_form(app: FastAPI) -> None:
    for query in ({"digest": "sha256:x"}, {"verdict": "maybe"}):
        answer = ask(app, "/api/v1/decisions", format="csv", **query)
        assert (answer.status, answer.headers["content-type"]) == (400, "application/problem+json")
    assert ask(app, "/api/v1/decisions", format="xlsx").json["code"] == "ParameterInvalid"


@contextmanager
def served(app: FastAPI) -> Iterator[int]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="critical", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        threading.Event().wait(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_a_stream_that_breaks_off_does_not_look_like_one_that_ended(
    app: FastAPI, store: Store, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    asked = store.queries.decisions
    times: list[None] = []

    def fail_at_the_third(*args: Any, **kwargs: Any) -> Any:
        times.append(None)
        if len(times) == 3:
            raise Unavailable("DatabaseBusy", "all connections to the database are in use")
        return asked(*args, **kwargs)

    monkeypatch.setattr(store.queries, "decisions", fail_at_the_third)
    with served(app) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", f"/api/v1/decisions?format={form}")
        response = connection.getresponse()
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as broken:
            response.read()
        connection.close()
    content = broken.value.partial
    if form == "jsonl":
        *items, last = [json.loads(line) for line in content.splitlines()]
        assert len(items) == 4
        assert last == {
            "problem": {
                "status": 503,
                "code": "DatabaseBusy",
                "detail": "all connections to the database are in use",
            }
        }
    else:
        assert len(list(csv.DictReader(io.StringIO(content.decode(), newline="")))) == 4


class Revocable:
    """Readers by a switch: everybody is somebody, and may until he may not."""

    def __init__(self, times: int) -> None:
        self.times = times

    async def identify(self, token: str) -> User | None:
        return User(username=token)

    async def may(self, *_: Any, **__: Any) -> bool:
        self.times -= 1
        return self.times >= 0


@pytest.mark.guarantee(20)
def test_guarantee_20_no_byte_of_a_list_leaves_before_it_is_known_that_it_may(store: Store) -> None:
    for who in ({}, {"authorization": "Bearer jane"}):
        answer = ask(create_app(store.questions, readers=Revocable(0)), "/api/v1/decisions", who, format="csv")
        assert (answer.status, answer.json["code"]) in {(401, "TokenRequired"), (403, "AccessDenied")}
        assert DIGEST.encode() not in answer.body


@pytest.mark.guarantee(20)
def test_guarantee_20_a_permission_that_is_taken_away_ends_a_stream(store: Store) -> None:
    app = create_app(store.questions, readers=Revocable(2))
    sent: list[bytes] = []

    async def read() -> None:
        async def receive() -> dict[str, Any]:
            await asyncio.sleep(60)
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/decisions",
            "query_string": b"format=jsonl",
            "headers": [(b"authorization", b"Bearer jane")],
        }
        with pytest.raises((Exception, BaseExceptionGroup)):
            await app(scope, receive, send)

    asyncio.run(read())
    *items, last = [json.loads(line) for line in b"".join(sent).splitlines()]
    assert len(items) == 4
    assert last["problem"]["code"] == "AccessDenied"
