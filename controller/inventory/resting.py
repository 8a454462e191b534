"""Which images rest on a signer, a log entry or an artefact, by the proofs that the inventory holds.

A digest rests on something from the first decision at which that counted for it. What was found later holds for earlier
runs as well: an image is what it is whenever it ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Select, or_, select

from controller.errors import InputError
from controller.inventory import tables, tracing
from controller.model.reference import Digest

MAX_IMAGES = 50_000  # that may rest on one thing for one answer: bounds its memory

_evidence, _trace = tables.evidence, tables.trace


class Footing(StrEnum):
    """What an image may rest on.

    SIGNER: a key by its fingerprint, or an identity's subject, whole. LOG_ENTRY: its index, or `<log id>:<index>`.
    ARTIFACT: the blob of a signature or attestation, by its digest.
    """

    SIGNER = "signer"
    LOG_ENTRY = "log-entry"
    ARTIFACT = "artifact"


@dataclass(frozen=True, slots=True)
class Resting:
    """One image that rests on it: by which artefacts, and since when that was known to count for it."""

    digest: str
    artifacts: tuple[str, ...]
    since: datetime
    recorded_at: datetime


def resting(
    connection: Connection, footing: Footing, value: str, *, known_at: datetime | None, namespace: str | None
) -> dict[str, Resting]:
    """The images, by their digests. With a namespace, as its own and the cluster's policies found it.

    Raises `InputError`: `DigestMalformed` for an artefact that is none, `AnswerTooLarge`.
    """
    query = _leading_to(footing, value)
    table = query.get_final_froms()[0]
    if known_at is not None:
        query = query.where(table.c.recorded_at <= known_at)
    if namespace is not None:
        query = query.where(table.c.policy_namespace.in_(["", namespace]))
    found: dict[str, Resting] = {}
    for row in connection.execute(query.execution_options(yield_per=1000)):
        before = found.get(row.digest)
        if before is None and len(found) == MAX_IMAGES:
            message = f"more than {MAX_IMAGES} images rest on it; ask of one namespace"
            raise InputError("AnswerTooLarge", message)
        found[row.digest] = Resting(
            row.digest,
            tuple(sorted({row.artifact, *(before.artifacts if before else ())})),
            min(row.decided_at, before.since) if before else row.decided_at,
            min(row.recorded_at, before.recorded_at) if before else row.recorded_at,
        )
    return found


def _leading_to(footing: Footing, value: str) -> Select[Any]:
    match footing:
        case Footing.SIGNER:
            return _traced(value, tracing.KEY, tracing.SUBJECT)
        case Footing.LOG_ENTRY:
            return _traced(value, tracing.LOG)
        case Footing.ARTIFACT:
            counted = or_(_evidence.c.finding == "signature", _evidence.c.finding == "attestation")
            columns = (_evidence.c.digest, _evidence.c.artifact, _evidence.c.decided_at, _evidence.c.recorded_at)
            return select(*columns).where(_evidence.c.artifact == str(Digest.parse(value)), counted)


def _traced(value: str, *kinds: str) -> Select[Any]:
    columns = (_trace.c.digest, _trace.c.artifact, _trace.c.decided_at, _trace.c.recorded_at)
    return select(*columns).where(_trace.c.kind.in_(kinds), _trace.c.value == value)
