"""Each of the fifteen questions, asked now, of a past day, as it was known then, and as a namespace may know it.

By the program's own questions, and through each of the doors that people have: REST and the commands.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controller.inventory.store import Store
from controller.settings import InventorySettings
from tests.support.asked_estate import Inventories
from tests.support.asked_questions import (
    NAMESPACES,
    NOW,
    PAST,
    QUESTIONS,
    Question,
    When,
    late_evidence,
    unknown_then,
    wanted,
)
from tests.support.doors import Door, by_call, by_command

pytestmark = pytest.mark.timeout(1200)  # the first test of each database waits until it is written
EXPORTS = 15


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


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"question-{question.number}")
def test_a_question_by_rest_has_the_answer_that_is_true(by_rest: Door, question: Question) -> None:
    _assert_true(by_rest, question, (None, NAMESPACES[0]))


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: f"question-{question.number}")
def test_a_question_by_command_has_the_answer_that_is_true(commands: Door, question: Question) -> None:
    # Whoever has the database has all of it: in an export evidence of others is kept from who asks by REST.
    _assert_true(commands, question, (None,) if question.number == EXPORTS else (None, NAMESPACES[0]))


def _assert_true(door: Door, question: Question, namespaces: tuple[str | None, ...]) -> None:
    late = unknown_then(question.number)
    for namespace in namespaces:
        for when in (NOW, PAST, When(late, late)):
            told = question.told(door, when, namespace)
            assert told == wanted(question.number, when, namespace), (when, namespace)


def test_every_question_of_the_design_is_asked() -> None:
    assert [question.number for question in QUESTIONS] == list(range(1, 16))
