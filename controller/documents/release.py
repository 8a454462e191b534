"""Release attestations 0.1 and 0.2, which GitHub writes for its immutable releases.

https://github.com/in-toto/attestation/blob/main/spec/predicates/release.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controller.documents import purls
from controller.documents.reading import purl, required, text
from controller.documents.unwrap import malformed
from controller.model.documents import Release
from controller.settings import DocumentSettings


def parse(document: Mapping[str, Any], _limits: DocumentSettings) -> Release:
    """Read a release: one name and version. Raises `Unacceptable` (`DocumentMalformed`)."""
    where = "the document"
    canonical = purl(required(document, "purl", where), where)
    if not purls.parse(canonical).version:
        raise malformed("the release's package URL has no version")
    return Release(
        purl=canonical,
        package_id=text(document, "packageId", where) or text(document, "releaseId", where),  # 0.2, 0.1
        repository=text(document, "repository", where),
        tag=text(document, "tag", where),
    )
