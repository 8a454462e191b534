"""Hostile policies: each costs at most its budget, ends with an Error that names the bound, and harms nobody else."""

from __future__ import annotations

import contextlib
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from controller.errors import LimitExceeded, PolicyError, Unacceptable
from controller.policy.cel import Environment, compile_expression
from controller.policy.cel import schema as cel
from controller.policy.cel.meter import Meter
from controller.settings import PolicySettings

ENVIRONMENT = Environment(names={"object": cel.DYN})
TWENTY = "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]"


def holds(text: str, value: Any = None, **limits: Any) -> bool:
    settings = PolicySettings(**limits)
    return compile_expression(text, ENVIRONMENT, settings).holds({"object": value}, Meter(settings))


def nested_all(depth: int) -> str:
    text = "true"
    for i in range(depth):
        text = f"{TWENTY}.all(v{i}, {text})"
    return text


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "wrap",
    ["{}", "{} || true", "false || {}", "!({} && false)", "[0].exists(x, {} || true)", "has({{'a': {}}}.a) || true"],
)
def test_a_crossed_step_budget_is_an_error_wherever_it_stands(wrap: str) -> None:
    with pytest.raises(LimitExceeded) as raised:
        holds(wrap.format(nested_all(5)), policy_cel_timeout=60)
    assert raised.value.setting == "policy_cel_steps"


@pytest.mark.guarantee(10)
def test_a_crossed_deadline_is_an_error_that_nothing_swallows() -> None:
    with pytest.raises(LimitExceeded) as raised:
        holds(f"{nested_all(5)} || true", policy_cel_steps=10**12, policy_cel_timeout=0.05)
    assert raised.value.setting == "policy_cel_timeout"


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    ("text", "bound"),
    [
        ("size(object.text + object.text + object.text) > 0 || true", "policy_cel_max_value_bytes"),
        (f"size({TWENTY}.map(a, {TWENTY}.map(b, {TWENTY}.map(c, object.half + 'x')))) > 0 || true", "policy_cel_steps"),
        (f"{TWENTY}.all(a, {TWENTY}.all(b, object.text.contains('y') || true))", "policy_cel_steps"),
        (f"{TWENTY}.all(a, {TWENTY}.all(b, object.text == object.twin))", "policy_cel_steps"),
        (f"{TWENTY}.all(a, {TWENTY}.all(b, object.list == object.list2))", "policy_cel_steps"),
        (f"{TWENTY}.all(a, {TWENTY}.all(b, !(0 in object.list)))", "policy_cel_steps"),
        (f"{TWENTY}.all(a, object.text.matches('(x+x+)+y') || true)", "policy_cel_steps"),
        ("size((object.list + object.list).map(x, [x])) > 0", "policy_cel_steps"),
    ],
)
def test_bytes_and_entries_cost_steps(text: str, bound: str) -> None:
    value = {
        "text": "x" * 500_000,
        "twin": "x" * 499_999 + "x",
        "half": "x" * 200_000,
        "list": [1] * 10_000,
        "list2": [1] * 10_000,
    }
    with pytest.raises(LimitExceeded) as raised:
        holds(text, value, policy_cel_timeout=60)
    assert raised.value.setting == bound


@pytest.mark.guarantee(10)
@pytest.mark.parametrize(
    "text",
    [
        "(" * 40 + "true" + ")" * 40,
        "[" * 40 + "]" * 40 + " == []",
        "{'a':" * 40 + "1" + "}" * 40 + " == {}",
        "!" * 9001 + "true",
        "-" * 9001 + "true",
        "object" + ".a" * 4000 + " == 1",
        "object" + "[0]" * 3000 + " == 1",
        "true && " * 1100 + "false && object.x",
        "1 + " * 1100 + "1 == 1",
        "true ? " * 700 + "true" + " : true" * 700,
        "(" * 9999,
        ")" * 9999,
        "'" + "(" * 9000,
        "x" * 20_000,
        "\x00",
        "'\ud800'",
        "'\\U99999999' == ''",
        "b'\\777' == b''",
    ],
)
def test_no_text_does_worse_than_be_refused_or_end_in_an_error(text: str) -> None:
    with contextlib.suppress(PolicyError, Unacceptable):
        assert holds(text) is False


def test_an_expression_at_every_bound_still_runs_on_a_deep_stack() -> None:
    settings = PolicySettings()
    chain = " && ".join(["true"] * 150)
    text = "[0].all(x, " * 11 + chain + ")" * 11
    assert holds(text) is True
    assert holds("object" + ".a" * 150 + " == 1", _nested_object(150)) is True
    assert settings.policy_cel_max_depth >= 22

    def deep(levels: int) -> bool:
        return deep(levels - 1) if levels else holds(text)

    assert deep(200) is True
    assert sys.getrecursionlimit() > 1000


def _nested_object(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def test_values_nested_past_the_stack_are_an_error_when_compared() -> None:
    with pytest.raises(LimitExceeded) as raised:
        holds("object.x == object.y || true", {"x": _nested_object(5000), "y": _nested_object(5000)})
    assert raised.value.setting == "policy_cel_max_depth"


@pytest.mark.guarantee(7)
def test_threads_never_mix_up_their_evaluations() -> None:
    settings = PolicySettings()
    programs = [
        compile_expression(f"object.id == {i} && [1,2,3].all(x, object.id == {i})", ENVIRONMENT, settings)
        for i in range(8)
    ]

    def judge(number: int) -> bool:
        program = programs[number % 8]
        wrong = {"object": {"id": (number + 1) % 8}}
        right = {"object": {"id": number % 8}}
        return program.holds(right, Meter(settings)) and not program.holds(wrong, Meter(settings))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(judge, range(800)))


@pytest.mark.guarantee(12)
def test_no_value_reaches_a_log_at_any_level(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert holds("object.password != 'x'", {"password": "hunter2"})
        with pytest.raises(Unacceptable):
            holds("object.password.x", {"password": "hunter2"})
    assert "hunter2" not in caplog.text


@pytest.mark.guarantee(10)
def test_a_compiled_expression_is_checked_before_it_costs_anything() -> None:
    with pytest.raises(PolicyError) as raised:
        holds("object.x.matches('((a{100}){100}){100}')")
    assert raised.value.code == "PatternMalformed"
    with pytest.raises(Unacceptable):
        holds("'a'.matches(object) || true", "((a{100}){100}){100}")
