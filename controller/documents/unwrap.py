"""Undoes what producers wrap documents in: a JSON string (cosign's `--type spdx`), or old cosign's `Data` field."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Never

from controller.errors import LimitExceeded, Unacceptable
from controller.settings import DocumentSettings

_OTHER_FORMATS = ("SPDXVersion:", "<")  # what `cosign attest --type spdx` was made for, and CycloneDX's other form
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_LEAVES = frozenset({str, int, float, bool, type(None)})  # most of a document; asking an ABC of each is slow


def unwrap(predicate: Any, limits: DocumentSettings) -> Mapping[str, Any]:
    """The document itself, a JSON object no deeper than the limit.

    Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`.
    """
    document = predicate
    if isinstance(document, Mapping) and set(document) <= {"Data", "Timestamp"} and "Data" in document:
        document = document["Data"]
    if isinstance(document, str):
        document = _from_text(document, limits)
    if not isinstance(document, Mapping):
        raise malformed("the predicate is no JSON object")
    _check_depth(document, limits.document_max_depth)
    return document


def malformed(message: str) -> Unacceptable:
    """A document that does not have the form that its type asks for."""
    return Unacceptable("DocumentMalformed", message)


def _from_text(text: str, limits: DocumentSettings) -> Any:
    if len(text) > limits.document_max_bytes:
        raise LimitExceeded("document_max_bytes", f"a document of {len(text)} characters")
    if text.lstrip().startswith(_OTHER_FORMATS):
        raise Unacceptable("DocumentUnsupported", "the document is SPDX tag-value or XML; only JSON is read")
    try:
        document = json.loads(text, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
        if _SURROGATE.search(text):
            json.dumps(document, ensure_ascii=False).encode()
    except RecursionError as exc:
        raise LimitExceeded("document_max_depth", "a document is nested too deeply to be read") from exc
    except ValueError as exc:
        raise malformed("the predicate is a string that holds no JSON document") from exc
    return document


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object has the same key twice")
    return document


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _check_depth(document: Any, limit: int) -> None:
    level: list[Any] = [document]
    for _ in range(limit):
        level = [
            child
            for value in level
            for child in (value.values() if isinstance(value, Mapping) else value)
            if type(child) not in _LEAVES and isinstance(child, Mapping | list)
        ]
        if not level:
            return
    raise LimitExceeded("document_max_depth", "a document is nested too deeply")
