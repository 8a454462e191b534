"""SCAI attribute reports 0.2 and 0.3 (https://github.com/in-toto/attestation/blob/main/spec/predicates/scai.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.documents.reading import check_count, child, optional_resource, required, required_objects
from controller.documents.unwrap import malformed
from controller.model.documents import Attribute, AttributeReport
from controller.settings import DocumentSettings

Node = Mapping[str, Any]


def parse(document: Node, limits: DocumentSettings) -> AttributeReport:
    """Read a report: at least one attribute. Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`."""
    attributes = required_objects(document, "attributes", "the document")
    check_count(len(attributes), limits.document_max_components)
    if not attributes:
        raise malformed("the report asserts no attribute")
    return AttributeReport(
        attributes=tuple(_attribute(attribute, f"attributes[{i}]") for i, attribute in enumerate(attributes)),
        producer=optional_resource(document, "producer", "the document"),
    )


def _attribute(attribute: Node, where: str) -> Attribute:
    return Attribute(
        name=required(attribute, "attribute", where),
        target=optional_resource(attribute, "target", where),
        conditions=child(attribute, "conditions", where),
        evidence=optional_resource(attribute, "evidence", where),
    )
