"""The words of `attestations[].type` and the predicate type URIs that they stand for.

A requirement asks for a *meaning* (an SBOM), producers write URIs, with and without versions.
"""

from __future__ import annotations

from collections.abc import Mapping

from controller.documents import types
from controller.documents.types import is_of_type

# Each word with its URIs; a URI also stands for itself followed by a version (`…/v2.3`, `…/1.6`).
NAMED_TYPES: dict[str, tuple[str, ...]] = {
    "SBOM": (types.SPDX, types.CYCLONEDX, types.CYCLONEDX_LEGACY),
    "SPDX": (types.SPDX,),
    "CycloneDX": (types.CYCLONEDX, types.CYCLONEDX_LEGACY),
    "SLSAProvenance": (types.SLSA_PROVENANCE,),
    "Vulnerability": (types.COSIGN_VULN, types.COSIGN_VULN_LEGACY, types.IN_TOTO_VULNS),
    "OpenVEX": (types.OPENVEX,),
    "VSA": (types.VSA,),
}


# The names under which expressions read documents, with the URIs of their types.
READ_AS: Mapping[str, tuple[str, ...]] = {
    "sboms": NAMED_TYPES["SBOM"],
    "provenances": NAMED_TYPES["SLSAProvenance"],
    "vulnerabilities": (*NAMED_TYPES["Vulnerability"], types.SARIF),
    "vex": NAMED_TYPES["OpenVEX"],
}


def read_as(wanted: str) -> str | None:
    """The name under which expressions read documents of this type, whether it is a word or a URI; None for none."""
    uris = NAMED_TYPES.get(wanted, (wanted,))
    for name, known in READ_AS.items():
        if all(any(is_of_type(uri, base) for base in known) for uri in uris):
            return name
    return None


def type_matches(wanted: str, predicate_type: str) -> bool:
    """Whether a statement's predicate type is what a requirement asks for.

    For a word of the API: one of its URIs, alone or followed by `/` and a version. For a URI: exactly that one.
    """
    uris = NAMED_TYPES.get(wanted)
    if uris is None:
        return predicate_type == wanted
    return any(is_of_type(predicate_type, uri) for uri in uris)
