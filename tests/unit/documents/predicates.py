"""The documents of `tests/fixtures/documents`, and reading one as the verifier would hand it over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from controller import documents
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
