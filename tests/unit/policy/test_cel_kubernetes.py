"""CEL as Kubernetes has it: each recorded expression gives the same value and type here, or an error here too.

`tests/fixtures/cel.py` records what a Kubernetes 1.34 API server's own environment answers. Where we differ, we differ
on purpose: `DIFFERENT` says why, and an entry there that agrees fails.
"""

from __future__ import annotations

import base64
import json
import math
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from controller.errors import PolicyError, Unacceptable
from controller.policy.cel import Environment, compile_expression
from controller.policy.cel import schema as cel
from controller.policy.cel.meter import Meter
from controller.policy.cel.values import is_of, kind_of, to_cel, type_name
from controller.settings import PolicySettings
from tests.support.fixtures import RECORDED

LIMITS = PolicySettings(policy_cel_timeout=60)
AREAS = {file.stem: json.loads(file.read_text()) for file in sorted((RECORDED / "cel").glob("*.json"))}
DIFFERENT = tomllib.loads((Path(__file__).parents[2] / "fixtures" / "cel_cases" / "different.toml").read_text())
REASONS = {expression: reason["why"] for reason in DIFFERENT.values() for expression in reason["expressions"]}
RUN = {"error": "run"}


def encoded(value: Any) -> Any:
    """A value as `tests/tools/cel` encodes it: a pair of its type and its content."""
    kind = type_name(value)
    if is_of(kind_of(value), "list"):
        return [kind, [encoded(to_cel(entry)) for entry in value]]
    if is_of(kind_of(value), "map"):
        return [kind, _sorted([[encoded(key), encoded(to_cel(value[key]))] for key in value])]
    content = CONTENT.get(kind)
    return [kind, *content(value)] if content is not None else [kind]


CONTENT: dict[str, Callable[[Any], list[Any]]] = {
    "null_type": lambda value: [value],
    "bool": lambda value: [value],
    "string": lambda value: [value],
    "int": lambda value: [str(value)],
    "uint": lambda value: [str(int(value))],
    "double": lambda value: ["NaN" if math.isnan(value) else struct.pack(">d", value).hex().lstrip("0") or "0"],
    "bytes": lambda value: [base64.b64encode(value).decode()],
    "google.protobuf.Timestamp": lambda value: [str(value.ns // 10**9), value.ns % 10**9],
    "google.protobuf.Duration": lambda value: [str(value.ns)],
    "type": lambda value: [value.name],
    "optional_type": lambda value: [encoded(entry) for entry in value.values],
}


def _sorted(entries: list[Any]) -> list[Any]:
    return sorted(entries, key=lambda entry: json.dumps(entry[0]))


def _ordered(answer: Any) -> Any:
    """A recorded answer with the entries of its maps in our order."""
    if isinstance(answer, list) and answer[:1] == ["map"]:
        return ["map", _sorted([[_ordered(key), _ordered(value)] for key, value in answer[1]])]
    return [_ordered(part) for part in answer] if isinstance(answer, list) else answer


def answer(expression: str, given: dict[str, Any]) -> dict[str, Any]:
    """What ours says: a value with its type, or when it is an error."""
    try:
        program = compile_expression(expression, Environment(names=dict.fromkeys(given, cel.DYN)), LIMITS)
    except PolicyError as exc:
        return {"error": "compile", "code": exc.code}
    try:
        return {"value": encoded(program.value(given, Meter(LIMITS)))}
    except Unacceptable:
        return RUN


def recorded(area: str) -> list[tuple[str, dict[str, Any]]]:
    """The expressions of an area with Kubernetes' answers."""
    return [(expression, given) for expression, given in AREAS[area]["cases"]]


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """One value and type, or an error on both sides, whenever it shows."""
    if "error" in theirs or "error" in ours:
        return "error" in theirs and "error" in ours
    return bool(ours["value"] == _ordered(theirs["value"]))


@pytest.mark.parametrize("area", AREAS)
def test_every_expression_gives_what_kubernetes_gives(area: str) -> None:
    given = AREAS[area]["input"]
    wrong = []
    for expression, theirs in recorded(area):
        ours = answer(expression, given)
        agrees = same(ours, theirs) or ours.get("code") == "NotSupported"
        if agrees is (expression in REASONS):
            wrong.append((expression, ours, theirs))
    assert not wrong


def test_what_is_not_supported_is_refused_by_name() -> None:
    """Whatever Kubernetes evaluates in these areas of the specification needs what we do not have."""
    areas = ("spec-optionals", "spec-macros2", "spec-bindings_ext", "spec-block_ext")
    for area in areas:
        for expression, theirs in recorded(area):
            ours = answer(expression, {})
            if "value" in theirs and not same(ours, theirs):
                assert ours.get("code") == "NotSupported", expression


def test_several_hundred_expressions_of_each_source_are_recorded() -> None:
    counted: dict[str, int] = {}
    for area in AREAS.values():
        counted[area["source"]] = counted.get(area["source"], 0) + len(area["cases"])
    assert counted["cel.dev/expr"] > 900
    assert counted["github.com/google/cel-go"] > 300
    assert counted["k8s.io/apiserver"] > 150
    assert counted["Assay"] > 700


def test_a_difference_on_purpose_is_one_of_a_recorded_expression() -> None:
    known = {expression for area in AREAS for expression, _ in recorded(area)}
    assert set(REASONS) <= known
