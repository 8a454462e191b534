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
        version=_version(document),
    )


def _version(document: Node) -> int:
    """The document's own number; vexctl writes it as a number, the specification's older examples as a string."""
    value = document.get("version")
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


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
    """Its products; strings until 0.0.1, with the subcomponents beside them instead of in each.

    Those narrow down every product that has none of its own, and the attestation's subject where no product is named:
    passed over, they would make of a statement about a part one about the whole.
    """
    products = statement.get("products")
    shared = _subcomponents(statement, where)
    if isinstance(products, list) and any(isinstance(product, str) for product in products):
        return tuple(_identified(name, where, shared) for name in texts(statement, "products", where))
    listed = objects(statement, "products", where)
    if not listed:
        return (VexProduct(id="", subcomponents=shared),) if shared else ()
    return tuple(_product(product, shared, f"{where}.products[{i}]") for i, product in enumerate(listed))


def _product(product: Node, shared: tuple[VexProduct, ...], where: str) -> VexProduct:
    return _component(product, where, _subcomponents(product, where) or shared)


def _subcomponents(node: Node, where: str) -> tuple[VexProduct, ...]:
    listed = node.get("subcomponents")
    if isinstance(listed, list) and any(isinstance(component, str) for component in listed):
        return tuple(_identified(name, where) for name in texts(node, "subcomponents", where))
    inner = objects(node, "subcomponents", where)
    return tuple(_component(component, f"{where}.subcomponents[{i}]") for i, component in enumerate(inner))


def _component(component: Node, where: str, subcomponents: tuple[VexProduct, ...] = ()) -> VexProduct:
    name = text(component, "@id", where)
    identifiers = child(component, "identifiers", where)
    hashes = digests(component, "hashes", where)
    written = text(identifiers, "purl", where) or (name if name.startswith("pkg:") else "")
    cpe = text(identifiers, "cpe23", where) or text(identifiers, "cpe22", where)
    if not (name or written or cpe or hashes):
        raise malformed(f"{where} identifies no product")
    # A product without any name would be taken for the attestation's subject.
    return VexProduct(id=name or cpe, purl=purl(written, where), digests=hashes, subcomponents=subcomponents)


def _identified(name: str, where: str, subcomponents: tuple[VexProduct, ...] = ()) -> VexProduct:
    return _component({"@id": name}, where, subcomponents)
