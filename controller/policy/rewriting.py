"""Puts new expectations into the text of a policy test, and touches nothing else. Pure: text in, text out.

Only the value of `expect` is replaced, by its place in the text: comments, order and quoting around it stay as they
are; comments inside of it go. What comes out is read again, and must be the old document but for the new expectations.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from controller.errors import InputError
from controller.policy.casefiles import CaseLoader
from controller.policy.cases import Expectation, ExpectedEvaluation, ExpectedReason

_EXPECT = "expect"
_SHARING = (yaml.AnchorToken, yaml.AliasToken)


def with_expectations(text: str, new: Mapping[tuple[int, int], Expectation], *, where: str) -> str:
    """The text of a file with new expectations, by number of document (from 1) and index of case.

    Raises `InputError` (`UpdateRefused`) where the text cannot be changed without changing more: anchors and aliases in
    an expectation, tabs, or a case written in a way that hides where it ends.
    """
    documents = list(yaml.compose_all(text, CaseLoader))
    wanted = list(yaml.load_all(text, CaseLoader))
    shared = [t.start_mark.index for t in yaml.scan(text, CaseLoader) if isinstance(t, _SHARING)]
    edits: list[tuple[int, int, str]] = []
    for (number, index), expectation in new.items():
        case = _value(_value(documents[number - 1], "cases"), index)
        value = as_value(expectation)
        wanted[number - 1]["cases"][index][_EXPECT] = value
        edits.append(_edit(text, case, value, shared, f"{where}, document {number}, cases[{index}]"))
    newline = "\r\n" if "\r\n" in text else "\n"
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement.replace("\n", newline) + text[end:]
    try:
        made = list(yaml.load_all(text, CaseLoader))
    except yaml.YAMLError:
        made = []
    if made != wanted:
        raise InputError(
            "UpdateRefused", f"{where}: writing the expectations would change more than them; do it by hand"
        )
    return text


def _value(node: Any, key: str | int) -> Any:
    if isinstance(key, int):
        return node.value[key]
    return next(value for name, value in node.value if name.value == key)


def _edit(text: str, case: Any, value: dict[str, Any], shared: list[int], where: str) -> tuple[int, int, str]:
    """From where to where in the text, and what comes there."""
    for name, old in case.value:
        if name.value == _EXPECT:
            start, end = old.start_mark.index, _end(old)
            if start < name.end_mark.index or any(name.end_mark.index <= place < end for place in shared):
                raise InputError("UpdateRefused", f"{where}: expect is shared by an anchor; write it by hand")
            if case.flow_style or not isinstance(old, yaml.MappingNode) or old.flow_style:
                if isinstance(old, yaml.ScalarNode) and not old.value:  # its mark is that of what comes next
                    start = end = text.index(":", name.end_mark.index) + 1
                return start, end, (" " if text[start - 1] == ":" else "") + _flow(value)
            return start, end, _block(value, old.start_mark.column)
    if case.flow_style:
        start = case.end_mark.index - 1
        return start, start, f", {_EXPECT}: {_flow(value)}"
    end, column = _end(case), case.start_mark.column
    indent = " " * column
    return end, end, f"\n{indent}{_EXPECT}:\n{indent}  {_block(value, column + 2)}"


def _end(node: Any) -> int:
    """Where the node's own text ends: the end mark of a block runs on to the next token, over comments and blanks."""
    while not node.flow_style if isinstance(node, yaml.CollectionNode) else False:
        if not node.value:
            break
        last = node.value[-1]
        node = last[1] if isinstance(last, tuple) else last
    end: int = node.end_mark.index
    return end


def _flow(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _block(value: Any, column: int) -> str:
    lines = yaml.safe_dump(value, sort_keys=False, width=10_000, allow_unicode=True).rstrip("\n").split("\n")
    return f"\n{' ' * column}".join(lines)


def as_value(expectation: Expectation) -> dict[str, Any]:
    """The expectation as its format has it."""
    value: dict[str, Any] = {}
    if expectation.verdict is not None:
        value["verdict"] = str(expectation.verdict)
    if expectation.evaluations is not None:
        value["evaluations"] = [_evaluation(entry) for entry in expectation.evaluations]
    if expectation.warnings is not None:
        value["warnings"] = list(expectation.warnings)
    return value


def _evaluation(entry: ExpectedEvaluation) -> dict[str, Any]:
    value: dict[str, Any] = {"policy": entry.policy}
    for name in ("image", "container", "platform"):
        if getattr(entry, name):
            value[name] = getattr(entry, name)
    value["outcome"] = str(entry.outcome)
    if entry.reasons is not None:
        value["reasons"] = [_reason(reason) for reason in entry.reasons]
    return value


def _reason(reason: ExpectedReason) -> dict[str, str]:
    found = {"code": reason.code, "rule": reason.rule, "message": reason.message}
    return {name: text for name, text in found.items() if text}
