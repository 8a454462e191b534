"""An exception from policies: what does not bind which image, where, why, by whom and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from controller.model.reference import Digest

PolicyName = tuple[str, str, str]
"""Kind, namespace (empty for a ClusterEvidencePolicy) and name: which policy, whatever its version."""


@dataclass(frozen=True, slots=True)
class EvidenceException:
    """One EvidenceException, well-formed. Whether it is in force at some time is `controller.policy.exceptions.fault`.

    It is about an image that one of `images` (patterns, as in `match.images`) or one of `digests` names, in one of
    `namespaces` (none: in all). `approver` approved it at `approved_at`; `claimed` says that nobody checked that, since
    it was read from a file. `hash` is the SHA-256 of the canonical spec (RFC 8785), approval included.
    """

    name: str
    hash: str
    policies: tuple[PolicyName, ...]
    images: tuple[str, ...]
    digests: tuple[Digest, ...]
    namespaces: tuple[str, ...]
    reason: str
    approver: str
    approved_at: datetime | None
    expires: datetime
    break_glass: bool = False
    claimed: bool = False
    generation: int = 0
