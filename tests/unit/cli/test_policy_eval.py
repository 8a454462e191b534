"""`assay policy eval`: what an author sees of one expression, and how it ends."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from controller.cli import run

INPUT = {"object": {"metadata": {"name": "web"}, "ports": [80, 443]}, "text": "abc"}


def answered(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit status, and the answer for programs."""
    status = run(["policy", "eval", *arguments, "-o", "json"])
    return status, json.loads(capsys.readouterr().out)


@pytest.fixture
def given(tmp_path: Path) -> str:
    file = tmp_path / "input.json"
    file.write_text(json.dumps(INPUT))
    return str(file)


@pytest.mark.parametrize(
    ("expression", "value", "kind"),
    [
        ("1 + 2", 3, "int"),
        ("1u", 1, "uint"),
        ("1.5", 1.5, "double"),
        ("1.0 / 0.0", "Infinity", "double"),
        ("-1.0 / 0.0", "-Infinity", "double"),
        ("0.0 / 0.0", "NaN", "double"),
        ("'a' + 'b'", "ab", "string"),
        ("b'ab'", "YWI=", "bytes"),
        ("null", None, "null_type"),
        ("1 < 2", True, "bool"),
        ("[1, 'a', [b'x']]", [1, "a", ["eA=="]], "list"),
        ("{'a': duration('90s')}", {"a": "1m30s"}, "map"),
        ("{1: 'a', true: 'b'}", [[1, "a"], [True, "b"]], "map"),
        ("timestamp('2026-01-02T03:04:05.6+01:00')", "2026-01-02T02:04:05.6Z", "google.protobuf.Timestamp"),
        ("duration('1h30m')", "1h30m0s", "google.protobuf.Duration"),
        ("duration('-1500ms')", "-1.5s", "google.protobuf.Duration"),
        ("duration('1.5ms')", "1.5ms", "google.protobuf.Duration"),
        ("duration('1us')", "1µs", "google.protobuf.Duration"),
        ("duration('0')", "0s", "google.protobuf.Duration"),
        ("type(1)", "int", "type"),
        ("ip('::1')", "::1", "net.IP"),
        ("cidr('10.0.0.0/8')", "10.0.0.0/8", "net.CIDR"),
        ("url('https://a/b')", "https://a/b", "kubernetes.URL"),
        ("quantity('1Gi')", "1Gi", "kubernetes.Quantity"),
        ("semver('1.2.3-rc.1')", "1.2.3-rc.1", "kubernetes.Semver"),
    ],
)
def test_a_value_is_printed_with_its_type(
    capsys: pytest.CaptureFixture[str], expression: str, value: Any, kind: str
) -> None:
    assert answered(capsys, expression) == (0, {"value": value, "type": kind})


def test_the_keys_of_the_input_are_names(capsys: pytest.CaptureFixture[str], given: str) -> None:
    expression = "object.metadata.name + text == 'webabc' && object.ports.all(p, p > 0)"
    assert answered(capsys, expression, "--input", given) == (0, {"value": True, "type": "bool"})


def test_the_input_may_be_yaml_and_come_from_standard_input(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("object:\n  name: web\n"))
    assert answered(capsys, "object.name", "--input", "-") == (0, {"value": "web", "type": "string"})


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        (
            "1 + 'a'",
            {"code": "TypeMismatch", "message": "line 1, column 3: there is no int + string", "line": 1, "column": 3,
             "excerpt": "1 + 'a'\n  ^"},
        ),
        (
            "object.x",
            {"code": "NameNotHere", "message": "line 1, column 1: object has no value here: give one with --input",
             "line": 1, "column": 1, "excerpt": "object.x\n^^^^^^"},
        ),
        (
            "[1][2]",
            {"code": "ExpressionFailed", "message": "line 1, column 1: index out of range", "line": 1, "column": 1,
             "excerpt": "[1][2]\n^^^^^^"},
        ),
        (
            "lists.range(9000000)",
            {"code": "LimitExceeded",
             "message": "the expression builds too large a value (bound: policy_cel_max_value_bytes)"},
        ),
    ],
)  # fmt: skip
def test_an_error_is_printed_with_its_place_and_ends_with_2(
    capsys: pytest.CaptureFixture[str], expression: str, error: dict[str, Any]
) -> None:
    assert answered(capsys, expression) == (2, {"error": error})


def test_people_get_a_table_or_a_message_with_a_caret(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["policy", "eval", "['é'].map(x, x + 'a')"]) == 0
    assert capsys.readouterr().out == 'TYPE  VALUE\nlist  ["éa"]\n'
    assert run(["policy", "eval", "true &&\n  1 + 'a'"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == "assay: TypeMismatch: line 2, column 5: there is no int + string\n    1 + 'a'\n      ^\n"


def test_a_bound_is_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    status, answer = answered(capsys, "[1, 2, 3].all(x, x > 0)", "--policy-cel-steps", "5")
    assert (status, answer["error"]["code"]) == (2, "LimitExceeded")


@pytest.mark.parametrize("content", ["[1]", "{", "a-b: 1", "1: 2"])
def test_an_input_that_holds_no_names_is_an_error(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str
) -> None:
    file = tmp_path / "input"
    file.write_text(content)
    status, answer = answered(capsys, "1", "--input", str(file))
    assert (status, answer["error"]["code"]) == (2, "InputMalformed")


@pytest.mark.guarantee(12)
@pytest.mark.parametrize("content", ['{"token": s3cr3t}', "a: 1\ntoken: [s3cr3t", "token: 's3cr3t", "token: s3cr3t: x"])
def test_what_cannot_be_read_is_not_quoted(capsys: pytest.CaptureFixture[str], tmp_path: Path, content: str) -> None:
    file = tmp_path / "input"
    file.write_text(content)
    status, answer = answered(capsys, "1", "--input", str(file))
    assert (status, answer["error"]["code"]) == (2, "InputMalformed")
    assert "s3cr3t" not in repr(answer)
    assert ", line " in answer["error"]["message"]


def test_each_part_is_shown_with_its_value_or_why_it_has_none(capsys: pytest.CaptureFixture[str], given: str) -> None:
    expression = "object.metadata.name == 'web' && object.ports[5] == 1"
    status, answer = answered(capsys, expression, "--input", given, "--parts")
    assert status == 2
    parts = {part["text"]: part.get("value", part.get("error")) for part in answer["parts"]}
    assert parts["object.metadata.name"] == "web"
    assert parts["object.metadata.name == 'web'"] is True
    assert parts["object.ports[5]"] == "index out of range"
    assert run(["policy", "eval", "1 + 2 > 2", "--parts"]) == 0
    assert capsys.readouterr().out == "TYPE  VALUE\nbool  true\n\nPART       VALUE\n1 + 2 > 2  true\n1 + 2      3\n"
