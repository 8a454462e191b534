"""A list as CSV and as JSONL: what a spreadsheet and a program make of it."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime

import pytest

from controller.reading import wire
from controller.reading.wire.base import Moment, Shown
from controller.reading.wire.rows import Form, Rows


class Inner(Shown):
    name: str
    hash: str


class Item(Shown):
    some_text: str
    count: int
    ratio: float
    flag: bool
    at: Moment
    codes: list[str]
    parts: list[Inner]
    policy: Inner
    other: Inner | None
    absent: str | None


class Items(Shown):
    items: list[Item]
    cursor: str | None


def item(**changes: object) -> Item:
    values: dict[str, object] = {
        "some_text": "plain",
        "count": -3,
        "ratio": -0.5,
        "flag": True,
        "at": datetime(2026, 11, 22, 11, tzinfo=UTC),
        "codes": ["A", "B"],
        "parts": [Inner(name="n", hash="h")],
        "policy": Inner(name="p", hash="q"),
        "other": None,
        "absent": None,
    }
    return Item.model_validate(values | changes)


def read(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode(), newline="")))


def test_csv_has_a_column_for_each_flat_value_and_a_header() -> None:
    rows = Rows(Items, Form.CSV)
    header, line = read(rows.head() + rows.items([item()]))
    assert dict(zip(header, line, strict=True)) == {
        "someText": "plain",
        "count": "-3",
        "ratio": "-0.5",
        "flag": "true",
        "at": "2026-11-22T11:00:00.000000Z",
        "codes": "A; B",
        "parts": '[{"name":"n","hash":"h"}]',
        "policy.name": "p",
        "policy.hash": "q",
        "other.name": "",
        "other.hash": "",
        "absent": "",
    }
    assert rows.head().endswith(b"\r\n")


@pytest.mark.parametrize("text", ['a "quoted" one', "two\r\nlines", "a,b", "déjà \U0001f980", " padded ", "a\0b"])
def test_any_text_comes_out_of_csv_as_it_went_in(text: str) -> None:
    rows = Rows(Items, Form.CSV)
    (line,) = read(rows.items([item(some_text=text)]))
    assert line[0] == text


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=cmd|' /C calc'!A0"])
def test_no_text_is_a_formula_to_a_spreadsheet(text: str) -> None:
    rows = Rows(Items, Form.CSV)
    (line,) = read(rows.items([item(some_text=text, codes=[text], policy=Inner(name=text, hash=""))]))
    header = read(rows.head())[0]
    for column in ("someText", "codes", "policy.name"):
        assert line[header.index(column)] == f"'{text}"


def test_jsonl_is_the_record_of_the_interface_a_line() -> None:
    rows = Rows(Items, Form.JSONL)
    content = rows.head() + rows.items([item(some_text="two\nlines"), item(some_text="=1+1")])
    lines = content.split(b"\n")
    assert lines[-1] == b""
    assert [json.loads(line)["someText"] for line in lines[:-1]] == ["two\nlines", "=1+1"]
    assert json.loads(lines[0]) == item(some_text="two\nlines").model_dump(mode="json", by_alias=True)


@pytest.mark.parametrize("page", [wire.DecisionPage, wire.RunPage, wire.ExceptionPage])
def test_every_list_has_a_header_without_a_name_twice(page: type[Shown]) -> None:
    (header,) = read(Rows(page, Form.CSV).head())
    assert len(header) == len(set(header)) > 5
