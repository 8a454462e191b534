"""From a field's path to its line and column, in every way in which YAML writes a text."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.policy.places import Place, duplicate_keys, place_of

FILE = """\
# a policy
spec:
  match:
    images: [a, b]
  labels: {kubernetes.io/name: x, "kubernetes.io": y}
  validations:
  - expression: |
      one
        two three

      four
    message: >-
      aa bb
      cc dd

      ee
  - expression: 'it''s here'
    message: "a\\tb\\u0041c"
    reason: plain words
      go on here
  - expression: |2
        deeper
last: |-
  ab
  cd"""
ROOT, LINES = yaml.compose(FILE), FILE.splitlines()


def at(field: str, message: str = "") -> str:
    """What the file has at the place of the field."""
    place = place_of(ROOT, field, message, LINES)
    return LINES[place.line - 1][place.column - 1 :]


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("spec.match.images[1]", "b]"),
        ("spec.match.images", "images: [a, b]"),
        ("spec.labels.kubernetes.io/name", "kubernetes.io/name: x, "),
        ("spec.labels.kubernetes.io", '"kubernetes.io": y}'),
        ("spec.validations[1].reason", "reason: plain words"),
        ("spec.validations[1]", "expression: 'it''s here'"),
        ("spec.validations[7]", "validations:"),
        ("spec.match.imagse", "match:"),
        ("spec.match.images[0].more", "a, b]"),
        ("metadata.name", "spec:"),
        ("", "spec:"),
    ],
)
def test_a_field_is_where_its_key_is_and_one_that_is_not_there_where_it_would_be(field: str, shown: str) -> None:
    assert at(field).startswith(shown)


@pytest.mark.parametrize(
    ("field", "line", "column", "shown"),
    [
        ("spec.validations[0].expression", 1, 1, "one"),
        ("spec.validations[0].expression", 2, 3, "two three"),
        ("spec.validations[0].expression", 4, 1, "four"),
        ("spec.validations[0].message", 1, 4, "bb"),
        ("spec.validations[0].message", 1, 7, "cc dd"),
        ("spec.validations[0].message", 2, 1, "ee"),
        ("spec.validations[1].expression", 1, 6, "here'"),
        ("spec.validations[1].message", 1, 5, 'c"'),
        ("spec.validations[1].reason", 1, 13, "go on here"),
        ("spec.validations[2].expression", 1, 3, "deeper"),
        ("last", 2, 2, "d"),
    ],
)
def test_a_place_in_an_expression_is_found_in_the_file_however_it_is_written(
    field: str, line: int, column: int, shown: str
) -> None:
    assert at(field, f"line {line}, column {column}: is wrong") == shown


def test_a_place_that_is_not_in_the_text_is_that_of_the_field() -> None:
    assert at("spec.validations[0].expression", "line 99, column 1: is wrong").startswith("expression: |")


@settings(deadline=None)
@given(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")) | st.sampled_from("\n '\"\\"), max_size=60),
    st.sampled_from(["'", '"', "|", ">", ""]),
    st.integers(1, 5),
    st.integers(1, 60),
)
def test_no_text_and_no_place_in_it_is_too_odd_to_be_looked_for(text: str, style: str, line: int, column: int) -> None:
    file = yaml.dump({"a": {"b": text}}, default_style=style, allow_unicode=True, width=20)  # type: ignore[arg-type]
    lines = file.splitlines()
    place = place_of(yaml.compose(file), "a.b", f"line {line}, column {column}: x", lines)
    assert place.line <= len(lines) + 1
    rows = text.split("\n")
    inside = line <= len(rows) and column <= len(rows[line - 1])
    if style == "|" and inside and file.splitlines()[1].endswith(("|", "|-", "|+")):
        assert lines[place.line - 1][place.column - 1] == rows[line - 1][column - 1]


def test_a_key_that_stands_twice_is_found_wherever_it_is() -> None:
    file = "a: {b: 1, b: 2}\nc: [{d: 1}, {d: 1, e: 1, d: 3}]\nf: &x {g: 1}\nh: *x\n"
    assert list(duplicate_keys(yaml.compose(file))) == [("d", Place(2, 26)), ("b", Place(1, 11))]
