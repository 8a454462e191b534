"""Attested documents into one normal form, whatever their producer. Foreign data: every read is typed and bounded."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from controller.documents import (
    cyclonedx,
    openvex,
    release,
    scai,
    slsa,
    spdx,
    spdx3,
    test_result,
    types,
    vsa,
    vulnerabilities,
)
from controller.documents.unwrap import unwrap
from controller.model.documents import Document, Sbom
from controller.settings import DocumentSettings

Parser = Callable[[Mapping[str, Any], DocumentSettings], Document]


def _spdx(document: Mapping[str, Any], limits: DocumentSettings) -> Sbom:
    """SPDX of either major version. The document says which, since many write the URI without or with another one."""
    return spdx3.parse(document, limits) if "@context" in document else spdx.parse(document, limits)


_PARSERS: tuple[tuple[str, str, Parser], ...] = (
    (types.SPDX, r".*", _spdx),
    (types.CYCLONEDX, r".*", cyclonedx.parse),
    (types.CYCLONEDX_LEGACY, r".*", cyclonedx.parse),
    (types.SLSA_PROVENANCE, r"0\.1", slsa.parse_0_1),
    (types.SLSA_PROVENANCE, r"0\.2", slsa.parse_0_2),
    (types.SLSA_PROVENANCE, r"1(\.\d+)?", slsa.parse_1),
    (types.COSIGN_VULN, r"(1(\.\d+)*)?", vulnerabilities.parse),
    (types.COSIGN_VULN_LEGACY, r"(1(\.\d+)*)?", vulnerabilities.parse),
    (types.IN_TOTO_VULNS, r"(0\.[12])?", vulnerabilities.parse),
    (types.SARIF, r"2\.1\.0", vulnerabilities.parse),
    (types.OPENVEX, r".*", openvex.parse),
    (types.VSA, r"1(\.\d+)?", vsa.parse),
    (types.SCAI, r"0\.\d+", scai.parse),
    (types.SCAI_LEGACY, r"0\.\d+", scai.parse),
    (types.RELEASE, r"(0\.\d+)?", release.parse),
    (types.TEST_RESULT, r"(0\.\d+)?", test_result.parse),
)
"""Each type by its URI, the versions in the URI that are read (a regular expression), and who reads it."""


def parse(predicate_type: str, predicate: Any, limits: DocumentSettings) -> Document | None:
    """The normal form of a predicate; None for a type, or a version of it, that Assay has no normal form for.

    Raises `Unacceptable` (`DocumentMalformed`, `DocumentUnsupported`) and `LimitExceeded`.
    """
    for uri, versions, parser in _PARSERS:
        version = types.version_of(predicate_type, uri)
        if version is not None and re.fullmatch(versions, version):
            return parser(unwrap(predicate, limits), limits)
    return None
