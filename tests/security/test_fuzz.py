"""The fuzzer (`make fuzz`) in small: the same few inputs each time, what it once found, and that it would find more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.verification import statement, transparency
from controller.verification.bundle import Content
from controller.verification.transparency import Verifier
from tests.fuzz.run import FINDINGS, fuzz, replay
from tests.fuzz.targets import TARGETS, Target, target

# What a mutated certificate has for a serial number is no concern of ours: nothing reads it.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")

SEED = 20260101
INPUTS = 25  # of each target: about two seconds for all
by_target = pytest.mark.parametrize("aim", TARGETS, ids=lambda aim: aim.name)


@by_target
def test_no_reader_lets_anything_but_its_own_failures_out(aim: Target) -> None:
    count, failure = fuzz(SEED, [aim], more=lambda count: count < INPUTS)
    if failure is not None:
        raise failure.error
    assert count == INPUTS


@by_target
def test_what_tools_wrote_is_right_to_begin_with(aim: Target) -> None:
    inputs = list(aim.inputs())
    assert inputs
    for given in inputs[:: max(1, len(inputs) // 10)]:
        aim.check(given)


@pytest.mark.parametrize("file", sorted(FINDINGS.iterdir()), ids=lambda file: file.name)
def test_what_the_fuzzer_found_stays_mended(file: Path) -> None:
    failure = replay(file)
    if failure is not None:
        raise failure.error


def _found(name: str, most: int = 3000) -> bool:
    """Whether the fuzzer finds anything amiss with this target."""
    _, failure = fuzz(SEED, [target(name)], more=lambda count: count < most)
    return failure is not None


def test_the_fuzzer_finds_a_statement_that_is_believed_about_another_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "_check_subject", lambda *_: None)
    assert _found("statement")
    assert _found("bundle")


def test_the_fuzzer_finds_a_log_entry_that_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    def anything(_: Any, __: Content, ___: Verifier) -> bool:
        return True

    monkeypatch.setattr(transparency, "_BODIES", dict.fromkeys(transparency._BODIES, anything))
    assert _found("log-body")


def test_the_fuzzer_finds_a_signature_that_is_not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.verification.keyed.is_signed_by", lambda *_, **__: True)
    assert _found("bundle")
    assert _found("layer")


def test_the_fuzzer_finds_an_error_that_nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise KeyError

    monkeypatch.setattr(statement, "_malformed", fails)
    assert _found("statement")


def test_the_same_seed_makes_the_same_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statement, "_check_subject", lambda *_: None)
    first, second = (fuzz(SEED, [target("statement")], more=lambda _: True) for _ in range(2))
    assert first[0] == second[0]
    assert first[1] is not None
    assert second[1] is not None
    assert first[1].input == second[1].input


def test_an_input_is_kept_as_a_file_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(statement, "_check_subject", lambda *_: None)
        _, failure = fuzz(SEED, [target("statement")], more=lambda _: True)
        assert failure is not None
        file = failure.write(tmp_path)
        again = replay(file)
    assert again is not None
    assert again.input == failure.input
    assert replay(file) is None
