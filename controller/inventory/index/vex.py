"""A VEX document as rows: each statement whole, and the names under which it is looked up."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from controller.inventory.index.contents import Contents, storable, words
from controller.inventory.index.vulnerabilities import MAX_ID
from controller.model.documents import Vex, VexProduct, VexStatement, VexStatus


def contents(vex: Vex) -> Contents:
    """The rows of a VEX document. `name` is its id, `spec_version` its own number."""
    statements = tuple(
        {"number": number, "content": json.dumps(_dumped(statement), ensure_ascii=False)}
        for number, statement in enumerate(vex.statements)
    )
    names = tuple(
        {"name": name, "number": number}
        for number, statement in enumerate(vex.statements)
        for name in dict.fromkeys(looked_up(name) for name in (statement.vulnerability, *statement.aliases))
    )
    return Contents(
        kind="vex",
        format="OpenVEX",
        spec_version=str(vex.version),
        name=words([vex.id]),
        created_at=vex.timestamp,
        author=words([vex.author]),
        listed=len(vex.statements),
        rows=(("vex_statement", statements), ("vex_name", names)),
    )


def looked_up(name: str) -> str:
    """A vulnerability's name as statements are found by it: `documents.exploitability` compares it so."""
    return storable(name.strip().lower())[:MAX_ID]


def statement_of(content: str) -> VexStatement:
    """The statement again, as it was."""
    value = json.loads(content)
    return VexStatement(
        vulnerability=value["vulnerability"],
        aliases=tuple(value["aliases"]),
        products=tuple(map(_product, value["products"])),
        status=VexStatus(value["status"]),
        justification=value["justification"],
        impact=value["impact"],
        action=value["action"],
        timestamp=_moment(value["timestamp"]),
    )


def _dumped(statement: VexStatement) -> dict[str, Any]:
    return {
        "vulnerability": storable(statement.vulnerability),
        "aliases": [storable(alias) for alias in statement.aliases],
        "products": [_dumped_product(product) for product in statement.products],
        "status": str(statement.status),
        "justification": storable(statement.justification),
        "impact": storable(statement.impact),
        "action": storable(statement.action),
        "timestamp": statement.timestamp.isoformat() if statement.timestamp is not None else None,
    }


def _dumped_product(product: VexProduct) -> dict[str, Any]:
    return {
        "id": storable(product.id),
        "purl": storable(product.purl),
        "digests": [[storable(algorithm), storable(value)] for algorithm, value in product.digests],
        "subcomponents": [_dumped_product(inner) for inner in product.subcomponents],
    }


def _product(value: dict[str, Any]) -> VexProduct:
    return VexProduct(
        id=value["id"],
        purl=value["purl"],
        digests=tuple((algorithm, digest) for algorithm, digest in value["digests"]),
        subcomponents=tuple(map(_product, value["subcomponents"])),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text is not None else None
