"""SARIF 2.1.0, the form in which code scanning takes findings.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html, and what GitHub asks for besides:
https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from controller import __version__
from controller.policy.lint import Severity
from controller.policy.sources import Located

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
FINGERPRINT = "assayFinding/v1"
_IN_EXPRESSION = re.compile(r"^line \d+, column \d+: ")
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def log(findings: Sequence[Located]) -> dict[str, Any]:
    """A log of one run. Paths are relative to the working directory where they lie below it, as code scanning asks."""
    codes = sorted({located.finding.code for located in findings})
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "assay",
                        "semanticVersion": __version__,
                        "rules": [_rule(code) for code in codes],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [_result(located, codes.index(located.finding.code)) for located in findings],
            }
        ],
    }


def _rule(code: str) -> dict[str, Any]:
    return {"id": code, "shortDescription": {"text": _WORDS.sub(" ", code).capitalize()}}


def _result(located: Located, rule: int) -> dict[str, Any]:
    finding = located.finding
    location: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": _uri(located.path)},
            "region": {"startLine": located.place.line, "startColumn": located.place.column},
        }
    }
    if finding.subject.kind:
        location["logicalLocations"] = [{"fullyQualifiedName": f"{finding.subject} {finding.field}".strip()}]
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": "error" if finding.severity is Severity.ERROR else "warning",
        "message": {"text": f"{finding.text}\n{finding.excerpt}".strip()},
        "locations": [location],
        "partialFingerprints": {FINGERPRINT: _fingerprint(located)},
    }


def _fingerprint(located: Located) -> str:
    """The same for one finding as long as it is there, wherever it moves to in its file."""
    finding = located.finding
    said = _IN_EXPRESSION.sub("", finding.message)
    return sha256("\n".join((finding.code, str(finding.subject), finding.field, said)).encode()).hexdigest()


def _uri(path: Path) -> str:
    absolute = path.resolve()
    try:
        return quote(absolute.relative_to(Path.cwd()).as_posix())
    except ValueError:
        return absolute.as_uri()
