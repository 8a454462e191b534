"""That an entry is in a trusted transparency log: the part that all kinds of entries share.

The one place, beside `trust.py` and `keyless.py`, that reaches into sigstore's inner parts: its version is pinned.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore.errors import Error as SigstoreError
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry
from sigstore_models.rekor import v1 as rekor_v1

from controller.verification.failures import NotVerified, Unjudged
from controller.verification.trust import ParsedRoot


def verify_inclusion(raw: Mapping[str, Any], root: ParsedRoot) -> rekor_v1.TransparencyLogEntry:
    """The entry, proven to be in one of the root's logs; what it is *about* is for the caller to check.

    Raises `NotVerified` (`LogEntryInvalid`), `Unjudged` (`LogEntryMalformed`, `InclusionProofUnsupported`).
    """
    if raw.get("inclusionProof") is None:
        raise Unjudged("InclusionProofUnsupported", "its log entry has no inclusion proof, which Assay needs for now")
    try:
        entry = TransparencyLogEntry(rekor_v1.TransparencyLogEntry.from_json(json.dumps(raw)))
    except (ValidationError, SigstoreError, ValueError, RecursionError) as exc:
        raise Unjudged("LogEntryMalformed", "its log entry is malformed") from exc
    try:
        entry._verify(root.logs)  # noqa: SLF001 - version pinned
    except (VerificationError, ValueError) as exc:
        raise NotVerified(
            "LogEntryInvalid", f"its log entry is not proven by a transparency log of trust root {root.name}"
        ) from exc
    check_tree_size(entry._inner)  # noqa: SLF001 - version pinned
    return entry._inner  # noqa: SLF001 - version pinned


def check_tree_size(entry: rekor_v1.TransparencyLogEntry) -> None:
    """Check what sigstore leaves open: that the proof is for the tree that the (verified) checkpoint is of.

    Raises `NotVerified` (`LogEntryInvalid`).
    """
    proof = entry.inclusion_proof
    try:
        size = SignedCheckpoint.from_text(proof.checkpoint.envelope if proof.checkpoint else "").checkpoint.log_size
    except (VerificationError, ValueError) as exc:
        raise NotVerified("LogEntryInvalid", "its log entry has no checkpoint that can be read") from exc
    if size != proof.tree_size:
        raise NotVerified("LogEntryInvalid", "its log entry is proven for another tree than its checkpoint's")


def promised_time(entry: rekor_v1.TransparencyLogEntry) -> datetime | None:
    """When the log promised to take a *verified* entry in. Without the signed promise a time is nobody's word."""
    if entry.inclusion_promise is None or not entry.integrated_time:
        return None
    return datetime.fromtimestamp(entry.integrated_time, tz=UTC)
