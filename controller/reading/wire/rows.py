"""Lists as rows: the flat form of any record of the interface, for CSV, and a record a line, for JSONL.

CSV is RFC 4180 in UTF-8 with a header. A column is a field; a field of a record within is `outer.inner`. A list of
texts is joined by `; `, a list of records is JSON. Text that a spreadsheet would take for a formula (it begins with
`=`, `+`, `-`, `@`, a tab or a line break) gets an apostrophe before it, as OWASP advises: whoever named a pod would
else have a program run by whoever reads about it. JSONL changes nothing.
"""

from __future__ import annotations

import csv
import io
import json
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # https://owasp.org/www-community/attacks/CSV_Injection
Path = tuple[str, ...]


class Form(StrEnum):
    """How a whole list is written. NDJSON is JSONL by another name."""

    CSV = "csv"
    JSONL = "jsonl"
    NDJSON = "ndjson"

    @property
    def media_type(self) -> str:
        """As Content-Type."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Form.CSV: "text/csv; charset=utf-8; header=present",
    Form.JSONL: "application/jsonl",
    Form.NDJSON: "application/x-ndjson",
}


class Rows:
    """Writes the items of a kind of page, one after another."""

    def __init__(self, page: type[BaseModel], form: Form) -> None:
        self._form = form
        self._columns = tuple(columns(item_of(page)))

    def head(self) -> bytes:
        """What comes before the first item."""
        return line(".".join(path) for path in self._columns) if self._form is Form.CSV else b""

    def items(self, items: Iterable[BaseModel]) -> bytes:
        """These items."""
        values = (item.model_dump(mode="json", by_alias=True) for item in items)
        if self._form is Form.CSV:
            return b"".join(line(cell(_find(value, path)) for path in self._columns) for value in values)
        return b"".join(map(json_line, values))

    def problem(self, problem: Mapping[str, Any]) -> bytes:
        """What says that the list ends before its end. CSV has no place for it: there the answer breaks off."""
        return b"" if self._form is Form.CSV else json_line({"problem": problem})


def item_of(page: type[BaseModel]) -> type[BaseModel]:
    """The model of the `items` of a page."""
    (item,) = typing.get_args(page.model_fields["items"].annotation)
    assert isinstance(item, type)  # noqa: S101 - a page holds records
    assert issubclass(item, BaseModel)  # noqa: S101
    return item


def columns(model: type[BaseModel]) -> Iterable[Path]:
    """The places of all flat values of a record, in their order."""
    for name, field in model.model_fields.items():
        shown = field.serialization_alias or field.alias or name
        inner = _model_in(field.annotation)
        if inner is None:
            yield (shown,)
        else:
            yield from ((shown, *path) for path in columns(inner))


def cell(value: Any) -> str:
    """One value as a cell."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return _harmless(value)
        case list() if all(isinstance(item, str) for item in value):
            return _harmless("; ".join(value))
        case _:
            return _harmless(_json(value))


def line(cells: Iterable[str]) -> bytes:
    """One line of CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(list(cells))
    return text.getvalue().encode(errors="replace")


def json_line(value: Any) -> bytes:
    """One line of JSONL (https://jsonlines.org)."""
    return _json(value).encode(errors="replace") + b"\n"


def table(headings: Sequence[str], rows: Iterable[Sequence[Any]], form: Form) -> Iterable[bytes]:
    """Rows that have no model, with their headings."""
    if form is Form.CSV:
        yield line(map(_harmless, headings))
        yield from (line(map(cell, row)) for row in rows)
    else:
        yield from (json_line(dict(zip(headings, row, strict=True))) for row in rows)


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _find(value: Any, path: Path) -> Any:
    for name in path:
        value = None if value is None else value[name]
    return value


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that a field holds, alone or as an option; None for a list, or what is no model."""
    options = typing.get_args(annotation) if typing.get_origin(annotation) in {typing.Union, types.UnionType} else ()
    for option in (annotation, *options):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
