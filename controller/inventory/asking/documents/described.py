"""What documents say of running images: the evidence that counts for each (`kinship`), with what its artefact holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, and_, func, or_, select

from controller.documents.dates import CLOCK_SKEW
from controller.inventory import tables
from controller.inventory.asking import kinship
from controller.inventory.asking.runs.standing import Moment, Owners
from controller.inventory.database.parameters import texts

_evidence, _document, _scan = tables.evidence, tables.document, tables.scan


class Described(NamedTuple):
    """One artefact beside an image: how it was found (`attestation`, `rejection` with its code), and what it holds.

    `judged` is the digest of which it was found, `child` the one manifest of that index that it is about, else empty.
    `kind` is empty where its bytes were not indexed (not yet, or they were never kept). `at` is when it was made: by
    what it says, unless that is yet to come, else when it was signed, else when it was recorded first.
    """

    judged: str
    child: str
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

    def part(self, run: str) -> str:
        """Which manifest it is about, of a run that is named by its index and may be any of them; empty: all of it."""
        return "" if self.child in {"", run} else self.child


def described(
    connection: Connection, running: Owners, kinds: Collection[str], times: Moment
) -> dict[str, list[Described]]:
    """What counted for these running images and holds a document of one of these kinds, by digest, in no order."""
    query = _evidence_of(times, _document.c.kind.in_(sorted(kinds))).where(_evidence.c.finding == "attestation")
    return _by_digest(connection, query, running, times, lambda one: one.document is not None)


def beside(
    connection: Connection, running: Owners, kind: str, codes: Collection[str], times: Moment, *, counted: bool = False
) -> dict[str, list[Described]]:
    """All that was found beside these running images and may be a document of this kind, whether it counted or not.

    Of what counted that is what is of this kind, is not indexed, or cannot be read; of what did not count what is of
    this kind, or may be and was rejected with one of these codes. That evidence was looked for comes as a row of its
    own (`looked`). `counted`: what counted alone.
    """
    unknown, unread = _document.c.id.is_(None), _document.c.problem != ""
    wanted = and_(_evidence.c.finding == "attestation", or_(unknown, _document.c.kind == kind, unread))
    if not counted:
        maybe = or_(_document.c.kind == kind, and_(unknown, _evidence.c.code.in_(sorted(codes))))
        wanted = or_(_evidence.c.finding == "looked", wanted, and_(_evidence.c.finding == "rejection", maybe))
    query = _evidence_of(times).where(wanted)
    return _by_digest(connection, query, running, times, lambda _: True)


_READABLE = _document.c.problem == ""


def is_read(times: Moment) -> ColumnElement[bool]:
    """Whether a document is in the index, whole, by then."""
    read = _document.c.indexed_at.is_not(None)
    return read if times.read_by is None else _document.c.indexed_at <= times.read_by


def _is_indexed(times: Moment, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """What joins evidence with documents. All conditions on documents stand here: in WHERE they would have a database
    go through all documents, and look for the evidence of each."""
    return and_(_document.c.artifact == _evidence.c.artifact, is_read(times), *conditions)


def _evidence_of(times: Moment, *conditions: ColumnElement[bool]) -> Select[Any]:
    query = (
        select(
            *(_evidence.c[name] for name in ("digest", "child", "artifact", "finding", "code", "predicate_type")),
            *(_evidence.c[name] for name in ("decided_at", "recorded_at", "signed_at")),
            *(_document.c[name] for name in ("id", "kind", "problem", "format", "tool", "author", "created_at")),
            *(_document.c[name] for name in ("components", "lacks_version", "lacks_supplier", "lacks_identifier")),
            _scan.c.says_nothing,
        )
        .outerjoin(_document, _is_indexed(times, *conditions))
        .outerjoin(_scan, _scan.c.document == _document.c.id)
    )
    return _within(query, times)


def _within(query: Select[Any], times: Moment) -> Select[Any]:
    return query.where(*within(_evidence, times))


def within(table: Table, times: Moment) -> list[ColumnElement[bool]]:
    """Only what (of `evidence`, `claim`) was found, and recorded, by then, and that the namespace may know."""
    conditions = [table.c.decided_at <= times.as_of]
    if times.known_at is not None:
        conditions.append(table.c.recorded_at <= times.known_at)
    if times.namespace is not None:
        conditions.append(table.c.policy_namespace.in_(["", times.namespace]))
    return conditions


def of_family(predicate_type: ColumnElement[str], uris: Iterable[str]) -> ColumnElement[bool]:
    """Whether a predicate type is one of these URIs, alone or with a version: `documents.types.claims`."""
    return or_(*(or_(predicate_type == uri, func.substr(predicate_type, 1, len(uri) + 1) == f"{uri}/") for uri in uris))


def _by_digest(
    connection: Connection,
    query: Select[Any],
    running: Owners,
    times: Moment,
    is_wanted: Callable[[Described], bool],
) -> dict[str, list[Described]]:
    """Of each image each artefact once for what it is about, as it counted if it did for its owner or the cluster."""
    names = kinship.named(texts(connection, ("digest", "owner"), sorted(running.items())), times.known_at)
    about = and_(_evidence.c.digest == names.c.name, kinship.is_of(_evidence, names))
    found: dict[str, list[Described]] = {digest: [] for digest in running}
    latest = times.as_of + CLOCK_SKEW
    for row in connection.execute(query.join(names, about).add_columns(names.c.digest.label("run"))):
        one = _read(row, latest)
        if is_wanted(one):
            found[row.run].append(one)
    return {digest: _earliest(some) for digest, some in found.items()}


def _earliest(found: Iterable[Described]) -> list[Described]:
    best: dict[tuple[str, str, str, str], Described] = {}
    for one in found:
        key = (one.judged, one.child, one.artifact, one.code if one.finding == "rejection" else "")
        before = best.get(key)
        if before is None or (one.at, one.recorded_at) < (before.at, before.recorded_at):
            best[key] = one
    return list(best.values())


def _read(row: Row[Any], latest: datetime) -> Described:
    """A row of `_evidence_of`. A time after `latest` is not taken for one that was stated."""
    (judged, child, artifact, finding, code, predicate_type, decided_at, recorded_at, signed_at, *told, _) = tuple(row)
    (document, kind, problem, form, tool, author, created_at, listed, version, supplier, identifier, nothing) = told
    stated_at = created_at if created_at is not None and created_at <= latest else None
    at = stated_at or (datetime.fromisoformat(signed_at) if signed_at else recorded_at)
    if document is None:
        kind = problem = form = tool = author = ""
        listed = version = supplier = identifier = 0
    return Described(
        judged, child, artifact, finding, code, predicate_type, decided_at, recorded_at, document, kind, problem, form,
        tool, author, stated_at, at, listed, version, supplier, identifier, bool(nothing),
    )  # fmt: skip
