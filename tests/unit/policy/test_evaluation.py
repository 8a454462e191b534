"""Rules: judged over what met a requirement, an error where they cannot be, never passed over."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.errors import Unacceptable
from controller.model.decision import ErrorKind, Outcome
from controller.model.evidence import VerifiedEvidence
from controller.model.image import ContainerKind, ImageConfig, ImageUse
from controller.model.policy import Namespace
from controller.model.workload import AdmissionRequest, Operation, User
from controller.policy.compiled import CompiledPolicy
from controller.policy.evaluation import conditions_hold, evaluate_evidence_rules, evaluate_request_rules
from controller.policy.findings import Findings
from controller.policy.requirements import check
from controller.settings import PolicySettings
from tests.unit.policy.make import DIGEST, IMAGE, LOG4J, attestation, compiled, evidence, sbom, signature, with_sbom

NOW = datetime(2026, 1, 2, tzinfo=UTC)
USE = ImageUse(
    ContainerKind.REGULAR, "main", "ghcr.io/acme/app:1.2", "/spec/containers/0/image", "spec.containers[0].image"
)
NAMESPACE = Namespace("shop", labels={"env": "prod"})
POD = {"metadata": {"name": "pod"}, "spec": {"hostNetwork": False}}
REQUEST = AdmissionRequest(
    uid="u", operation=Operation.CREATE, group="", version="v1", kind="Pod", resource="pods", subresource="",
    namespace="shop", name="pod", user=User(username="alice"), dry_run=False, object=POD, old_object={},
    raw={"operation": "CREATE", "userInfo": {"username": "alice"}},
)  # fmt: skip


def judge(policy: CompiledPolicy, found: VerifiedEvidence, configs: tuple[ImageConfig, ...] = ()) -> Findings:
    selected = check(policy.policy, found)[1]
    return evaluate_evidence_rules(policy, evidence=selected, image=IMAGE, now=NOW, configs=configs)


def judge_request(policy: CompiledPolicy, **changes: Any) -> Findings:
    facts: dict[str, Any] = {"use": USE, "request": REQUEST, "namespace": NAMESPACE, "now": NOW} | changes
    selected = check(policy.policy, evidence(signature()))[1]
    return evaluate_request_rules(policy, evidence=selected, image=IMAGE, **facts)


def rule(expression: str, **fields: Any) -> dict[str, Any]:
    return {"expression": expression} | fields


def test_a_rule_over_evidence_is_judged() -> None:
    policy = compiled(
        **with_sbom(
            variables=[{"name": "bad", "expression": f"sboms.find('{LOG4J}', '<2.17.1')"}],
            validations=[
                rule(
                    "size(variables.bad) == 0",
                    messageExpression="'contains ' + variables.bad[0].purl",
                    reason="VulnerableComponent",
                )
            ],
        )
    )
    assert policy.policy.problems == ()
    good = evidence(signature(), attestation(document=sbom(f"{LOG4J}@2.17.1")))
    bad = evidence(signature(), attestation(document=sbom(f"{LOG4J}@2.14.1")))
    assert judge(policy, good).outcome is Outcome.SATISFIED
    (reason,) = judge(policy, bad).violations
    assert (reason.code, reason.rule) == ("VulnerableComponent", "validations[0]")
    assert reason.message == f"contains {LOG4J}@2.14.1"
    assert str(policy.policy.identity) in reason.fix


def test_rules_see_signatures_attestations_and_what_the_digest_binds() -> None:
    policy = compiled(
        **with_sbom(
            validations=[
                rule("signatures.all(s, s.authority == 'release' && s.key == 'k1' && s.identity == 'key k1')"),
                rule("attestations.sbom[0].predicate.a == 1"),
                rule("attestations.sbom[0].predicateType.startsWith('https://spdx.dev')"),
                rule("image.registry == 'ghcr.io' && image.repository == 'acme/app'"),
                rule("image.platforms == ['linux/amd64']"),
                rule(f"image.digest == '{DIGEST}'"),
            ]
        )
    )
    assert policy.policy.problems == ()
    assert not policy.has_request_rules
    found = evidence(signature(), attestation(predicate={"a": 1}, document=sbom("pkg:npm/x@1")))
    assert judge(policy, found) == Findings()


def test_rules_see_the_request() -> None:
    policy = compiled(
        validations=[
            rule("request.userInfo.username == 'alice' && request.operation == 'CREATE'"),
            rule("object.metadata.name == 'pod' && !object.spec.hostNetwork && oldObject == null"),
            rule("namespaceObject.metadata.labels['env'] == 'prod' && namespaceObject.metadata.name == 'shop'"),
            rule("container.kind == 'container' && container.name == 'main' && container.image == image.reference"),
            rule("image.tag == '1.2' && size(signatures) == 1"),
            rule("now == timestamp('2026-01-02T00:00:00Z')"),
        ]
    )
    assert policy.policy.problems == ()
    assert judge_request(policy) == Findings()
    assert evaluate_evidence_rules(policy, evidence=evidence(), image=IMAGE, now=NOW) == Findings()


@pytest.mark.parametrize(
    ("expression", "evidence_only"),
    [
        ("size(signatures) > 0", True),
        ("image.digest != '' && image.repository != ''", True),
        ("image.tag != ''", False),
        ("image.reference != ''", False),
        ("image == image", False),
        ("now == now", False),
        ("object.x == 1", False),
        ("variables.v", False),
        ("variables.w", True),
    ],
)
def test_what_reads_more_than_evidence_is_judged_at_each_request(expression: str, *, evidence_only: bool) -> None:
    variables = [
        {"name": "u", "expression": "object.x"},
        {"name": "v", "expression": "variables.u == 1"},
        {"name": "w", "expression": "size(signatures) > 0"},
    ]
    policy = compiled(variables=variables, validations=[rule(expression)])
    assert policy.policy.problems == ()
    assert [r.evidence_only for r in policy.rules] == [evidence_only]


def test_a_message_that_reads_the_request_makes_its_rule_one_of_the_request() -> None:
    policy = compiled(
        validations=[rule("size(signatures) > 5", messageExpression="'no, ' + request.userInfo.username")]
    )
    assert [r.evidence_only for r in policy.rules] == [False]
    assert judge_request(policy).violations[0].message == "no, alice"


@pytest.mark.guarantee(17)
@pytest.mark.parametrize(
    ("expression", "absent"),
    [
        ("object.x == 1", "request"),
        ("container.name == 'x'", "use"),
        ("namespaceObject.metadata.name == 'x'", "namespace"),
    ],
)
def test_a_rule_whose_input_is_absent_is_an_error(expression: str, absent: str) -> None:
    findings = judge_request(compiled(validations=[rule(f"{expression} || true")]), **{absent: None})
    assert (findings.outcome, findings.error_kind) == (Outcome.ERROR, ErrorKind.UNACCEPTABLE)
    assert findings.unacceptable[0].code == "InputAbsent"


@pytest.mark.guarantee(2)
@pytest.mark.parametrize(
    "expression",
    [
        "sboms.all(s, false)",
        f"size(sboms.find('{LOG4J}')) == 0",
        "!sboms.exists(s, true)",
        "attestations.sbom.all(a, false)",
    ],
)
def test_no_rule_passes_on_absent_evidence(expression: str) -> None:
    policy = compiled(**with_sbom(validations=[rule(expression)]))
    assert policy.policy.problems == ()
    assert judge(policy, evidence(signature())).outcome is Outcome.ERROR


@pytest.mark.guarantee(2)
@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"validations": [rule("sboms.all(s, true)")]}, "sboms"),
        ({"signatures": None, "validations": [rule("signatures.all(s, true)")]}, "signatures"),
        ({"validations": [rule("true", messageExpression="string(size(attestations.x))")]}, "attestations"),
        ({"variables": [{"name": "v", "expression": "sboms.find('pkg:npm/x')"}]}, "sboms"),
    ],
)
def test_evidence_that_is_not_required_cannot_be_read(fields: dict[str, Any], name: str) -> None:
    (problem,) = compiled(**fields).policy.problems
    assert problem.code == "EvidenceNotRequired"
    assert name in problem.message
    assert problem.field.startswith("spec.va")


def test_an_sbom_that_was_not_read_is_an_error_and_not_an_empty_list() -> None:
    policy = compiled(**with_sbom(validations=[rule("sboms.all(s, true)")]))
    findings = judge(policy, evidence(signature(), attestation(document=None)))
    assert findings.unacceptable[0].code == "DocumentAbsent"


@pytest.mark.guarantee(6)
def test_a_rule_that_fails_is_an_error_and_a_certain_violation_stands_beside_it() -> None:
    policy = compiled(
        validations=[rule("signatures[9].key == 'x'"), rule("size(signatures) == 9", message="nine\nare  needed")]
    )
    findings = judge(policy, evidence(signature()))
    assert findings.outcome is Outcome.VIOLATED
    assert [reason.rule for reason in findings.reasons] == ["validations[1]", "validations[0]"]
    assert findings.violations[0].message == "nine are needed"
    alone = compiled(validations=[rule("signatures[9].key == 'x'")])
    assert judge(alone, evidence(signature())).error_kind is ErrorKind.UNACCEPTABLE


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messageExpression": "'made ' + 'up'", "message": "m"}, "made up"),
        ({"messageExpression": "string(signatures[9].key)", "message": "m"}, "m"),
        ({"messageExpression": "dyn(1)", "message": "m"}, "m"),
        ({"messageExpression": "' \\t '", "message": "m"}, "m"),
        ({"messageExpression": "' x '", "message": "m"}, "x"),
        ({"messageExpression": "'a\\nb'", "message": "m"}, "m"),
        ({"messageExpression": "'\\n x \\n'", "message": "m"}, "x"),
        ({"messageExpression": f"'{'x' * 5120}'", "message": "m"}, f"{'x' * 499}…"),
        ({"messageExpression": f"'{'x' * 5121}'", "message": "m"}, "m"),
        ({"messageExpression": f"'{'é' * 2561}'", "message": "m"}, "m"),
        ({"messageExpression": "''"}, "the rule is not met: false"),
        ({"message": "m"}, "m"),
        ({"message": " a\n  b "}, "a b"),
        ({}, "the rule is not met: false"),
    ],
)
def test_the_message_is_what_kubernetes_would_take_and_else_falls_back(fields: dict[str, str], message: str) -> None:
    """k8s.io/apiserver, `policy/validating/validator.go`: a computed message of one line and at most 5 KiB."""
    policy = compiled(validations=[rule("false", **fields)])
    assert not policy.policy.problems
    assert judge(policy, evidence(signature())).violations[0].message == message


SECRETIVE: dict[str, Any] = {
    "metadata": {"name": "pod", "annotations": {"last-applied": '{"env": [{"name": "TOKEN", "value": "hunter2"}]}'}},
    "spec": {"containers": [{"name": "main", "env": [{"name": "TOKEN", "value": "hunter2"}], "args": ["--key=t0ken"]}]},
}
CONFIG = ImageConfig("linux/amd64", DIGEST, None, entrypoint=("/app",), command=("--password=hunter3", "serve"))


@pytest.mark.guarantee(12)
@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("'token is ' + object.spec.containers[0].env[0].value", None),
        ("object.spec.containers.map(c, c.env.map(e, e.name + '=' + e.value).join(',')).join(',')", None),
        ("'token is ' + object.spec.containers[0].env[0].value.upperAscii()", None),
        ("'begins with ' + object.spec.containers[0].env[0].value.substring(0, 6)", None),
        ("'key ' + object.spec.containers[0].args[0].split('=')[1]", "key t0ken"),  # five characters are a word
        ("'password ' + image.configs['linux/amd64'].cmd[0].split('=')[1]", None),
        ("object.metadata.annotations.map(k, object.metadata.annotations[k]).join(' ')", None),
        ("'runs ' + object.spec.containers[0]['args'][0]", None),
        ("variables.token", None),
        ("'starts ' + image.configs['linux/amd64'].cmd[0]", None),
        ("'starts ' + image.configs['linux/amd64'].entrypoint[0]", None),
        ("'no ' + object.spec.containers[0].env[0].name", "no TOKEN"),
        ("object.spec.containers[0].name", "main"),
    ],
)
def test_no_message_and_no_annotation_quotes_an_environment_value_or_a_command(
    expression: str, told: str | None
) -> None:
    policy = compiled(
        variables=[{"name": "token", "expression": "object.spec.containers[0].env[0].value"}],
        validations=[rule("object.metadata.name == 'x'", messageExpression=expression, message="m")],
        auditAnnotations=[{"key": "note", "valueExpression": expression}],
    )
    assert not policy.policy.problems
    request = dataclasses.replace(REQUEST, object=SECRETIVE)
    found = judge_request(policy, request=request, configs=(CONFIG,))
    rest = judge(policy, evidence(signature()), configs=(CONFIG,))  # annotations that read evidence alone
    assert [reason.message for reason in found.violations] == [told or "m"]
    assert dict(found.annotations + rest.annotations) == {"note": told or "(withheld)"}


@pytest.mark.guarantee(12)
def test_a_pattern_that_cannot_be_read_is_not_quoted() -> None:
    policy = compiled(validations=[rule("'x'.matches(object.spec.containers[0].env[0].value + '(')")])
    found = judge_request(policy, request=dataclasses.replace(REQUEST, object=SECRETIVE))
    assert found.error_kind is ErrorKind.UNACCEPTABLE
    assert "regular expression" in str(found)
    assert "hunter2" not in str(found)


def test_a_message_that_uses_up_its_budget_leaves_the_rule_violated() -> None:
    nested = "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, a + b > 0)) ? 'x' : 'y'"
    policy = compiled(
        PolicySettings(policy_cel_steps=100), validations=[rule("false", messageExpression=nested, message="m")]
    )
    assert [reason.message for reason in judge(policy, evidence(signature())).violations] == ["m"]


def test_variables_are_computed_on_the_budget_of_the_rule_that_reads_them() -> None:
    limits = PolicySettings(policy_cel_steps=300)
    variables = [{"name": "big", "expression": "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, a + b > 0))"}]
    policy = compiled(limits, variables=variables, validations=[rule("variables.big || true"), rule("true")])
    (reason,) = judge(policy, evidence(signature())).unacceptable
    assert (reason.code, reason.rule) == ("LimitExceeded", "validations[0]")


def test_an_error_in_a_variable_is_one_of_each_rule_that_reads_it() -> None:
    variables = [{"name": "v", "expression": "signatures[9].key"}]
    policy = compiled(variables=variables, validations=[rule("variables.v == 'x'"), rule("size(signatures) == 1")])
    assert [reason.rule for reason in judge(policy, evidence(signature())).unacceptable] == ["validations[0]"]


def test_a_variable_sees_only_those_before_it() -> None:
    policy = compiled(variables=[{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}])
    assert [p.code for p in policy.policy.problems] == ["NameUnknown"]


def conditions(*expressions: str) -> CompiledPolicy:
    listed = [{"name": f"c{i}", "expression": text} for i, text in enumerate(expressions)]
    return compiled(match={"conditions": listed})


def hold(policy: CompiledPolicy, **changes: Any) -> bool:
    facts: dict[str, Any] = {
        "request": REQUEST,
        "namespace": NAMESPACE,
        "image": USE,
        "reference": IMAGE.reference,
    } | changes
    return conditions_hold(policy, **facts)


def test_all_conditions_have_to_hold() -> None:
    assert hold(conditions()) is True
    assert hold(conditions("request.userInfo.username == 'alice'", "image.tag == '1.2'")) is True
    assert hold(conditions("request.userInfo.username == 'alice'", "image.tag == '1.3'")) is False


@pytest.mark.guarantee(7)
def test_a_condition_that_fails_is_an_error_and_never_unmatched() -> None:
    with pytest.raises(Unacceptable, match=r"match.conditions\[c0\]"):
        hold(conditions("object.nothing == 1"))
    with pytest.raises(Unacceptable):
        hold(conditions("object.metadata.name"))
    with pytest.raises(Unacceptable) as raised:
        hold(conditions("namespaceObject.metadata.name == 'x'"), namespace=None)
    assert raised.value.code == "InputAbsent"


def test_a_condition_that_is_certainly_false_decides_in_any_order() -> None:
    assert hold(conditions("object.nothing == 1", "false")) is False
    assert hold(conditions("false", "object.nothing == 1")) is False


@pytest.mark.parametrize("expression", ["sboms.all(s, true)", "image.digest == 'x'", "now == now", "variables.x"])
def test_conditions_need_no_registry(expression: str) -> None:
    policy = conditions(expression)
    assert [p.field for p in policy.policy.problems] == ["spec.match.conditions[0].expression"]
    assert hold(policy) is True  # a policy that is not accepted is about everything that its patterns match


def test_evidence_of_a_delete_request_has_no_object() -> None:
    policy = compiled(validations=[rule("object == null")])
    assert judge_request(policy, request=dataclasses.replace(REQUEST, object={})) == Findings()


def note(expression: str, key: str = "k") -> dict[str, str]:
    return {"key": key, "valueExpression": expression}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("'signed by ' + signatures[0].identity", "signed by key k1"),
        ("' x '", "x"),
        ("null", None),
        ("size(signatures) > 1 ? 'many' : null", None),
        ("' '", None),
        (f"'{'é' * 5000}' + '{'x' * 500}'", "é" * 5000 + "x" * 240),
        (f"'x{'é' * 5000}' + '{'é' * 500}'", "x" + "é" * 5119),
    ],
)
def test_an_annotation_is_a_text_of_bounded_length_or_none(expression: str, value: str | None) -> None:
    policy = compiled(auditAnnotations=[note(expression)])
    assert not policy.policy.problems
    annotations = (("k", value),) if value is not None else ()
    assert judge(policy, evidence(signature())) == Findings(annotations=annotations)


@pytest.mark.parametrize(
    ("expression", "code"),
    [
        ("signatures[9].key", "ExpressionFailed"),
        ("variables.broken", "ExpressionFailed"),
        ("[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, a + b > 0)) ? 'x' : 'y'", "LimitExceeded"),
    ],
)
def test_an_annotation_that_fails_is_an_error_and_never_hides_what_else_was_found(expression: str, code: str) -> None:
    fields: dict[str, Any] = {
        "variables": [{"name": "broken", "expression": "signatures[9].key"}],
        "auditAnnotations": [note(expression), note("'said'", "good")],
    }
    limits = PolicySettings(policy_cel_steps=100)
    alone = judge(compiled(limits, **fields), evidence(signature()))
    assert (alone.outcome, alone.error_kind) == (Outcome.ERROR, ErrorKind.UNACCEPTABLE)
    assert [(reason.code, reason.rule) for reason in alone.reasons] == [(code, "auditAnnotations[k]")]
    assert alone.annotations == (("good", "said"),)
    beside = judge(compiled(limits, validations=[rule("false")], **fields), evidence(signature()))
    assert (beside.outcome, len(beside.reasons)) == (Outcome.VIOLATED, 2)


@pytest.mark.parametrize(
    ("expression", "evidence_only"),
    [("signatures[0].key", True), ("image.digest", True), ("image.tag", False), ("string(now)", False)],
)
def test_annotations_are_remembered_or_evaluated_each_time_by_what_they_read(
    expression: str, *, evidence_only: bool
) -> None:
    policy = compiled(auditAnnotations=[note(expression)])
    assert policy.has_request_rules is not evidence_only
    assert bool(judge(policy, evidence(signature())).annotations) is evidence_only
    assert bool(judge_request(policy).annotations) is not evidence_only


def test_an_annotation_reads_no_evidence_that_is_not_required() -> None:
    (problem,) = compiled(auditAnnotations=[note("sboms[0].name")]).policy.problems
    assert (problem.code, problem.field) == ("EvidenceNotRequired", "spec.auditAnnotations[0].valueExpression")


def test_an_annotation_whose_input_is_absent_is_an_error() -> None:
    findings = judge_request(compiled(auditAnnotations=[note("request.name")]), request=None)
    assert [reason.code for reason in findings.unacceptable] == ["InputAbsent"]
