"""The words of `attestations[].type` and the predicate type URIs that they stand for.

A requirement asks for a *meaning* (an SBOM), producers write URIs, with and without versions.
"""

from __future__ import annotations

_SPDX = ("https://spdx.dev/Document",)
_CYCLONEDX = ("https://cyclonedx.org/bom",)

# Each word with its URIs; a URI also stands for itself followed by a version (`…/v2.3`, `…/1.6`).
NAMED_TYPES: dict[str, tuple[str, ...]] = {
    "SBOM": _SPDX + _CYCLONEDX,
    "SPDX": _SPDX,  # https://github.com/in-toto/attestation/blob/main/spec/predicates/spdx.md
    "CycloneDX": _CYCLONEDX,  # https://github.com/in-toto/attestation/blob/main/spec/predicates/cyclonedx.md
    "SLSAProvenance": ("https://slsa.dev/provenance",),  # https://slsa.dev/spec/v1.0/provenance
    "Vulnerability": ("https://cosign.sigstore.dev/attestation/vuln", "https://in-toto.io/attestation/vulns"),
    "OpenVEX": ("https://openvex.dev/ns",),  # https://github.com/openvex/spec
    "VSA": ("https://slsa.dev/verification_summary",),  # https://slsa.dev/spec/v1.0/verification_summary
}
NOT_SUPPORTED_TYPES: frozenset[str] = frozenset()
SBOM_TYPES = frozenset({"SBOM", "SPDX", "CycloneDX"})


def type_matches(wanted: str, predicate_type: str) -> bool:
    """Whether a statement's predicate type is what a requirement asks for.

    For a word of the API: one of its URIs, alone or followed by `/` and a version. For a URI: exactly that one.
    """
    uris = NAMED_TYPES.get(wanted)
    if uris is None:
        return predicate_type == wanted
    return any(predicate_type == uri or _is_version(predicate_type, uri) for uri in uris)


def _is_version(predicate_type: str, uri: str) -> bool:
    if not predicate_type.startswith(uri + "/"):
        return False
    version = predicate_type.removeprefix(uri + "/").removeprefix("v")
    return bool(version) and version.replace(".", "").isascii() and version.replace(".", "").isdigit()
