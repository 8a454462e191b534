"""What cosign's old signatures say: a small document that names an image by its digest.

https://github.com/containers/image/blob/main/docs/containers-signature.5.md and cosign's SIGNATURE_SPEC. Only bytes
whose signature was verified come here. Of the claims only type and digest decide: `docker-reference` says where the
image was when it was signed, and it may have moved; `optional` is the signer's own and means nothing to Assay.
"""

from __future__ import annotations

from controller.model.reference import Digest
from controller.settings import DocumentSettings
from controller.verification import strict_json
from controller.verification.failures import NotVerified, Unjudged

TYPE = "cosign container image signature"


def check_payload(payload: bytes, *, image: Digest, limits: DocumentSettings) -> None:
    """Return if the payload is a signature about `image`.

    Raises `NotVerified` (`SubjectMismatch`) when it is about something else, `Unjudged` (`PayloadMalformed`,
    `PayloadTypeUnsupported`, `DigestAlgorithmUnsupported`, `JsonMalformed`, `LimitExceeded`).
    """
    value = strict_json.parse(
        payload, what="the signed payload", max_bytes=limits.document_max_bytes, max_depth=limits.document_max_depth
    )
    critical = value.get("critical") if isinstance(value, dict) else None
    named = critical.get("image") if isinstance(critical, dict) else None
    digest = named.get("docker-manifest-digest") if isinstance(named, dict) else None
    if not isinstance(critical, dict) or not isinstance(digest, str):
        raise Unjudged("PayloadMalformed", "the signed payload names no image digest")
    if critical.get("type") != TYPE:
        raise Unjudged("PayloadTypeUnsupported", "the signed payload is something other than cosign's image signature")
    if digest == str(image):
        return
    if digest.startswith("sha256:"):
        raise NotVerified("SubjectMismatch", "its payload is about another digest, not about this image")
    raise Unjudged("DigestAlgorithmUnsupported", "its payload names its image by another algorithm than sha256")
