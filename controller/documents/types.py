"""The predicate types whose documents Assay reads, under the URIs that producers write.

A URI stands for itself and for itself followed by a version (`https://spdx.dev/Document/v2.3`).
"""

from __future__ import annotations

import re

SPDX = "https://spdx.dev/Document"  # https://github.com/in-toto/attestation/blob/main/spec/predicates/spdx.md
CYCLONEDX = "https://cyclonedx.org/bom"  # https://github.com/in-toto/attestation/blob/main/spec/predicates/cyclonedx.md

_VERSION = re.compile(r"/v?[0-9]+(?:\.[0-9]+)*")


def is_of_type(predicate_type: str, uri: str) -> bool:
    """Whether a predicate type is this URI, alone or followed by `/` and a version."""
    return predicate_type.startswith(uri) and (
        len(predicate_type) == len(uri) or _VERSION.fullmatch(predicate_type, len(uri)) is not None
    )


def is_sbom(predicate_type: str) -> bool:
    """Whether the predicate type says that the predicate is a software bill of materials that Assay reads."""
    return is_of_type(predicate_type, SPDX) or is_of_type(predicate_type, CYCLONEDX)
