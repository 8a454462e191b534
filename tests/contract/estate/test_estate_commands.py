"""A whole list by the command is the one that pages make up, and the one that is true."""

from __future__ import annotations

import csv
import io
import json
from functools import partial
from typing import Any

import pytest

from controller.cli import run
from controller.inventory.store import Store
from tests.bench.estate.facts import Component
from tests.bench.estate.size import BEGIN
from tests.support.asked_estate import DAY, PAGE, every, oracle

pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written

THEN = BEGIN + 220.5 * DAY


@pytest.mark.parametrize("namespace", [None, "team-01"])
def test_the_whole_list_of_components_is_the_one_of_all_pages_and_what_is_there(
    inventory: Store,
    url: str,
    namespace: str | None,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    monkeypatch.setenv("ASSAY_DATABASE_URL", url)
    where = {"cluster": "staging", **({"namespace": namespace} if namespace else {})}
    options = [part for name, value in where.items() for part in (f"--{name}", value)]

    def printed(form: str) -> str:
        command = ["components", "--as-of", f"{THEN:%Y-%m-%dT%H:%M:%S}", *options, "--all", "-o", form]
        assert run(["inventory", *command]) == 0
        out, err = capfdbinary.readouterr()
        assert b"more:" not in err
        return out.decode()

    ask = partial(inventory.questions.components.components, as_of=THEN, **where, limit=PAGE)
    paged = [(one.hash, one.images) for one in every(lambda cursor: ask(cursor=cursor))]
    lines = [json.loads(line) for line in printed("jsonl").splitlines()]
    assert [(line["hash"], line["images"]) for line in lines] == paged
    assert len(paged) > PAGE or namespace  # more than one page
    assert {of(line): line["images"] for line in lines} == dict(oracle().components(as_of=THEN, **where))
    rows = list(csv.DictReader(io.StringIO(printed("csv"), newline="")))
    assert [(row["hash"], int(row["images"])) for row in rows] == paged
    assert [row["version"] for row in rows] == [line["version"] or "" for line in lines]


def of(line: dict[str, Any]) -> Component:
    """The component of a line, as the oracle has it."""
    said = (line["name"], line["version"], line["purl"])
    return Component(*said, " ".join(line["licenses"]), line["supplier"], line["cpe"])
