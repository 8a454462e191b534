"""What a policy's expressions are checked for together: the request's fields, variables' types, what each must give."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.policy.make import compiled


def validation(expression: str, **more: str) -> dict[str, str]:
    """One of `validations`."""
    return {"expression": expression, **more}


def told(**fields: Any) -> list[tuple[str, str, str]]:
    """The problems of a policy: code, field and message."""
    return [(p.code, p.field, p.message) for p in compiled(**fields).policy.problems]


VARIABLES = [
    {"name": "users", "expression": "request.userInfo.groups"},
    {"name": "keys", "expression": "signatures.map(s, s.key)"},
    {"name": "first", "expression": "variables.keys[0]"},
    {"name": "open", "expression": "object.spec"},
]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("request.userInfo.usernme == ''", "there is no field 'usernme' here; did you mean 'username'?"),
        ("request.operaton == ''", "there is no field 'operaton' here; did you mean 'operation'?"),
        ("request.kind.kynd == ''", "there is no field 'kynd' here; did you mean 'kind'?"),
        ("request.dryRun == 'true'", "there is no bool == string: values of different types are never equal"),
        ("namespaceObject.metadata.labels['a'] == 1", "there is no string == int: values of different types"),
        ("namespaceObject.spec == 1", "there is no field 'spec' here"),
        ("variables.users == 'a'", "there is no list(string) == string"),
        ("variables.first + 1 == 2", "there is no string + int"),
        ("variables.keys.all(k, k > 1)", "there is no string > int"),
        ("variables.nothing", "there is no field 'nothing' here"),
    ],
)
def test_what_the_request_and_variables_are_is_known(expression: str, message: str) -> None:
    problems = told(variables=VARIABLES, validations=[validation(expression)])
    assert [field for _, field, _ in problems] == ["spec.validations[0].expression"]
    assert message in problems[0][2]


@pytest.mark.parametrize(
    "expression",
    [
        "variables.open.replicas > 1 && variables.open.name == 'a'",
        "request.object.spec.x == 1 && request.options.y == 'a'",
        "'system:masters' in variables.users && request.userInfo.extra['a'][0] == 'b'",
        "request.userInfo.username.startsWith('system:') && request.dryRun",
    ],
)
def test_what_is_open_is_left_to_the_evaluation(expression: str) -> None:
    assert told(variables=VARIABLES, validations=[validation(expression)]) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"validations": [validation("size(signatures)")]},
            ("ExpressionNotBoolean", "spec.validations[0].expression",
             "line 1, column 1: the expression is no boolean but int"),
        ),
        (
            {"validations": [validation("true", messageExpression="size(signatures)")]},
            ("ExpressionNotString", "spec.validations[0].messageExpression",
             "line 1, column 1: the expression is no string but int"),
        ),
        (
            {"match": {"conditions": [{"name": "c", "expression": "request.userInfo.username"}]}},
            ("ExpressionNotBoolean", "spec.match.conditions[0].expression",
             "line 1, column 1: the expression is no boolean but string"),
        ),
        (
            {"auditAnnotations": [{"key": "a", "valueExpression": "size(signatures)"}]},
            ("ExpressionNotString", "spec.auditAnnotations[0].valueExpression",
             "line 1, column 1: the expression is no string and not null but int"),
        ),
    ],
)  # fmt: skip
def test_an_expression_gives_what_its_place_needs(fields: dict[str, Any], expected: tuple[str, str, str]) -> None:
    assert told(**fields) == [expected]


def test_an_annotation_may_be_null() -> None:
    expression = "size(signatures) > 1 ? 'many' : null"
    assert told(auditAnnotations=[{"key": "a", "valueExpression": expression}]) == []


def test_a_problem_shows_its_place_below_the_line() -> None:
    policy = compiled(validations=[validation("size(signatures) > 0 &&\n  image.tga == ''")]).policy
    assert [problem.excerpt for problem in policy.problems] == ["  image.tga == ''\n        ^^^"]
