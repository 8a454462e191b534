"""What each part of a rule came to: the same values that the verdict was made of, bounded, and nothing secret."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.image import ContainerKind, ImageUse
from controller.model.policy import Namespace
from controller.model.reference import Reference
from controller.model.workload import AdmissionRequest, Operation, User
from controller.policy import requirements
from controller.policy.cel.program import STACK
from controller.policy.cel.tracing import MAX_SHOWN, MAX_VALUES, WITHHELD, Part, Secrets
from controller.policy.compiled import CompiledPolicy
from controller.policy.evaluation import evaluate_evidence_rules, evaluate_request_rules
from controller.policy.trace import Traced, trace_conditions, trace_rules
from controller.settings import PolicySettings
from tests.unit.policy.make import DIGEST, IMAGE, LOG4J, attestation, compiled, evidence, sbom, signature, with_sbom

sys.setrecursionlimit(max(sys.getrecursionlimit(), STACK))  # as the first expression would, which hypothesis minds
NOW = datetime(2026, 1, 31, tzinfo=UTC)
USE = ImageUse(ContainerKind.REGULAR, "app", "ghcr.io/acme/app:1.2", "/spec/containers/0/image", "spec…")
SECRET = "hunter2-s3cr3t"
POD: dict[str, Any] = {
    "metadata": {
        "labels": {"team": "red"},
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": f'{{"env":"{SECRET}"}}'},
    },
    "spec": {
        "containers": [
            {
                "name": "app",
                "image": "ghcr.io/acme/app:1.2",
                "env": [{"name": "PASSWORD", "value": SECRET}],
                "args": ["--token=t0ken-in-args"],
                "command": ["serve-it"],
            }
        ]
    },
}


def request(obj: dict[str, Any] | None = None) -> AdmissionRequest:
    raw = {"object": POD if obj is None else obj, "userInfo": {"username": "alice"}}
    user = User("alice")
    return AdmissionRequest(
        "u", Operation.CREATE, "", "v1", "Pod", "pods", "", "shop", "app", user, False, raw["object"], {}, raw
    )


def policy(
    *expressions: str, variables: dict[str, str] | None = None, limits: PolicySettings | None = None
) -> CompiledPolicy:
    made = compiled(
        limits,
        **with_sbom(
            variables=[{"name": name, "expression": text} for name, text in (variables or {}).items()],
            validations=[{"expression": text} for text in expressions],
        ),
    )
    assert made.policy.problems == ()
    return made


def selected(made: CompiledPolicy) -> Any:
    document = sbom(f"{LOG4J}@2.14.1", "pkg:apk/alpine/musl@1.2.5", "pkg:apk/alpine/zlib@1.3", "pkg:apk/alpine/bash@5")
    return requirements.check(made.policy, evidence(signature(), attestation(document=document)))[1]


def traced(made: CompiledPolicy) -> dict[str, Traced]:
    found = trace_rules(
        made, evidence=selected(made), image=IMAGE, use=USE, request=request(), namespace=Namespace("shop"), now=NOW
    )
    return {one.name: one for one in found}


def parts(one: Traced) -> dict[str, Part]:
    return {part.text: part for part in one.parts}


def test_each_part_has_the_value_that_it_had() -> None:
    made = policy(
        "size(variables.bad) == 0 || image.tag == '1.2'", variables={"bad": f"sboms.find('{LOG4J}', '<2.17')"}
    )
    found = traced(made)
    rule = found["validations[0]"]
    assert (rule.value.type, rule.value.text) == ("bool", "true")
    shown = {text: (part.depth, [v.text for v in part.values]) for text, part in parts(rule).items()}
    assert shown["size(variables.bad) == 0"] == (1, ["false"])
    assert shown["size(variables.bad)"] == (2, ["1"])
    assert shown["image.tag == '1.2'"] == (1, ["true"])
    assert shown["image.tag"] == (2, ['"1.2"'])
    assert found["variables.bad"].value.type == "list"
    assert "2.14.1" in found["variables.bad"].value.text
    assert parts(rule)["image.tag"].line == 1
    assert parts(rule)["image.tag"].column == 1 + "size(variables.bad) == 0 || ".__len__()


def test_a_side_that_did_not_matter_was_not_evaluated() -> None:
    rule = traced(policy("image.tag == '1.2' || image.registry == 'x'"))["validations[0]"]
    assert parts(rule)["image.tag == '1.2'"].times == 1
    assert (parts(rule)["image.registry == 'x'"].times, parts(rule)["image.registry == 'x'"].values) == (0, ())


def test_of_a_loop_the_first_values_and_the_last_are_kept() -> None:
    rule = traced(policy("sboms.all(s, s.components.all(c, c.name != 'bash@5'))"))["validations[0]"]
    part = parts(rule)["c.name != 'bash@5'"]
    assert part.times == 4
    assert len(part.values) == MAX_VALUES
    assert [value.text for value in part.values] == ["true", "true", "false"]


def test_an_error_is_a_value_with_its_place() -> None:
    rule = traced(policy("object.spec.nothing == 1"))["validations[0]"]
    assert rule.value.type == "error"
    assert rule.value.text.startswith("ExpressionFailed: line 1, column 13: no such field 'nothing'")
    assert parts(rule)["object.spec.nothing"].values[0].type == "error"


def test_a_crossed_budget_is_the_value_of_the_rule_that_crossed_it_alone() -> None:
    heavy = "sboms.all(s, s.components.all(a, s.components.all(b, s.components.all(c, c.name != a.name + b.name))))"
    found = traced(policy(heavy, "image.tag == '1.2'", limits=PolicySettings(policy_cel_steps=100)))
    assert found["validations[0]"].value.type == "error"
    assert "policy_cel_steps" in found["validations[0]"].value.text
    assert found["validations[1]"].value.text == "true"


def test_an_expression_may_be_as_deep_as_it_is_admitted() -> None:
    deep = "sboms.all(s, " * 8 + "object" + ".metadata" * 150 + " == 1" + ")" * 8
    rule = traced(policy(deep))["validations[0]"]
    assert rule.value.text.startswith("ExpressionFailed: ")
    assert "no such field 'metadata'" in rule.value.text
    chain = " + ".join(["image.tag"] * 150)
    assert traced(policy(f"size({chain}) == 450"))["validations[0]"].value.text == "true"


def test_an_input_that_is_absent_is_an_error_as_in_the_verdict() -> None:
    made = policy("namespaceObject.metadata.name == 'shop'")
    (found,) = trace_rules(
        made, evidence=selected(made), image=IMAGE, use=USE, request=request(), namespace=None, now=NOW
    )
    assert found.value.text.startswith("InputAbsent: ")


def test_conditions_are_traced_each_whatever_the_others_are() -> None:
    conditions = [
        {"name": "person", "expression": "request.userInfo.username == 'bob'"},
        {"name": "tagged", "expression": "image.tag != ''"},
    ]
    made = compiled(match={"conditions": conditions})
    reference = Reference.parse("ghcr.io/acme/app:1.2")
    found = trace_conditions(made, request=request(), namespace=None, use=USE, reference=reference)
    assert [(one.name, one.value.text) for one in found] == [
        ("match.conditions[person]", "false"),
        ("match.conditions[tagged]", "true"),
    ]


@pytest.mark.guarantee(12)
@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.containers.all(c, c.env.all(e, e.value != 'x'))",
        "object.spec.containers[0].env[0].value.startsWith('h')",
        "object.spec.containers.map(c, c)[0].name == 'app'",
        "object.spec.containers[0].env[0].value.substring(1, 7) == 'unter2'",
        "object.spec.containers[0].env[0].value.upperAscii() != ''",
        "object.spec.containers[0].env.map(e, e.value).join('-') != ''",
        "object.spec.containers[0]['env'][0]['value'] != ''",
        "object.spec.containers[0].args[0] != ''",
        "object.spec.containers.all(c, c.all(k, k != 'x'))",
        "object.metadata.annotations.all(k, object.metadata.annotations[k] != 'x')",
        "request.object.spec.containers[0].env[0].value.split('').size() > 1",
        "size(variables.values) > 0",
    ],
)
def test_environment_values_and_arguments_are_never_shown(expression: str) -> None:
    variables = {"values": "object.spec.containers[0].env.map(e, e.value + '!')"}
    found = traced(policy(expression, variables=variables))
    shown = [found[name].value.text for name in found] + [
        value.text for one in found.values() for part in one.parts for value in part.values
    ]
    assert found["validations[0]"].value.type == "bool"
    for text in shown:
        for secret in (SECRET, SECRET.upper(), SECRET[1:7], "t0ken-in-args"):
            assert secret not in text


def test_what_is_no_secret_is_shown_beside_it() -> None:
    rule = traced(policy("object.metadata.labels.team == 'red' && object.spec.containers[0].name == 'app'"))[
        "validations[0]"
    ]
    assert parts(rule)["object.metadata.labels.team"].values[0].text == '"red"'
    env = traced(policy("object.spec.containers[0].env[0].value == 'x'"))["validations[0]"]
    assert parts(env)["object.spec.containers[0].env[0].value"].values[0].text == WITHHELD
    assert env.value.text == "false"


def test_secrets_are_found_wherever_a_pod_stands() -> None:
    deployment = {"spec": {"template": POD}}
    assert SECRET in Secrets.of(deployment).values
    assert Secrets.of({"items": [1, None, {"env": "no list", "args": [1]}]}) == Secrets()


json_values = st.recursive(
    st.text() | st.integers() | st.booleans() | st.none(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=60,
)


@pytest.mark.guarantee(10)
@given(json_values)
def test_whatever_the_object_holds_is_shown_in_bounds(value: Any) -> None:
    made = policy("object.x == object.y || true")
    found = trace_rules(
        made, evidence=selected(made), image=IMAGE, use=USE, request=request({"x": value, "y": value}),
        namespace=None, now=NOW,
    )  # fmt: skip
    for part in found[0].parts:
        assert all(len(shown.text) <= MAX_SHOWN for shown in part.values)


EXPRESSIONS = [
    "true",
    "false",
    "size(signatures) == 1",
    f"size(sboms.find('{LOG4J}', '<2.17')) == 0",
    "sboms.exists(s, s.components.exists(c, c.name == 'bash@5'))",
    "image.tag == '1.2' ? object.metadata.labels.team == 'red' : false",
    "object.nothing == 1",
    "object.nothing == 1 || true",
    "container.name in ['app', 'x']",
    "now > timestamp('2020-01-01T00:00:00Z')",
    "variables.bad.all(c, c.version == '2.14.1')",
    "has(object.spec.volumes)",
    "request.userInfo.username.matches('^a.*')",
]


@pytest.mark.guarantee(17)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_guarantee_17_a_traced_rule_has_the_value_that_was_judged(expression: str) -> None:
    made = policy(expression, variables={"bad": f"sboms.find('{LOG4J}', '<2.17')"})
    chosen = selected(made)
    judged = evaluate_evidence_rules(made, evidence=chosen, image=IMAGE, now=NOW) + evaluate_request_rules(
        made, evidence=chosen, image=IMAGE, use=USE, request=request(), namespace=Namespace("shop"), now=NOW
    )
    value = traced(made)["validations[0]"].value
    outcome = {"true": "Satisfied", "false": "Violated"}.get(value.text, "Error")
    assert str(judged.outcome) == outcome
    assert IMAGE.digest == DIGEST
