"""The format of policy tests: nothing in it is passed over, and every mistake is named with its field."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from controller.errors import AssayError, ConfigurationError, InputError
from controller.model.decision import NoMatch, Templates, Verdict
from controller.model.policy import Namespace
from controller.model.workload import User
from controller.policy.casefiles import CaseLoader, read_case_files, resolved
from controller.policy.cases import Expected, ExpectedEvaluation, ExpectedReason, parse_cases
from controller.policy.files import load_snapshot
from tests.unit.policy.make import resource

CASE = {"name": "one", "image": "ghcr.io/acme/app:1", "expect": {"verdict": "Allow"}}


def document(*cases: dict[str, Any], **fields: Any) -> dict[str, Any]:
    base = {"apiVersion": "assay.dev/v1alpha1", "kind": "PolicyTest", "policies": ["p.yaml"], "cases": list(cases)}
    return {name: value for name, value in (base | fields).items() if value is not None}


def test_a_case_has_what_stands_beside_cases_unless_it_says_otherwise() -> None:
    shared: dict[str, Any] = {
        "policies": ["a", "b"],
        "evidence": {"layout": "evidence", "bundles": ["x.json"]},
        "trustRoots": {"public-good": "root.json"},
        "exceptions": ["e.yaml"],
        "now": "2026-01-31T12:00:00Z",
        "user": {"username": "alice", "groups": ["dev"]},
        "namespace": {"name": "shop", "labels": {"team": "red"}},
        "noMatch": "Warn",
        "templates": "Deny",
    }
    own = CASE | {"name": "two", "policies": ["c"], "user": {"username": "bob"}, "noMatch": "Deny"}
    one, two = parse_cases(document(CASE, own, **shared), where="x")
    assert (one.policies, one.layout, one.bundles) == (("a", "b"), "evidence", ("x.json",))
    assert (one.trust_roots, one.exceptions) == ((("public-good", "root.json"),), ("e.yaml",))
    assert one.now == datetime(2026, 1, 31, 12, tzinfo=UTC)
    assert (one.user, one.namespace) == (User("alice", "", ("dev",)), Namespace("shop", {"team": "red"}))
    assert (one.no_match, one.templates) == (NoMatch.WARN, Templates.DENY)
    assert (two.policies, two.user, two.no_match) == (("c",), User("bob"), NoMatch.DENY)  # replaced, never merged
    assert (two.layout, two.templates) == ("evidence", Templates.DENY)


def test_an_expectation_is_read_whole() -> None:
    reasons = ["SignatureMissing", {"code": "RuleViolated", "rule": "validations[0]", "message": "part"}]
    expect = {
        "verdict": "Deny",
        "evaluations": [
            {"policy": "p", "outcome": "Violated", "image": "i", "container": "c", "platform": "x", "reasons": reasons},
            {"policy": "q", "outcome": "NotMatched"},
        ],
        "warnings": [],
    }
    (case,) = parse_cases(document(CASE | {"expect": expect}), where="x")
    assert case.expect is not None
    assert (case.expect.verdict, case.expect.warnings) == (Verdict.DENY, ())
    wanted = (ExpectedReason("SignatureMissing"), ExpectedReason("RuleViolated", "validations[0]", "part"))
    assert case.expect.evaluations == (
        ExpectedEvaluation("p", Expected.VIOLATED, "i", "c", "x", wanted),
        ExpectedEvaluation("q", Expected.NOT_MATCHED),
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"cases": []}, "cases must be a list of at least one case"),
        ({"cases": None}, "cases must be a list of at least one case"),
        ({"cases": {"name": "x"}}, "cases must be a list of at least one case"),
        ({"cases": [CASE] * 1001}, "at most 1000 are allowed"),
        ({"apiVersion": "assay.dev/v1"}, "kind must say"),
        ({"polices": ["a"]}, "polices is no field of the object; did you mean 'policies'?"),
        ({"policies": None}, "cases[0].policies must name at least one"),
        ({"now": "2026-01-31"}, "now must be a time with its zone"),
        ({"evidence": {"lay": "x"}}, "evidence.lay is no field of evidence"),
        ({"user": {"name": "x"}}, "user.name is no field of user"),
        ({"noMatch": "deny"}, "noMatch is 'deny'"),
        ({"cases": [CASE, CASE]}, "the name of cases[0] already"),
        ({"cases": [None]}, "cases[0] must be an object"),
        ({"cases": [CASE | {"expects": {}}]}, "cases[0].expects is no field of cases[0]"),
        ({"cases": [CASE | {"expect": None}]}, "cases[0].expect is required"),
        ({"cases": [CASE | {"expect": {}}]}, "cases[0].expect must say a verdict"),
        ({"cases": [CASE | {"expect": {"warnings": []}}]}, "cases[0].expect must say a verdict"),
        ({"cases": [CASE | {"expect": {"evaluations": []}}]}, "cases[0].expect must say a verdict"),
        ({"cases": [CASE | {"expect": {"verdict": "Permit"}}]}, "cases[0].expect.verdict is 'Permit'"),
        ({"cases": [CASE | {"object": {}}]}, "exactly one of image, object and file"),
        ({"cases": [CASE | {"image": None}]}, "exactly one of image, object and file"),
        ({"cases": [CASE | {"image": None, "object": []}]}, "cases[0].object must be a Kubernetes object"),
        ({"cases": [CASE | {"name": ""}]}, "cases[0].name must not be empty"),
    ],
)
def test_a_mistake_is_named_with_its_field(changed: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError) as raised:
        parse_cases(document(**({"cases": [CASE]} | changed)), where="tests/a.yaml, document 1")
    assert raised.value.code == "PolicyTestMalformed"
    assert raised.value.message.startswith("tests/a.yaml, document 1: ")
    assert named in raised.value.message


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"outcome": "Satisfied"}, "evaluations[0].policy is required"),
        ({"policy": "p"}, "evaluations[0].outcome is required"),
        ({"policy": "p", "outcome": "satisfied"}, "did you mean 'Satisfied'"),
        ({"policy": "p", "outcome": "Violated", "reason": []}, "evaluations[0].reason is no field"),
        ({"policy": "p", "outcome": "Violated", "reasons": "X"}, "evaluations[0].reasons must be a list"),
        ({"policy": "p", "outcome": "Violated", "reasons": [{}]}, "reasons[0].code is required"),
        ({"policy": "p", "outcome": "Violated", "reasons": [{"code": "X", "rul": "y"}]}, "reasons[0].rul is no field"),
        ({"policy": "p", "outcome": "NotMatched", "reasons": ["X"]}, "reasons says why"),
    ],
)
def test_a_mistake_in_an_expectation_is_named(entry: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match="PolicyTestMalformed") as raised:
        parse_cases(document(CASE | {"expect": {"evaluations": [entry]}}), where="x")
    assert named in raised.value.message


def test_only_a_case_that_is_about_to_be_filled_in_may_expect_nothing() -> None:
    unfinished = {name: value for name, value in CASE.items() if name != "expect"}
    (case,) = parse_cases(document(unfinished), where="x", unfinished=True)
    assert case.expect is None
    with pytest.raises(InputError):
        parse_cases(document(unfinished), where="x")


def write(folder: Path, name: str, *documents: Any) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents))
    return path


def test_tests_are_found_among_policies_and_policies_among_tests(tmp_path: Path) -> None:
    write(tmp_path, "p/policy.yaml", resource("p"))
    write(tmp_path, "p/tests/cases.yaml", document(CASE), document(CASE))
    write(tmp_path, "p/tests/pod.yaml", {"apiVersion": "v1", "kind": "Pod"})
    write(tmp_path, "evidence/index.json", {"manifests": []})
    (tmp_path / "evidence/oci-layout").write_text("{}")
    files = read_case_files(tmp_path)
    assert [(file.path.name, file.document, len(file.cases)) for file in files] == [
        ("cases.yaml", 1, 1),
        ("cases.yaml", 2, 1),
    ]
    (tmp_path / "p/tests/pod.yaml").unlink()
    assert [c.policy.identity.name for c in load_snapshot(tmp_path).policies] == ["p"]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "PolicyTestMissing"),
        ("kind: Pod\napiVersion: v1\n", "PolicyTestMissing"),
        ("kind: PolicyTests\napiVersion: assay.dev/v1alpha1\ncases: []\n", "PolicyTestMalformed"),
        ("kind: policytest\napiVersion: assay.dev/v1alpha1\n", "PolicyTestMalformed"),
        ("cases: [{name: x}]\n", "PolicyTestMalformed"),
        ("kind: PolicyTest\ncases: []\ncases: []\n", "PolicyFileUnreadable"),
        ("kind: [\n", "PolicyFileUnreadable"),
        ("[" * 1000, "PolicyFileUnreadable"),
    ],
)
def test_a_folder_that_tests_nothing_or_not_what_it_says_is_an_error(tmp_path: Path, text: str, code: str) -> None:
    (tmp_path / "cases.yaml").write_text(text)
    with pytest.raises(AssayError) as raised:
        read_case_files(tmp_path)
    assert raised.value.code == code


def test_a_key_that_stands_twice_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: PolicyTest\ncases:\n- name: x\n  expect: {}\n  expect: {}\n")
    with pytest.raises(ConfigurationError, match=r"a\.yaml, line 5, column 3: the key 'expect' stands twice"):
        read_case_files(tmp_path)


def test_times_in_an_object_stay_text_as_in_a_cluster() -> None:
    assert list(yaml.load_all("{at: 2026-01-31T12:00:00Z, n: 1}", CaseLoader)) == [
        {"at": "2026-01-31T12:00:00Z", "n": 1}
    ]


def test_a_path_that_leads_nowhere_is_an_error(tmp_path: Path) -> None:
    file = write(tmp_path, "tests/a.yaml", document(CASE))
    assert resolved(file, "../tests") == tmp_path / "tests/../tests"
    with pytest.raises(ConfigurationError, match="PolicyTestFileMissing"):
        resolved(file, "../policy.yaml")
