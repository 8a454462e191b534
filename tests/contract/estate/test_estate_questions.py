"""Each of the fifteen questions, asked now, of a past day, as it was known then, and as a namespace may know it.

By the program's own questions, and through each of the doors that people have: REST and the commands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from controller.cli.inventory import inventory as inventory_commands
from controller.inventory.store import Store
from controller.settings import InventorySettings
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
from tests.support.fixtures import CHECKOUT

pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written

# What the page of the questions tells people to type (`tests/unit/test_questions_page.py` tries that it can be).
ROW = re.compile(r"^\| (\d+) \| .*? \| (?P<commands>.*) \| (?P<calls>.*) \|$", re.MULTILINE)
PAGE = (CHECKOUT / "docs" / "reference" / "questions.md").read_text()
COMMANDS, CALLS = (
    {
        int(row[1]): [text for text in re.findall("`(.*?)`", row[column]) if re.match(begin, text)]
        for row in ROW.finditer(PAGE)
    }
    for column, begin in (("commands", f"({'|'.join(inventory_commands.list_commands(None))})( |$)"), ("calls", "/"))
)
OTHERWISE = {
    *("prove", "/api/v1/proofs/{digest}", "/api/v1/bom", "/api/v1/affected/decisions"),
    *("policies", "/api/v1/policies"),
}
"""What is on the page, and asked in other tests (test_export.py, test_packages.py, test_estate_evidence.py,
test_resource_facts.py)."""


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
    assert {_template(call) for call in CALLS[number]} - OTHERWISE == {way.path for way in by_rest.used}


@pytest.mark.parametrize("number", range(1, 16))
def test_a_question_by_command_has_the_answer_that_is_true(commands: Door, number: int) -> None:
    _assert_true(commands, BY_COMMAND.get(number, QUESTIONS[number - 1]))
    assert {command.split()[0] for command in COMMANDS[number]} - OTHERWISE == {way.command for way in commands.used}


def _assert_true(door: Door, question: Question) -> None:
    door.used.clear()
    late = unknown_then(question.number)
    for when, namespace in ((NOW, None), (When(late, late), None), (PAST, NAMESPACES[0])):
        assert question.told(door, when, namespace) == true_of(question, when, namespace), (when, namespace)


def _template(call: str) -> str:
    return "/api/v1" + call.partition("?")[0].replace("sha256:…", "{digest}")


def test_every_question_of_the_design_is_asked() -> None:
    assert [question.number for question in QUESTIONS] == list(range(1, 16))
