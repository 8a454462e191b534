"""`--update` changes expectations and nothing else in a file."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import InputError
from controller.model.decision import Verdict
from controller.policy.casefiles import CaseLoader
from controller.policy.cases import Expectation, Expected, ExpectedEvaluation, ExpectedReason, parse_cases
from controller.policy.rewriting import as_value, with_expectations

NEW = Expectation(
    Verdict.DENY,
    (
        ExpectedEvaluation(
            "p", Expected.VIOLATED, reasons=(ExpectedReason("RuleViolated", "validations[0]", "it's: ü"),)
        ),
    ),
    ("warned",),
)


def load(text: str) -> Any:
    """The one document of a text."""
    (document,) = yaml.load_all(text, CaseLoader)
    return document


HEAD = "# ü head\napiVersion: assay.dev/v1alpha1\nkind: PolicyTest\npolicies: [a]   # which\ncases:\n"


@pytest.mark.parametrize(
    ("case", "kept"),
    [
        ("- name: one\n  image: a/b:1 # why\n  expect:\n    verdict: Allow\n\n# next\n", ["# why", "\n\n# next\n"]),
        ("- name: one\n  expect:\n    # gone\n    verdict: Allow\n  image: a/b:1\n", ["\n  image: a/b:1\n"]),
        ("- name: one\n  image: a/b:1\n  expect: {verdict: Allow}  # kept\n", ["  # kept\n"]),
        ("- {name: one, expect: {verdict: Allow}, image: a/b:1}\n", [", image: a/b:1}"]),
        ("- {name: one, image: a/b:1}\n", ["- {name: one, image: a/b:1, "]),
        ("- name: one\n  image: a/b:1\n", ["- name: one\n  image: a/b:1\n"]),
        ("- name: one\n  image: a/b:1\n  expect:\n", ["  image: a/b:1\n"]),
        ("- name: one\n  image: a/b:1\n  expect:\n    verdict: Allow\n    warnings: []\n", ["  image: a/b:1\n"]),
        ("  - name: one\n    image: a/b:1\n    expect:\n        verdict: Allow\n", ["\n    image: a/b:1\n"]),
    ],
)  # fmt: skip
def test_an_expectation_is_replaced_in_its_place(case: str, kept: list[str]) -> None:
    text = HEAD + case + "- {name: two, image: c/d:1, expect: {verdict: Deny}} # two\n" * (not case.startswith("  "))
    made = with_expectations(text, {(1, 0): NEW}, where="x")
    assert made.startswith(HEAD)
    assert all(part in made for part in kept)
    assert made.endswith("# two\n") or case.startswith("  ")
    parsed = parse_cases(load(made), where="x")
    assert parsed[0].expect == NEW


def test_a_file_keeps_its_line_endings() -> None:
    text = (HEAD + "- name: one\n  image: a/b:1\n  expect:\n    verdict: Allow\n").replace("\n", "\r\n")
    made = with_expectations(text, {(1, 0): NEW}, where="x")
    assert made.count("\n") == made.count("\r\n") > text.count("\n")
    assert parse_cases(load(made), where="x")[0].expect == NEW


def test_each_document_of_a_file_is_its_own() -> None:
    one = HEAD + "- {name: one, image: a/b:1, expect: {verdict: Allow}}\n"
    made = with_expectations(f"{one}---\n{one}", {(2, 0): NEW}, where="x")
    assert made.startswith(f"{one}---\n")
    assert parse_cases(list(yaml.load_all(made, CaseLoader))[1], where="x")[0].expect == NEW


@pytest.mark.parametrize(
    "cases",
    [
        "- {name: one, image: a/b:1, expect: &e {verdict: Allow}}\n- {name: two, image: a/b:1, expect: *e}\n",
        (
            "- {name: one, image: a/b:1, expect: {evaluations: &e [{policy: p, outcome: Error}]}}\n"
            "- {name: two, image: a/b:1, expect: {evaluations: *e}}\n"
        ),
    ],
)
def test_what_is_shared_by_an_anchor_is_refused_and_not_broken(cases: str) -> None:
    for index in (0, 1):
        with pytest.raises(InputError, match="UpdateRefused"):
            with_expectations(HEAD + cases, {(1, index): NEW}, where="x")


printable = st.characters(
    codec="utf-8", exclude_characters="\x7f\x85\u2028\u2029\ufeff", exclude_categories=("Cs", "Cc", "Co", "Cn")
)
texts = st.text(printable, min_size=1, max_size=8)
entries = st.builds(
    ExpectedEvaluation,
    policy=texts,
    outcome=st.sampled_from(Expected),
    image=texts,
    reasons=st.none() | st.lists(st.builds(ExpectedReason, texts, texts, texts), max_size=2).map(tuple),
)
expectations = st.builds(Expectation, st.sampled_from(Verdict), st.lists(entries, max_size=2).map(tuple), st.none())


@given(st.lists(expectations, min_size=1, max_size=3), st.integers(0, 2), expectations, st.booleans())
def test_only_the_expectation_changes_whatever_stands_in_the_file(
    old: list[Expectation], index: int, new: Expectation, flow: bool
) -> None:
    index %= len(old)
    document: dict[str, Any] = {
        "apiVersion": "assay.dev/v1alpha1",
        "cases": [{"name": str(i), "expect": as_value(expectation), "image": "x"} for i, expectation in enumerate(old)],
    }
    text = yaml.safe_dump(document, default_flow_style=flow, allow_unicode=True, sort_keys=False)
    made = load(with_expectations(text, {(1, index): new}, where="x"))
    document["cases"][index]["expect"] = as_value(new)
    assert made == load(yaml.safe_dump(document))
