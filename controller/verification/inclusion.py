"""That an entry is in a trusted transparency log: the part that all kinds of entries share.

A log says so in two ways: by an inclusion proof up to a checkpoint that it signed, or, in Rekor's first version, by a
promise (*signed entry timestamp*, SET) over the entry, its index and its time. Which one is needed is for the format to
say; whatever is there must hold.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import rfc8785
from pydantic import ValidationError
from sigstore._internal.rekor.checkpoint import SignedCheckpoint
from sigstore._utils import KeyID
from sigstore.errors import Error as SigstoreError
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry
from sigstore_models.rekor import v1 as rekor_v1

from controller.model.evidence import LogEntry
from controller.verification.bundle import decoded, malformed, mapping, text
from controller.verification.failures import NotVerified, Unjudged
from controller.verification.trust import ParsedRoot

MAX_NUMBER = 2**53 - 1  # an index or a time past it is none: JSON's canonical form has no such number (RFC 8785)


@dataclass(frozen=True, slots=True)
class Inclusion:
    """An entry proven to be in its log: `kind` and version as it claims (`dsse/0.0.1`), and its body, as logged."""

    entry: LogEntry
    kind: str
    body: bytes


def verify_inclusion(
    raw: Mapping[str, Any], *, root: ParsedRoot, times: Sequence[datetime], by_promise: bool
) -> Inclusion:
    """The entry, proven to be in the root's log that it names; what it is *about* is for the caller to check.

    `by_promise` as in `Bundle`. `times` are those at which the signature is otherwise known to have been there (now, if
    nobody vouches for any): an entry without a time of its own counts only by a key that is believed for them.
    Raises `NotVerified` (`LogEntryInvalid`, `LogEntryUnproven`, `LogUnknown`, `LogOutsideValidity`), `Unjudged`
    (`LogEntryMalformed`, `BundleMalformed`).
    """
    proof = raw.get("inclusionProof")
    # A proof without a checkpoint leads to nothing that anybody signed: old bundles have such, beside the promise.
    proven = proof is not None and mapping(proof, "inclusionProof").get("checkpoint") is not None
    if by_promise and raw.get("inclusionPromise") is None:
        raise NotVerified("LogEntryUnproven", "its log entry has no promise of the log, which its format needs")
    if not by_promise and not proven:
        raise NotVerified("LogEntryUnproven", "its log entry has no inclusion proof, which its format needs")
    return _by_proof(raw, root=root, times=times) if proven else _by_promise(raw, root=root)


def _by_proof(raw: Mapping[str, Any], *, root: ParsedRoot, times: Sequence[datetime]) -> Inclusion:
    try:
        entry = TransparencyLogEntry(rekor_v1.TransparencyLogEntry.from_json(json.dumps(raw)))
    except (ValidationError, SigstoreError, ValueError, RecursionError) as exc:
        raise Unjudged("LogEntryMalformed", "its log entry is malformed") from exc
    inner = entry._inner  # noqa: SLF001 - version pinned
    # (1) A promise without a time is none.
    promised = _time(inner.integrated_time or 0) if inner.inclusion_promise is not None else None
    # (2) The log is trusted. Only the key of the very log that is named is asked: sigstore would try every key, and the
    #     name, which goes into the proof, would be nobody's word.
    log = root.log(inner.log_id.key_id, times if promised is None else (promised,))
    # (3) The proof leads from the entry to a checkpoint that the log signed, and the promise, if any, is the log's.
    try:
        entry._verify(log)  # noqa: SLF001 - version pinned
        proof = inner.inclusion_proof
        size = SignedCheckpoint.from_text(proof.checkpoint.envelope if proof.checkpoint else "").checkpoint.log_size
    except (VerificationError, ValueError) as exc:
        raise _not_in_log(root) from exc
    # (4) What sigstore leaves open: the proof is for the checkpoint's own tree.
    if size != proof.tree_size:
        raise NotVerified("LogEntryInvalid", "its log entry is proven for another tree than its checkpoint's")
    # Nothing is recorded that the log did not sign (guarantee 5): a promise binds index and time; without one there is
    # no time, and the index is the one that the inclusion proof was computed with.
    index = proof.log_index if promised is None else inner.log_index
    kind = f"{inner.kind_version.kind}/{inner.kind_version.version}"
    return Inclusion(_entry(inner.log_id.key_id, index, promised), kind, inner.canonicalized_body)


def _by_promise(raw: Mapping[str, Any], *, root: ParsedRoot) -> Inclusion:
    body = decoded(raw.get("canonicalizedBody"), "canonicalizedBody")
    log_id = decoded(mapping(raw.get("logId"), "logId").get("keyId"), "logId")
    index, seconds = (
        _number(raw.get("logIndex", 0), "logIndex"),
        _number(raw.get("integratedTime", 0), "integratedTime"),
    )
    promise = mapping(raw.get("inclusionPromise"), "inclusionPromise")
    signature = decoded(promise.get("signedEntryTimestamp"), "signedEntryTimestamp")
    version = mapping(raw.get("kindVersion"), "kindVersion")
    kind = f"{text(version.get('kind'), 'kind')}/{text(version.get('version'), 'version')}"
    # (1) A promise without a time is none. (2) Only the key of the log that is named is asked, as above.
    promised = _time(seconds)
    log = root.log(log_id, (promised,))
    # (3) The log signed exactly this: https://github.com/sigstore/rekor, `types.md` and `LogEntryAnon`.
    signed: dict[str, int | str] = {
        "body": base64.b64encode(body).decode(),
        "integratedTime": seconds,
        "logID": log_id.hex(),
        "logIndex": index,
    }
    try:
        log.verify(key_id=KeyID(log_id), signature=signature, data=rfc8785.dumps(signed))
    except (VerificationError, ValueError) as exc:
        raise _not_in_log(root) from exc
    return Inclusion(_entry(log_id, index, promised), kind, body)


def _entry(log_id: bytes, index: int, promised: datetime | None) -> LogEntry:
    return LogEntry(base64.b64encode(log_id).decode(), index, promised)


def _not_in_log(root: ParsedRoot) -> NotVerified:
    return NotVerified(
        "LogEntryInvalid", f"its log entry is not proven by the transparency log of trust root {root.name}"
    )


def _time(seconds: int) -> datetime:
    if seconds <= 0:
        raise NotVerified("LogEntryInvalid", "its log entry has a promise without a time")
    try:
        return datetime.fromtimestamp(seconds, tz=UTC)
    except (OverflowError, OSError, ValueError) as exc:
        raise Unjudged("LogEntryMalformed", "its log entry is of a time that no calendar has") from exc


def _number(value: Any, what: str) -> int:
    """A number as protobuf's JSON has it (a string of digits, or a number), or `Unjudged`."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= len(str(MAX_NUMBER)):
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_NUMBER:
        raise malformed(f"{what} is no number")
    return value
