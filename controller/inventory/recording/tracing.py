"""What a manifest rests on, out of the evaluations of a decision: who signed, which log entry, which artefact. Pure.

A proof belongs to the image that was judged, and where a policy looked at each manifest of an index, to that manifest
(`child`) as one of this index's. The verifications of a leaf are kept for each version of each policy; what is here is
kept once, whoever asked, so that a blast radius is a look-up however many policies there were.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from controller.inventory.origins import BUILDER, SOURCE, builder_names, source_names

KEY, SUBJECT, LOG = "key", "subject", "log"
_CLAIMED_SOURCE = ("sourceRepositoryURI", "sourceRepositoryDigest")
LOOKED = "looked"
_FINDINGS = {"signatures": "signature", "attestations": "attestation", "rejections": "rejection"}

Row = dict[str, Any]
Evaluation = Mapping[str, Any]


def log_entry(log_id: str, index: int) -> str:
    """How an entry of a transparency log is named: the log's id (base64), `:`, and the index in it."""
    return f"{log_id}:{index}"


def evidence(item: Evaluation, digests: Sequence[str | None]) -> Iterator[Row]:
    """What was found of the image that this evaluation is about; nothing where no digest is known.

    Raises `KeyError`, `TypeError`, `AttributeError` for what is no evaluation of a leaf.
    """
    judged = _judged(item, digests)
    if judged is None:
        return
    entries = [(finding, entry) for field, finding in _FINDINGS.items() for entry in item[field]]
    if item.get("evidenceSet") or entries:
        yield _found(item, judged, LOOKED, {})
    for finding, entry in entries:
        yield _found(item, judged, finding, entry)


def traces(item: Evaluation, digests: Sequence[str | None]) -> Iterator[Row]:
    """What proofs of this evaluation lead to: signers and log entries, and what a certificate says of the build.

    Raises as `evidence` does.
    """
    judged = _judged(item, digests)
    if judged is None:
        return
    for proof in (*item["signatures"], *item["attestations"]):
        signer, entry = proof.get("signer") or {}, proof.get("logEntry")
        claims = signer.get("claims") or {}
        told = [(KEY, signer.get("key")), (SUBJECT, signer.get("subject"))]
        told += [(BUILDER, name) for name in builder_names(_text(claims.get("buildSignerURI")))]
        told += [(SOURCE, name) for name in source_names(*(_text(claims.get(claim)) for claim in _CLAIMED_SOURCE))]
        if entry:
            index = int(entry["index"])
            told += [(LOG, str(index)), (LOG, log_entry(_text(entry["logId"]), index))]
        for kind, value in told:
            if value:
                yield {
                    "kind": kind,
                    "value": _text(value),
                    **judged,
                    "artifact": _text(proof.get("artifact")),
                    "policy_namespace": _text(item["policy"]["namespace"]),
                }


def _judged(item: Evaluation, digests: Sequence[str | None]) -> Row | None:
    digest, child = digests[item["image"]], item.get("child")
    return None if digest is None else {"digest": digest, "child": _text(child["digest"]) if child else ""}


def _found(item: Evaluation, judged: Row, finding: str, entry: Mapping[str, Any]) -> Row:
    return {
        **judged,
        "finding": finding,
        "artifact": _text(entry.get("artifact")),
        "predicate_type": _text(entry.get("predicateType")),
        "code": _text(entry.get("code")),
        "signed_at": _text(entry.get("signedAt")),
        "policy_namespace": _text(item["policy"]["namespace"]),
    }


def _text(value: str | None) -> str:
    """A column's text; absent is empty. PostgreSQL holds no U+0000."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} where text is expected")
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
