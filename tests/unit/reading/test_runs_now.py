"""What runs, over HTTP: now unless another time is asked for, as with every other question."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi import FastAPI

from controller.cli import EXIT_USAGE, run
from controller.inventory.store import Store
from controller.reading.app import create_app
from tests.support.asgi import Answer, call
from tests.support.inventory import START, Clock, sighting, soon, sqlite_database


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FastAPI]:
    async def fill(opened: Store) -> None:
        for value in (
            sighting("Started", 10, uid="gone", id="gone"),
            sighting("Started", 20, uid="here", id="here"),
            sighting("Ended", 30, uid="gone", id="gone"),
        ):
            await opened.writer.record(value, blobs={}, deadline=soon())

    with sqlite_database(tmp_path_factory.mktemp("inventory")).open(Clock()) as opened:
        asyncio.run(fill(opened))
        yield create_app(opened.questions)


def ask(app: Any, path: str, query: str = "") -> Answer:
    return asyncio.run(call(app, "GET", path, query=query, headers={"host": "127.0.0.1"}))


def ran(app: Any, query: str = "") -> list[str]:
    return [item["run"] for item in ask(app, "/api/v1/runs", query).json["items"]]


def test_runs_are_those_of_now_unless_a_time_or_all_are_asked_for(app: FastAPI) -> None:
    then = f"{START + timedelta(seconds=25):%Y-%m-%dT%H:%M:%SZ}"
    assert ran(app) == ["here"]
    assert ran(app, f"asOf={then}") == ["here", "gone"]
    assert ran(app, "ever=true") == ["here", "gone"]
    assert len(ask(app, "/api/v1/runs", "format=jsonl").body.splitlines()) == 1
    both = ask(app, "/api/v1/runs", f"ever=true&asOf={then}")
    assert (both.status, both.json["code"]) == (400, "ParameterInvalid")
    assert run(["inventory", "running", "--ever", "--as-of", then]) == EXIT_USAGE


@pytest.mark.parametrize("written", ["2026-03-01T00:00:00", "2026-03-01", "yesterday", "2026-03-01T00:00:00+02:00"])
def test_what_is_no_time_is_told_how_to_write_one(app: FastAPI, written: str) -> None:
    answer = ask(app, "/api/v1/runs", f"asOf={written}")  # a + that was not encoded is a space
    assert (answer.status, answer.json["code"]) == (400, "ParameterInvalid")
    assert answer.json["detail"].startswith(
        "parameter 'asOf': expected a time with its zone, such as 2026-03-01T00:00:00Z"
    )


@pytest.mark.parametrize("path", ["/api/v1/decisions", "/api/v1/reads"])
def test_a_time_that_ends_before_it_begins_is_refused(app: FastAPI, path: str) -> None:
    answer = ask(app, path, "since=2026-05-01T00:00:00Z&until=2026-04-01T00:00:00Z")
    assert (answer.status, answer.json["code"]) == (400, "PeriodEmpty")
    assert ask(app, path, "since=2026-04-01T00:00:00Z&until=2026-05-01T00:00:00Z").status == 200


def test_a_parameter_that_is_a_list_is_called_by_its_name(app: FastAPI) -> None:
    answer = ask(app, "/api/v1/sboms", "state=Stale&state=fine")
    assert answer.json["detail"].startswith("parameter 'state': Input should be 'NotLookedFor'")
