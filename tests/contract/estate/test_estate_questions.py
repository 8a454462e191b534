"""Each of the fifteen questions, asked now, of a past day, as it was known then, and as a namespace may know it.

By the program's own questions, and through each of the doors that people have: REST and the commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

import click
import pytest

from controller.cli.inventory import inventory as inventory_commands
from controller.inventory.store import Store
from controller.settings import InventorySettings
from docs import questions_page
from docs.questions_page import Way
from tests.support.asked_estate import Inventories
from tests.support.asked_questions import (
    BY_COMMAND,
    BY_REST,
    NAMESPACES,
    NOW,
    PAST,
    QUESTIONS,
    Question,
    When,
    late_evidence,
    true_of,
    unknown_then,
    wanted,
)
from tests.support.doors import Door, by_call, by_command

pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written


@pytest.fixture(scope="module")
def by_rest(inventories: Inventories, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    """The REST interface, on PostgreSQL."""
    store = inventories["postgresql"]
    keys = tmp_path_factory.mktemp("keys")
    with by_call(store.questions, InventorySettings(ledger_directory=str(keys))) as door:
        yield door


@pytest.fixture(scope="module")
def commands(inventories: Inventories, tmp_path_factory: pytest.TempPathFactory) -> Door:
    """The commands, on SQLite."""
    assert inventories["sqlite"]
    keys = tmp_path_factory.mktemp("keys")
    return by_command(InventorySettings(database_url=inventories.urls["sqlite"], ledger_directory=str(keys)))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"question-{question.number}")
@pytest.mark.parametrize("namespace", [None, *NAMESPACES])
def test_each_question_has_the_answer_that_is_true(inventory: Store, question: Question, namespace: str | None) -> None:
    late = unknown_then(question.number)
    unrecorded = [When(moment, moment) for moment in late_evidence()]
    for when in (NOW, PAST, When(late), When(late, late), *unrecorded):
        told = question.told(inventory.questions, when, namespace)
        assert told == wanted(question.number, when, namespace), (when, namespace)


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"question-{question.number}")
def test_time_and_namespace_make_a_difference_to_each_answer(inventories: Inventories, question: Question) -> None:
    assert inventories["sqlite"]  # artefacts have names once they were written
    number = question.number
    assert wanted(number, NOW, None) != wanted(number, PAST, None)
    answers = [wanted(number, PAST, namespace) for namespace in (None, *NAMESPACES)]
    assert all(one != other for place, one in enumerate(answers) for other in answers[:place])


@pytest.mark.parametrize("number", range(1, 16))
def test_a_question_by_rest_has_the_answer_that_is_true(by_rest: Door, number: int) -> None:
    _assert_true(by_rest, BY_REST.get(number, QUESTIONS[number - 1]))
    assert {way.path for way in by_rest.used} == {_template(way) for way in _ways(number)}


@pytest.mark.parametrize("number", range(1, 16))
def test_a_question_by_command_has_the_answer_that_is_true(commands: Door, number: int) -> None:
    _assert_true(commands, BY_COMMAND.get(number, QUESTIONS[number - 1]))
    assert {way.command for way in commands.used} == {way.name for way in _ways(number)}


def _assert_true(door: Door, question: Question) -> None:
    door.used.clear()
    late = unknown_then(question.number)
    for namespace in (None, NAMESPACES[0]):
        for when in (NOW, PAST, When(late, late)):
            told = question.told(door, when, namespace)
            assert told == true_of(question, when, namespace), (when, namespace)


def _ways(number: int) -> list[Way]:
    """How the page of the questions says that this one is asked, but for what is tried elsewhere."""
    return [way for way in questions_page.QUESTIONS[number][1] if not way.tests]


def _template(way: Way) -> str:
    return way.path.replace("DIGEST", "{digest}")


def test_the_page_of_the_questions_shows_commands_and_calls_that_there_are(by_rest: Door) -> None:
    calls = {
        path: {one["name"] for one in methods["get"].get("parameters", ())} for path, methods in by_rest.described()
    }
    for way in (way for _, ways in questions_page.QUESTIONS.values() for way in ways):
        command = inventory_commands.get_command(click.Context(inventory_commands), way.name)
        assert command is not None, way
        options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        assert {word for word in way.command.split() if word.startswith("-")} <= options, way
        if way.call:
            (path,) = [one for one in calls if re.fullmatch(re.sub(r"\{.*?\}", "[A-Z]+", one), way.path)]
            assert {name for name, _ in parse_qsl(way.call.partition("?")[2])} <= calls[path], way


def test_every_question_of_the_design_is_asked() -> None:
    assert [question.number for question in QUESTIONS] == list(range(1, 16))
