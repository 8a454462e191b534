"""What people see of lists: never a heading over nothing, and the words of answers are those of questions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.cli import EXIT_ERROR, EXIT_USAGE, run
from controller.inventory.asking.documents.sboms import SbomState
from tests.support.inventory import Clock, excepted, leaf, sighting, soon, sqlite_database

Say = Callable[..., tuple[str, str]]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inventory")

    async def fill() -> None:
        with sqlite_database(folder).open(Clock()) as opened:
            one, other = excepted(), excepted(expires="2026-11-25T09:00:00.000000Z")
            other["exceptions"][0]["hash"] = "sha256:" + "cd" * 32
            for value in (
                leaf(1, evaluations=[one]),
                leaf(2, evaluations=[other]),
                sighting("Started", 3) | {"cluster": "prod"},
            ):
                await opened.writer.record(value, blobs={}, deadline=soon())

    asyncio.run(fill())
    return folder


@pytest.fixture
def say(directory: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    monkeypatch.setenv("ASSAY_DATABASE_URL", sqlite_database(directory).settings.database_url)

    def say(*words: str, status: int = 0) -> tuple[str, str]:
        assert run(["inventory", *words]) == status
        out, err = capfd.readouterr()
        return out, err

    return say


@pytest.mark.parametrize(
    "words",
    [
        ("decisions", "-n", "shpo"),
        ("running", "--cluster", "nowhere"),
        ("refused", "--policy", "nobodys"),
        ("exceptions", "hotfix-7"),
        ("reads", "--user", "nobody"),
        ("assets", "-n", "shpo"),
        ("packages", "pkg:deb/debian/opensl"),
    ],
)
def test_where_nothing_is_found_that_is_said_and_no_heading_stands_over_nothing(
    say: Say, words: tuple[str, ...]
) -> None:
    out, err = say(*words)
    assert out == ""
    assert "found: names are compared whole" in err


def test_where_nothing_was_named_no_name_is_to_blame(say: Say) -> None:
    assert say("refused", "--as-of", "2026-11-20", "--limit", "5")[1] == "no runs found\n"
    assert say("reads")[1] == "no reads found\n"


@pytest.mark.parametrize(
    "words", [("sboms", "-n", "shpo"), ("findings", "--id", "CVE-1"), ("components", "-n", "shpo")]
)
def test_what_is_counted_is_told_before_nothing_is_found(say: Say, words: tuple[str, ...]) -> None:
    out, err = say(*words)
    assert "STATE" not in out
    assert "found: names are compared whole" in err


def test_versions_of_an_exception_and_clusters_are_told_apart(say: Say) -> None:
    rows = say("exceptions")[0].splitlines()[1:]
    assert [row.split()[1:3] for row in rows] == [["local", "sha256:cdcdcdcdcdcd"], ["local", "sha256:abababababab"]]
    heading, row = say("running")[0].splitlines()
    assert row[heading.index("CLUSTER") :].startswith("prod ")


def test_a_search_for_a_package_says_what_it_cannot_have_found(say: Say) -> None:
    assert "assay inventory sboms" in say("packages", "pkg:deb/debian/openssl")[1]
    assert say("packages", "pkg:deb/debian/openssl", "-o", "csv")[1] == ""


@pytest.mark.parametrize(
    ("written", "said"),
    [("openssl", "'openssl' is no package URL"), ("pkg:deb/debian/a@1", "'pkg:deb/debian/a@1' must be")],
)
def test_a_package_that_is_none_is_quoted_to_who_wrote_it(say: Say, written: str, said: str) -> None:
    assert said in say("packages", written, status=EXIT_ERROR)[1]


def test_the_states_of_sboms_are_asked_for_by_the_words_that_answers_use(say: Say) -> None:
    for state in SbomState:
        say("sboms", "--state", state.value)
        say("sboms", "--state", state.value.lower())
    assert "NotLookedFor" in say("sboms", "--help")[0]
    assert "NOT_LOOKED_FOR" not in say("sboms", "--help")[0]


def test_a_time_that_ends_before_it_begins_is_refused(say: Say) -> None:
    _, err = say("decisions", "--since", "2026-05-01", "--until", "2026-04-01", status=EXIT_ERROR)
    assert "PeriodEmpty" in err


def test_a_command_misspelt_is_told_the_one_that_may_have_been_meant(say: Say) -> None:
    assert "Did you mean 'running'?" in say("runing", status=EXIT_USAGE)[1]
    assert "Did you mean" not in say("xyz", status=EXIT_USAGE)[1]
