"""That an entry is in a trusted transparency log: the part that all kinds of entries share.

The one place, beside `trust.py` and `keyless.py`, that reaches into sigstore's inner parts: its version is pinned.
"""

from __future__ import annotations

import base64
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

from controller.model.evidence import LogEntry
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.trust import ParsedRoot


def verify_inclusion(raw: Mapping[str, Any], root: ParsedRoot) -> rekor_v1.TransparencyLogEntry:
    """The entry, proven to be in the root's log that it names; what it is *about* is for the caller to check.

    Raises `NotVerified` (`LogEntryInvalid`, `LogUnknown`) and `Unjudged` (`LogEntryMalformed`,
    `InclusionProofUnsupported`).
    """
    if raw.get("inclusionProof") is None:
        raise Unjudged("InclusionProofUnsupported", "its log entry has no inclusion proof, which Assay needs for now")
    try:
        entry = TransparencyLogEntry(rekor_v1.TransparencyLogEntry.from_json(json.dumps(raw)))
    except (ValidationError, SigstoreError, ValueError, RecursionError) as exc:
        raise Unjudged("LogEntryMalformed", "its log entry is malformed") from exc
    inner = entry._inner  # noqa: SLF001 - version pinned
    # (1) The log is trusted. Only the key of the very log that is named is asked: sigstore would try every key, and the
    #     name, which goes into the proof, would be nobody's word.
    log = root.log(inner.log_id.key_id)
    # (2) The proof leads from the entry to a checkpoint that the log signed, and the promise, if any, is the log's.
    try:
        entry._verify(log)  # noqa: SLF001 - version pinned
        proof = inner.inclusion_proof
        size = SignedCheckpoint.from_text(proof.checkpoint.envelope if proof.checkpoint else "").checkpoint.log_size
    except (VerificationError, ValueError) as exc:
        raise NotVerified(
            "LogEntryInvalid", f"its log entry is not proven by the transparency log of trust root {root.name}"
        ) from exc
    # (3) What sigstore leaves open: the proof is for the checkpoint's own tree, and a promise without a time is none.
    if size != proof.tree_size:
        raise NotVerified("LogEntryInvalid", "its log entry is proven for another tree than its checkpoint's")
    if inner.inclusion_promise is not None and not inner.integrated_time:
        raise NotVerified("LogEntryInvalid", "its log entry has a promise without a time")
    return inner


def proven_entry(entry: rekor_v1.TransparencyLogEntry) -> LogEntry:
    """A *verified* entry as it may be recorded: nothing in it that the log did not sign (guarantee 5).

    The log's promise binds index and time; without one there is no time, and the index is the one that the inclusion
    proof was computed with.
    """
    log_id = base64.b64encode(entry.log_id.key_id).decode()
    if entry.inclusion_promise is None or not entry.integrated_time:
        return LogEntry(log_id, entry.inclusion_proof.log_index, None)
    return LogEntry(log_id, entry.log_index, datetime.fromtimestamp(entry.integrated_time, tz=UTC))
