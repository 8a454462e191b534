"""cosign's formats before bundles: `.sig` layers (simple signing) and `.att` layers (DSSE), made with a key.

https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md. Certificates and log entries of this format lie in
annotations and carry no inclusion proof; those are not judged yet, and say so.
"""

from __future__ import annotations

from controller.model.evidence import Artifact
from controller.settings import DocumentSettings
from controller.verification.bundle import Bundle
from controller.verification.failures import Unjudged


def read(artifact: Artifact, *, limits: DocumentSettings) -> Bundle:  # noqa: ARG001 - the readers' common form
    """The artefact as a bundle. Raises `Unjudged` (`LegacyFormatUnsupported`)."""
    raise Unjudged("LegacyFormatUnsupported", "it is in cosign's old format, which is not supported yet")
