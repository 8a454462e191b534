"""The predicate types whose documents Assay reads, under the URIs that producers write.

A URI stands for itself and for itself followed by a version (`https://spdx.dev/Document/v2.3`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

SPDX = "https://spdx.dev/Document"  # https://github.com/in-toto/attestation/blob/main/spec/predicates/spdx2.md
CYCLONEDX = "https://cyclonedx.org/bom"  # https://github.com/in-toto/attestation/blob/main/spec/predicates/cyclonedx.md
CYCLONEDX_LEGACY = "https://cyclonedx.org/schema"  # until 2022: https://github.com/in-toto/in-toto-golang/issues/187
SLSA_PROVENANCE = "https://slsa.dev/provenance"  # https://slsa.dev/spec/v1.0/provenance
COSIGN_VULN = "https://cosign.sigstore.dev/attestation/vuln"  # cosign's specs/COSIGN_VULN_ATTESTATION_SPEC.md
COSIGN_VULN_LEGACY = "cosign.sigstore.dev/attestation/vuln"  # cosign 1, before predicate types had to be URIs
IN_TOTO_VULNS = "https://in-toto.io/attestation/vulns"  # in-toto's spec/predicates/vulns_02.md
SARIF = "http://docs.oasis-open.org/sarif/sarif"  # valint's; no URI is registered
OPENVEX = "https://openvex.dev/ns"  # https://github.com/openvex/spec/blob/main/ATTESTING.md
VSA = "https://slsa.dev/verification_summary"  # https://slsa.dev/spec/v1.0/verification_summary
SCAI = "https://in-toto.io/attestation/scai"  # in-toto's spec/predicates/scai.md
SCAI_LEGACY = "https://in-toto.io/attestation/scai/attribute-report"  # until SCAI v0.2
RELEASE = "https://in-toto.io/attestation/release"  # in-toto's spec/predicates/release.md; GitHub's immutable releases
TEST_RESULT = "https://in-toto.io/attestation/test-result"  # in-toto's spec/predicates/test-result.md

SBOMS = (SPDX, CYCLONEDX, CYCLONEDX_LEGACY)
SCANS = (COSIGN_VULN, COSIGN_VULN_LEGACY, IN_TOTO_VULNS, SARIF)
_VERSION = re.compile(r"/v?([0-9]+(?:\.[0-9]+)*)")


def version_of(predicate_type: str, uri: str) -> str | None:
    """The version that follows this URI in a predicate type: `2.3`, empty for the URI alone, None for another type."""
    if not predicate_type.startswith(uri):
        return None
    if len(predicate_type) == len(uri):
        return ""
    version = _VERSION.fullmatch(predicate_type, len(uri))
    return version[1] if version else None


def is_of_type(predicate_type: str, uri: str) -> bool:
    """Whether a predicate type is this URI, alone or followed by `/` and a version."""
    return version_of(predicate_type, uri) is not None


def is_sbom(predicate_type: str) -> bool:
    """Whether the predicate type says that the predicate is a software bill of materials that Assay reads."""
    return any(is_of_type(predicate_type, uri) for uri in SBOMS)


def claims(predicate_type: str, uris: Iterable[str]) -> bool:
    """Whether a predicate type is one of these URIs or begins as their versions do, known or not: what even a document
    says that cannot be read."""
    return any(predicate_type == uri or predicate_type.startswith(f"{uri}/") for uri in uris)
