"""The page of the fifteen questions: every command and call on it is one that there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import click
import pytest

from controller.cli.inventory import inventory
from controller.inventory.store import Store
from controller.reading.app import create_app
from tests.support.inventory import sqlite_database

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "questions.md").read_text()
ROWS = [row.strip("| ").split(" | ") for row in PAGE.splitlines() if re.match(r"\| \d", row)]
WHOLE = "sha256:" + "a1" * 32


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with sqlite_database(tmp_path_factory.mktemp("inventory")).open() as opened:
        assert isinstance(opened, Store)
        found: dict[str, Any] = create_app(opened.questions).openapi()["paths"]
    return found


def test_the_page_has_the_fifteen_questions() -> None:
    assert [row[0] for row in ROWS] == [str(number) for number in range(1, 16)]
    assert all(len(row) == 4 for row in ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"question-{row[0]}")
def test_each_command_on_the_page_is_one(row: list[str]) -> None:
    commands = [text for text in quoted(row[2]) if text.split()[0] in inventory.list_commands(click.Context(inventory))]
    assert commands
    for text in commands:
        name, *words = shlex.split(text.replace("sha256:…", WHOLE))
        command = inventory.get_command(click.Context(inventory), name)
        assert command is not None
        command.make_context(name, words)  # raises for what it does not take


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"question-{row[0]}")
def test_each_call_on_the_page_is_one(row: list[str], paths: dict[str, Any]) -> None:
    calls = [text for text in quoted(row[3]) if text.startswith("/")]
    assert calls
    for text in calls:
        asked = urlsplit(text)
        named = (f"/api/v1{asked.path.replace('sha256:…', name)}" for name in ("{name}", "{digest}"))
        path = next((path for path in named if path in paths), asked.path)
        known = {parameter["name"] for parameter in paths[path]["get"].get("parameters", ())}
        assert {name for name, _ in parse_qsl(asked.query)} <= known, text


def test_each_test_on_the_page_is_one_and_the_readme_leads_there() -> None:
    tests = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE)
    assert tests
    for file, name in tests:
        assert f"def {name or 'test_'}" in (ROOT / file).read_text()
    for page in ("README.md", "docs/README.md"):
        assert "reference/questions.md" in (ROOT / page).read_text(), page
