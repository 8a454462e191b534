"""The documents of `tests/fixtures/documents`, and reading one as the verifier would hand it over."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller import documents
from controller.documents import packages, scans
from controller.documents.exploitability import Exploitability, Subject
from controller.errors import Unacceptable
from controller.model.documents import Finding, Provenance, Sbom, Severity, Vex, VulnerabilityReport
from controller.model.reference import Digest
from controller.policy.cel.libraries.vulnerabilities import Vulnerabilities
from controller.policy.cel.meter import Abort
from controller.policy.cel.shown import as_json
from controller.policy.cel.values import to_cel
from controller.settings import DocumentSettings

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "documents"
PREDICATES = FOLDER.parent / "predicates"


def load(name: str, folder: Path = FOLDER) -> dict[str, Any]:
    """A document of the fixtures, new each time so that a test may change it."""
    document: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return document


def parse(predicate_type: str, predicate: Any, **limits: int) -> Any:
    """What `documents.parse` makes of it, with these bounds."""
    return documents.parse(predicate_type, predicate, DocumentSettings(**limits))


def look_through(document: Any) -> None:
    """Ask a document all that rules may ask, and read every value in it: nothing but an Error of Assay's comes out."""
    subject = Subject(Digest.of(b"image"), "ghcr.io/acme/app")
    with contextlib.suppress(Unacceptable, Abort):
        match document:
            case Sbom():
                packages.index_of(document).find(packages.Query.parse("pkg:maven/org.apache.logging.log4j/log4j-core"))
                packages.licensed_under([document], ["gpl-*"])
                packages.licenses_of([document])
                for element in packages.Element:
                    packages.lacking([document], element)
            case VulnerabilityReport():
                scans.matching([document], scans.Filter.parse({"severity": "HIGH", "fixable": True, "ids": ["x"]}))
                as_json(Vulnerabilities([document]))
            case Vex():
                said = Exploitability([document, document], subject, datetime(2026, 1, 10, tzinfo=UTC))
                for statement in document.statements:
                    for product in statement.products:
                        said.status(statement.vulnerability, product.purl)
                    said.clears(Finding(statement.vulnerability, Severity.HIGH, aliases=statement.aliases))
        if isinstance(document, Sbom | Provenance | Vex | VulnerabilityReport):
            as_json(to_cel(document))
