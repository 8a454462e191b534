"""What an author sees of a rule: each part with its value, or why it has none."""

from __future__ import annotations

from controller.policy.cel import Environment, compile_expression
from controller.policy.cel import schema as cel
from controller.policy.cel.meter import Meter
from controller.policy.cel.trace import Part, parts
from controller.settings import PolicySettings

LIMITS = PolicySettings()
OBJECT = {"object": {"name": "web", "ports": [80, 443]}}


def traced(text: str, **limits: int) -> dict[str, Part]:
    program = compile_expression(text, Environment(names={"object": cel.DYN}), LIMITS)
    return {part.text: part for part in parts(program, OBJECT, Meter(PolicySettings(**limits)))}


def test_each_part_has_its_value_and_what_was_not_evaluated_is_left_out() -> None:
    found = traced("object.name == 'web' && (size(object.ports) > 5 || object.ports[0] == 80) || object.nothing")
    values = {text: part.value for text, part in found.items()}
    assert values["object.name"] == "web"
    assert values["object.name == 'web'"] is True
    assert values["size(object.ports)"] == 2
    assert values["size(object.ports) > 5"] is False
    assert values["object.ports[0]"] == 80
    assert "object.nothing" not in found
    assert "'web'" not in found


def test_a_part_without_a_value_says_why() -> None:
    found = traced("object.name == 'x' || object.nothing.more == 1")
    assert found["object.nothing"].error == "no such field 'nothing'"
    assert found["object.nothing"].place.column == 23
    assert found["object.name == 'x'"].value is False


def test_a_macro_has_one_value_and_its_inside_none() -> None:
    found = traced("object.ports.all(p, p > 100)")
    assert found["object.ports.all(p, p > 100)"].value is False
    assert "p > 100" not in found


def test_a_crossed_bound_is_told_at_the_part_that_crossed_it() -> None:
    found = traced("[1, 2, 3].all(a, a > 0) && object.name == 'web'", policy_cel_steps=10)
    assert "more than 10 steps" in found["[1, 2, 3].all(a, a > 0)"].error
