"""Test results 0.1 (https://github.com/in-toto/attestation/blob/main/spec/predicates/test-result.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.documents.reading import check_count, required, resources, text, texts
from controller.documents.unwrap import malformed
from controller.model.documents import Outcome, SuiteResult
from controller.settings import DocumentSettings


def parse(document: Mapping[str, Any], limits: DocumentSettings) -> SuiteResult:
    """Read a result. Raises `Unacceptable` (`DocumentMalformed`) and `LimitExceeded`."""
    where = "the document"
    try:
        outcome = Outcome(required(document, "result", where))
    except ValueError as exc:
        raise malformed("result is none of PASSED, WARNED and FAILED") from exc
    passed, warned, failed = (texts(document, name, where) for name in ("passedTests", "warnedTests", "failedTests"))
    check_count(len(passed) + len(warned) + len(failed), limits.document_max_components)
    return SuiteResult(
        outcome=outcome,
        configuration=resources(document, "configuration", where, limits.document_max_components),
        url=text(document, "url", where),
        passed=passed,
        warned=warned,
        failed=failed,
    )
