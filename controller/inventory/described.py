"""What documents say of images: the evidence of each image, joined with what its artefact was found to hold.

An index and the manifests in it are one image under several names: what was verified for one of them counts for the
runs of the others (`kin`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, or_, select

from controller.documents.dates import CLOCK_SKEW
from controller.inventory import tables
from controller.inventory.standing import chunks

_evidence, _document, _scan = tables.evidence, tables.document, tables.scan


@dataclass(frozen=True, slots=True)
class Times:
    """The two times of a question, and the namespace that asks."""

    as_of: datetime
    known_at: datetime | None
    namespace: str | None


@dataclass(frozen=True, slots=True)
class Described:
    """One artefact beside an image: how it was found (`attestation`, `rejection` with its code), and what it holds.

    `kind` is empty where its bytes were not indexed (not yet, or they were never kept). `at` is when it was made: by
    what it says, unless that is yet to come, else when it was signed, else when it was recorded first.
    """

    digest: str
    artifact: str
    finding: str
    code: str
    predicate_type: str
    decided_at: datetime
    recorded_at: datetime
    document: int | None
    kind: str
    problem: str
    format: str
    tool: str
    author: str
    stated_at: datetime | None
    at: datetime
    listed: int
    lacks_version: int
    lacks_supplier: int
    lacks_identifier: int
    says_nothing: bool


def kin(connection: Connection, digests: Iterable[str], *, known_at: datetime | None) -> Mapping[str, tuple[str, ...]]:
    """Of each digest the names of the same image: itself, the indexes that hold it, the manifests that it holds."""
    table = tables.image_manifest
    found: dict[str, set[str]] = {digest: {digest} for digest in digests}
    for chunk in chunks(found):
        query = select(table.c.digest, table.c.manifest)
        query = query.where(or_(table.c.digest.in_(chunk), table.c.manifest.in_(chunk)))
        if known_at is not None:
            query = query.where(table.c.recorded_at <= known_at)
        for index, manifest in connection.execute(query):
            if index in found:
                found[index].add(manifest)
            if manifest in found:
                found[manifest].add(index)
    return {digest: tuple(sorted(names)) for digest, names in found.items()}


def described(
    connection: Connection, digests: Collection[str], kinds: Collection[str], times: Times
) -> dict[str, list[Described]]:
    """What counted for these digests and holds a document of one of these kinds, by digest, in no order."""
    query = _evidence_of(times).where(_evidence.c.finding == "attestation", _document.c.kind.in_(sorted(kinds)))
    return _by_digest(connection, query, digests, times)


def reported(connection: Connection, digests: Collection[str], times: Times) -> set[str]:
    """Those of these digests that a report of vulnerabilities was verified for that says anything."""
    query = (
        _within(select(_evidence.c.digest).distinct(), times)
        .join(_document, and_(_document.c.artifact == _evidence.c.artifact, _document.c.indexed_at.is_not(None)))
        .join(_scan, _scan.c.document == _document.c.id)
        .where(_evidence.c.finding == "attestation", _scan.c.says_nothing.is_(False), _document.c.problem == "")
    )
    asking = [query.where(_evidence.c.digest.in_(chunk)) for chunk in chunks(digests)]
    return {digest for one in asking for digest in connection.execute(one).scalars()}


def beside(
    connection: Connection, digests: Collection[str], kind: str, codes: Collection[str], times: Times
) -> dict[str, list[Described]]:
    """All that was found beside these digests and may be a document of this kind, whether it counted or not.

    Of what counted that is what is of this kind, is not indexed, or cannot be read; of what did not count what is of
    this kind, or may be and was rejected with one of these codes. That evidence was looked for comes as a row of its
    own (`looked`).
    """
    unknown, unread = _document.c.id.is_(None), _document.c.problem != ""
    query = _evidence_of(times).where(
        or_(
            _evidence.c.finding == "looked",
            and_(_evidence.c.finding == "attestation", or_(unknown, _document.c.kind == kind, unread)),
            and_(
                _evidence.c.finding == "rejection",
                or_(_document.c.kind == kind, and_(unknown, _evidence.c.code.in_(sorted(codes)))),
            ),
        )
    )
    return _by_digest(connection, query, digests, times)


def _evidence_of(times: Times) -> Select[Any]:
    columns = ("digest", "finding", "artifact", "predicate_type", "code", "signed_at", "decided_at", "recorded_at")
    told = ("kind", "problem", "format", "tool", "author", "created_at", "components")
    lacks = ("lacks_version", "lacks_supplier", "lacks_identifier")
    query = (
        select(
            *(_evidence.c[name] for name in columns),
            _document.c.id.label("document"),
            *(_document.c[name] for name in (*told, *lacks)),
            _scan.c.says_nothing,
        )
        .outerjoin(_document, and_(_document.c.artifact == _evidence.c.artifact, _document.c.indexed_at.is_not(None)))
        .outerjoin(_scan, _scan.c.document == _document.c.id)
    )
    return _within(query, times)


def _within(query: Select[Any], times: Times) -> Select[Any]:
    """Only evidence that was found, and recorded, by then, and that the namespace may know."""
    query = query.where(_evidence.c.decided_at <= times.as_of)
    if times.known_at is not None:
        query = query.where(_evidence.c.recorded_at <= times.known_at)
    if times.namespace is not None:
        query = query.where(_evidence.c.policy_namespace.in_(["", times.namespace]))
    return query


def _by_digest(
    connection: Connection, query: Select[Any], digests: Collection[str], times: Times
) -> dict[str, list[Described]]:
    """Each artefact once for a digest, as it counted if it did for anybody."""
    found: dict[tuple[str, str, str], Described] = {}
    for chunk in chunks(digests):
        for row in connection.execute(query.where(_evidence.c.digest.in_(chunk))):
            one = _read(row, times.as_of)
            key = (one.digest, one.artifact, "" if one.finding in {"attestation", "looked"} else one.code)
            before = found.get(key)
            found[key] = one if before is None or _sooner(one, before) else before
    by_digest: dict[str, list[Described]] = defaultdict(list)
    for one in found.values():
        by_digest[one.digest].append(one)
    return by_digest


def _sooner(one: Described, other: Described) -> bool:
    return (one.at, one.recorded_at) < (other.at, other.recorded_at)


def _read(row: Row[Any], as_of: datetime) -> Described:
    stated = row.created_at if row.created_at is not None and row.created_at <= as_of + CLOCK_SKEW else None
    signed = datetime.fromisoformat(row.signed_at) if row.signed_at else None
    return Described(
        digest=row.digest,
        artifact=row.artifact,
        finding=row.finding,
        code=row.code,
        predicate_type=row.predicate_type,
        decided_at=row.decided_at,
        recorded_at=row.recorded_at,
        document=row.document,
        kind=row.kind or "",
        problem=row.problem or "",
        format=row.format or "",
        tool=row.tool or "",
        author=row.author or "",
        stated_at=stated,
        at=stated or signed or row.recorded_at,
        listed=row.components or 0,
        lacks_version=row.lacks_version or 0,
        lacks_supplier=row.lacks_supplier or 0,
        lacks_identifier=row.lacks_identifier or 0,
        says_nothing=bool(row.says_nothing),
    )
