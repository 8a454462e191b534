"""Undoes what producers wrap documents in: a JSON string (cosign's `--type spdx`), or old cosign's `Data` field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from controller.errors import LimitExceeded, Unacceptable
from controller.settings import DocumentSettings

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
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates)
    except RecursionError as exc:
        raise LimitExceeded("document_max_depth", "a document is nested too deeply to be read") from exc
    except ValueError as exc:
        raise malformed("the predicate is a string that holds no JSON document") from exc


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object has the same key twice")
    return document


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
