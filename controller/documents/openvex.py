"""OpenVEX 0.0.1 to 0.2.0 (https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md).

A statement can excuse a vulnerability, so what the specification demands of one is demanded here: a status that it
knows, a vulnerability, and for `not_affected` a reason. What identifies no product excuses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from controller.documents.reading import (
    check_count,
    child,
    digests,
    objects,
    purl,
    required,
    required_objects,
    text,
    texts,
    time_of,
)
from controller.documents.unwrap import malformed
from controller.model.documents import Vex, VexProduct, VexStatement, VexStatus
from controller.settings import DocumentSettings

Node = Mapping[str, Any]

_CONTEXT = "https://openvex.dev/ns"
_JUSTIFICATIONS = frozenset(
    {
        "component_not_present",
        "vulnerable_code_not_present",
        "vulnerable_code_not_in_execute_path",
        "vulnerable_code_cannot_be_controlled_by_adversary",
        "inline_mitigations_already_exist",
    }
)


def parse(document: Node, limits: DocumentSettings) -> Vex:
    """Read a document. Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`."""
    if not text(document, "@context", "the document").startswith(_CONTEXT):
        raise malformed("@context is not OpenVEX's, so it is no OpenVEX document")
    statements = required_objects(document, "statements", "the document")
    count = len(statements)
    for statement in statements:
        count += _size(statement)
        check_count(count, limits.document_max_components)
    timestamp = time_of(document, "timestamp", "the document")
    return Vex(
        id=text(document, "@id", "the document"),
        author=text(document, "author", "the document"),
        timestamp=timestamp,
        statements=tuple(_statement(s, timestamp, f"statements[{i}]") for i, s in enumerate(statements)),
    )


def _size(statement: Node) -> int:
    """How many products and subcomponents it lists, before any of them is read."""
    products = statement.get("products")
    listed = products if isinstance(products, list) else []
    inner = [product.get("subcomponents") for product in (statement, *listed) if isinstance(product, Mapping)]
    return len(listed) + sum(len(components) for components in inner if isinstance(components, list))


def _statement(statement: Node, inherited: datetime | None, where: str) -> VexStatement:
    vulnerability, aliases = _vulnerability(statement, where)
    try:
        status = VexStatus(required(statement, "status", where))
    except ValueError as exc:
        raise malformed(f"{where}.status is none of OpenVEX's") from exc
    justification = text(statement, "justification", where)
    impact = text(statement, "impact_statement", where)
    if justification and justification not in _JUSTIFICATIONS:
        raise malformed(f"{where}.justification is none of OpenVEX's")
    if status is VexStatus.NOT_AFFECTED and not justification and not impact:
        raise malformed(f"{where} says not_affected without a justification or impact_statement")
    return VexStatement(
        vulnerability=vulnerability,
        aliases=aliases,
        products=_products(statement, where),
        status=status,
        justification=justification,
        impact=impact,
        action=text(statement, "action_statement", where),
        timestamp=time_of(statement, "timestamp", where) or inherited,
    )


def _vulnerability(statement: Node, where: str) -> tuple[str, tuple[str, ...]]:
    """Its name and aliases; a bare string until 0.0.1."""
    value = statement.get("vulnerability")
    if isinstance(value, str) and value:
        return value, ()
    described = child(statement, "vulnerability", where)
    name = text(described, "name", where) or text(described, "@id", where)
    if not name:
        raise malformed(f"{where} names no vulnerability")
    return name, texts(described, "aliases", where)


def _products(statement: Node, where: str) -> tuple[VexProduct, ...]:
    """Its products; strings until 0.0.1, with the subcomponents beside them instead of in each."""
    products = statement.get("products")
    if isinstance(products, list) and any(isinstance(product, str) for product in products):
        shared = tuple(_identified(name, where) for name in texts(statement, "subcomponents", where))
        return tuple(_identified(name, where, shared) for name in texts(statement, "products", where))
    return tuple(
        _product(product, f"{where}.products[{i}]") for i, product in enumerate(objects(statement, "products", where))
    )


def _product(product: Node, where: str) -> VexProduct:
    inner = objects(product, "subcomponents", where)
    return _component(product, where, tuple(_component(c, f"{where}.subcomponents[{i}]") for i, c in enumerate(inner)))


def _component(component: Node, where: str, subcomponents: tuple[VexProduct, ...] = ()) -> VexProduct:
    name = text(component, "@id", where)
    identifiers = child(component, "identifiers", where)
    hashes = digests(component, "hashes", where)
    written = text(identifiers, "purl", where) or (name if name.startswith("pkg:") else "")
    if not name and not identifiers and not hashes:
        raise malformed(f"{where} identifies no product")
    return VexProduct(id=name, purl=purl(written, where), digests=hashes, subcomponents=subcomponents)


def _identified(name: str, where: str, subcomponents: tuple[VexProduct, ...] = ()) -> VexProduct:
    return _component({"@id": name}, where, subcomponents)
