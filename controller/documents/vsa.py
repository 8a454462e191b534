"""SLSA verification summaries 1.0 (https://slsa.dev/spec/v1.0/verification_summary)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from controller.documents.reading import (
    child,
    required,
    required_child,
    resource,
    resources,
    text,
    texts,
    time_of,
)
from controller.documents.unwrap import malformed
from controller.model.documents import VerificationSummary
from controller.settings import DocumentSettings

Node = Mapping[str, Any]

_COUNT = re.compile(r"[0-9]{1,20}")  # 64 bits
_RESULTS = {"PASSED": True, "FAILED": False}


def parse(document: Node, limits: DocumentSettings) -> VerificationSummary:
    """Read a summary. Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`."""
    result = _RESULTS.get(required(document, "verificationResult", "the document"))
    if result is None:
        raise malformed("verificationResult is neither PASSED nor FAILED")
    return VerificationSummary(
        verifier=required(required_child(document, "verifier", "the document"), "id", "verifier"),
        verified_at=time_of(document, "timeVerified", "the document"),
        resource_uri=required(document, "resourceUri", "the document"),
        policy=resource(required_child(document, "policy", "the document"), "policy"),
        inputs=resources(document, "inputAttestations", "the document", limits.document_max_components),
        passed=result,
        levels=texts(document, "verifiedLevels", "the document"),
        dependency_levels=_counts(child(document, "dependencyLevels", "the document")),
        slsa_version=text(document, "slsaVersion", "the document"),
    )


def _counts(levels: Node) -> tuple[tuple[str, int], ...]:
    """How many dependencies have each level. Protocol buffers write 64-bit numbers as strings."""
    found = []
    for level, written in levels.items():
        value = int(written) if isinstance(written, str) and _COUNT.fullmatch(written) else written
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise malformed("dependencyLevels is no map of counts")
        found.append((level, value))
    return tuple(sorted(found))
