"""Which images rest on a signer, a builder, a source, a base image, a log entry or an artefact, by what was verified.

A digest rests on something from the first decision at which that counted for it. What was found later holds for earlier
runs as well: an image is what it is whenever it ran.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, Select, or_, select

from controller.errors import InputError
from controller.inventory import origins, tables, tracing
from controller.model.reference import Digest

MAX_IMAGES = 50_000  # that may rest on one thing for one answer: bounds its memory

_evidence, _trace = tables.evidence, tables.trace
_COLUMNS = ("digest", "artifact", "decided_at", "recorded_at", "policy_namespace")


class Footing(StrEnum):
    """What an image may rest on.

    SIGNER: a key by its fingerprint, or an identity's subject, whole. LOG_ENTRY: its index, or `<log id>:<index>`.
    ARTIFACT: the blob of a signature or attestation, by its digest. BUILDER, SOURCE (a repository, a commit, or
    `<repository>@<commit>`) and BASE (a digest, or a name as people write images) by verified provenance; builder and
    source also by what a signer's certificate says.
    """

    SIGNER = "signer"
    BUILDER = "builder"
    SOURCE = "source"
    BASE = "base"
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

    Raises `InputError`: `DigestMalformed`, `ReferenceMalformed` for what cannot be what is asked about,
    `AnswerTooLarge`.
    """
    found: dict[str, Resting] = {}
    for query in _leading_to(footing, value):
        for row in connection.execute(_visible(query, known_at, namespace).execution_options(yield_per=1000)):
            before = found.get(row.digest)
            if before is None and len(found) == MAX_IMAGES:
                raise InputError("AnswerTooLarge", f"more than {MAX_IMAGES} images rest on it; ask of one namespace")
            found[row.digest] = _joined(before, row)
    return found


def _joined(before: Resting | None, row: Row[Any]) -> Resting:
    if before is None:
        return Resting(row.digest, (row.artifact,), row.decided_at, row.recorded_at)
    return Resting(
        row.digest,
        tuple(sorted({row.artifact, *before.artifacts})),
        min(row.decided_at, before.since),
        min(row.recorded_at, before.recorded_at),
    )


def _visible(query: Select[Any], known_at: datetime | None, namespace: str | None) -> Select[Any]:
    """Only what had been recorded by then, and what the namespace's own and the cluster's policies found."""
    columns = query.selected_columns
    if known_at is not None:
        query = query.where(columns.recorded_at <= known_at)
    if namespace is not None:
        query = query.where(columns.policy_namespace.in_(["", namespace]))
    return query


def _leading_to(footing: Footing, value: str) -> list[Select[Any]]:
    """What leads there: rows of `evidence` or `trace`, whose columns have one name in both."""
    match footing:
        case Footing.SIGNER:
            return [_traced(value, tracing.KEY, tracing.SUBJECT)]
        case Footing.LOG_ENTRY:
            return [_traced(value, tracing.LOG)]
        case Footing.ARTIFACT:
            counted = or_(_evidence.c.finding == "signature", _evidence.c.finding == "attestation")
            return [
                select(*(_evidence.c[name] for name in _COLUMNS)).where(
                    _evidence.c.artifact == str(Digest.parse(value)), counted
                )
            ]
        case Footing.BUILDER | Footing.SOURCE:
            name = origins.asked(footing, value)
            return [_traced(name, footing), _documented(name, footing)]
        case Footing.BASE:
            return [_documented(origins.asked(footing, value), footing)]


def _documented(name: str, kind: str) -> Select[Any]:
    """By documents that counted for an image."""
    trace, document = tables.document_trace, tables.document
    return (
        select(*(_evidence.c[name] for name in _COLUMNS))
        .join(document, document.c.artifact == _evidence.c.artifact)
        .join(trace, trace.c.document == document.c.id)
        .where(trace.c.kind == kind, trace.c.value == name)
        .where(_evidence.c.finding == "attestation", document.c.indexed_at.is_not(None))
    )


def _traced(value: str, *kinds: str) -> Select[Any]:
    return select(*(_trace.c[name] for name in _COLUMNS)).where(_trace.c.kind.in_(kinds), _trace.c.value == value)
