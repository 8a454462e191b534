"""Raw bytes to rows, for every kind of document. Pure, and it raises nothing for what the bytes hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from controller.documents import parse, types
from controller.errors import EvaluationError
from controller.inventory.index import provenance, sboms, statements, vex, vulnerabilities
from controller.inventory.index.contents import MAX_WORDS, Contents, storable
from controller.settings import DocumentSettings

EDITION = 2
"""Of this reader. A document that an earlier one read is read again: raise it when more, or something else, is read."""

SIGNATURE, OTHER = "signature", "other"
_KINDS = (
    *((uri, "sbom") for uri in (types.SPDX, types.CYCLONEDX, types.CYCLONEDX_LEGACY)),
    *((uri, "vulnerabilities") for uri in (types.COSIGN_VULN, types.COSIGN_VULN_LEGACY)),
    *((uri, "vulnerabilities") for uri in (types.IN_TOTO_VULNS, types.SARIF)),
    (types.OPENVEX, "vex"),
    (types.SLSA_PROVENANCE, "provenance"),
)
_CONTENTS: Mapping[str, Callable[[Any], Contents]] = {
    "sbom": sboms.contents,
    "vulnerabilities": vulnerabilities.contents,
    "vex": vex.contents,
    "provenance": provenance.contents,
}
"""What is indexed of a kind; of the others that they are there."""


def kind_of(predicate_type: str) -> str:
    """What sort of document a predicate type promises."""
    return next((kind for uri, kind in _KINDS if types.is_of_type(predicate_type, uri)), OTHER)


def read(content: bytes, limits: DocumentSettings) -> Contents:
    """What an artefact's bytes say. What cannot be read is told by its `problem`, never left out."""
    try:
        statement = statements.find(content, limits)
    except EvaluationError as exc:
        return failed(exc)
    if statement.is_signature:
        return Contents(SIGNATURE)
    kind = kind_of(statement.predicate_type)
    try:
        document = parse(statement.predicate_type, statement.predicate, limits)
    except EvaluationError as exc:
        contents = failed(exc)
    else:
        contents = Contents(kind) if document is None or kind not in _CONTENTS else _CONTENTS[kind](document)
    written = storable(statement.predicate_type)
    return replace(contents, kind=kind, predicate_type=written, subjects=statement.subjects)


def failed(why: EvaluationError) -> Contents:
    """What is put down for a document that cannot be read."""
    return Contents(OTHER, problem=why.code, problem_detail=storable(why.message)[:MAX_WORDS])
