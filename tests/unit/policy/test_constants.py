"""What an expression comes to as far as constants tell, and never a claim too much."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import AssayError
from controller.policy.cel import Environment, compile_expression
from controller.policy.cel import schema as cel
from controller.policy.cel.constants import Outcome, outcomes
from controller.policy.cel.meter import Meter
from controller.settings import PolicySettings

LIMITS = PolicySettings()
ENVIRONMENT = Environment(names={"x": cel.DYN, "y": cel.DYN, "b": cel.DYN})


def possible(text: str) -> str:
    found = outcomes(compile_expression(text, ENVIRONMENT, LIMITS), LIMITS)
    return "".join(letter for letter, outcome in zip("TFE", Outcome, strict=True) if outcome in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("true", "T"),
        ("false", "F"),
        ("b", "TFE"),
        ("1 / 0 == 1", "E"),
        ("1 > 2 && b", "F"),
        ("b && 1 > 2", "F"),
        ("b || 1 < 2", "T"),
        ("1 < 2 && b", "TFE"),
        ("1 / 0 == 1 || b", "TE"),
        ("1 / 0 == 1 && b", "FE"),
        ("!(1 > 2 && b)", "T"),
        ("b ? false : 1 == 2", "FE"),
        ("b ? true : false", "TFE"),
        ("true ? 1 == 1 : b", "T"),
        ("size(x) < 0", "FE"),
        ("x.size() <= -1", "FE"),
        ("size(x) == -1", "FE"),
        ("0 > size(x)", "FE"),
        ("size(x) >= 0", "TE"),
        ("0 <= size(x)", "TE"),
        ("size(x) > -1", "TE"),
        ("size(x) != -1", "TE"),
        ("size(x) > 0", "TFE"),
        ("size(x) <= 0", "TFE"),
        ("size(x) < 1", "TFE"),
        ("size(x) >= 1", "TFE"),
        ("size(x) == 0", "TFE"),
        ("size(x) != 0", "TFE"),
        ("1 > size(x)", "TFE"),
        ("x < 0", "TFE"),
        ("size(x) > x", "TFE"),
        ("[1, 2].exists(i, i == 2)", "T"),
        ("[1, 2].exists(i, i == x)", "TFE"),
        ("x.exists(x1, true)", "TFE"),
        ("[1].all(i, [2].all(j, j > i))", "T"),
        ("size(x) < 0 || size(y) < 0", "FE"),
        ("size(x) < 0 || b", "TFE"),
    ],
)
def test_what_constants_tell(text: str, expected: str) -> None:
    assert possible(text) == expected


@pytest.mark.guarantee(10)
def test_a_constant_that_costs_too_much_is_not_told() -> None:
    numbers = "[" + ", ".join(map(str, range(20))) + "]"
    assert possible(f"{numbers}.all(i, {numbers}.all(j, {numbers}.all(k, i + j + k < 0)))") == "F"
    assert possible(f"{numbers}.all(i, {numbers}.all(j, {numbers}.all(k, i + j + k >= 0)))") == "TFE"


_atoms = st.sampled_from(
    [
        "true",
        "false",
        "b",
        "x == y",
        "1 / 0 == 1",
        "size(x) < 0",
        "size(y) >= 0",
        "0 > size(x)",
        "[1].exists(i, i == 1)",
    ]
)
_expressions = st.recursive(
    _atoms,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["&&", "||"]), inner).map(" ".join).map("({})".format),
        inner.map("!({})".format),
        st.tuples(inner, inner, inner).map(lambda parts: "({} ? {} : {})".format(*parts)),
    ),
    max_leaves=8,
)


@given(_expressions, st.sampled_from([True, False, 3]), st.sampled_from([[], "xy", 7]), st.sampled_from([[], [1], 7]))
def test_an_evaluation_never_ends_in_a_way_that_was_ruled_out(text: str, b: Any, x: Any, y: Any) -> None:
    program = compile_expression(text, ENVIRONMENT, LIMITS)
    try:
        outcome = Outcome.TRUE if program.holds({"b": b, "x": x, "y": y}, Meter(LIMITS)) else Outcome.FALSE
    except AssayError:
        outcome = Outcome.FAILS
    assert outcome in outcomes(program, LIMITS)
