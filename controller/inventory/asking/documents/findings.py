"""What scanners found in running images, by their newest verified reports, and what clears each of it.

The newest report that says anything counts for an image; one that says nothing is no clean one. Whether VEX clears a
finding is told by `documents.exploitability`, as it is to the rules of policies.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, or_, select, tuple_

from controller.inventory import tables
from controller.inventory.asking import cursors
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.documents.clearing import Case, Clearance, Clearing, Statement
from controller.inventory.asking.documents.described import Described
from controller.inventory.asking.documents.reports import Key, Reports, first_named, reported
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.runs.standing import Moment, Owners, Place, places, standing
from controller.inventory.database.parameters import among, sifted
from controller.inventory.index.vulnerabilities import RANKS
from controller.model.documents import Finding, Severity
from controller.model.reference import Digest

FEW = 300  # reports up to which all of each is read, instead of going through all findings by severity
BATCH = 1000  # findings looked at together at the most
MAX_SCANNED = 10_000  # findings looked at for one page

_finding = tables.vulnerability_finding
_ORDER = (_finding.c.rank, _finding.c.vulnerability, _finding.c.document, _finding.c.number)


@dataclass(frozen=True, slots=True)
class FindingFilter:
    """Which findings. Empty fields ask for nothing; all others must hold together.

    `severity` is the mildest that counts; `vulnerability` an identifier or an alias, in any letter case; `fixable`
    whether a fix is known, by the report's word; `cleared` whether VEX clears it; `min_age` how long it must have been
    known at the least.
    """

    severity: Severity | None = None
    vulnerability: str | None = None
    digest: str | None = None
    fixable: bool | None = None
    cleared: bool | None = None
    min_age: timedelta | None = None
    namespace: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, slots=True)
class FindingRecord:
    """One vulnerability in one package of one running image.

    `fixable` is None where the report cannot tell. `first_seen_at` is the time of the earliest report of the image that
    names it in this package, `reported_at` that of the newest, whose blob is `report`. `statements` are those that
    count for it, whether they clear it or not.
    """

    vulnerability: str
    severity: str
    score: float | None
    package: str
    version: str | None
    purl: str
    fixed_versions: tuple[str, ...]
    fixable: bool | None
    aliases: tuple[str, ...]
    digest: str
    repositories: tuple[str, ...]
    runs: int
    namespaces: tuple[str, ...]
    clusters: tuple[str, ...]
    first_seen_at: datetime
    reported_at: datetime
    report: str
    scanner: str
    cleared: bool
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class FindingPage:
    """Findings, the worst first. `images` run; of `unreported` of them there is no report that says anything
    (told with the first page alone)."""

    items: tuple[FindingRecord, ...]
    images: int
    unreported: int | None
    cursor: str | None


@dataclass(slots=True)
class _Asked:
    """One question on its way. `running` are the images that run, in order, by the reports of each; `owners` are
    theirs."""

    connection: Connection
    where: FindingFilter
    times: Moment
    running: Mapping[int, Sequence[str]]
    owners: Owners
    reports: Reports = field(init=False)
    clearing: Clearing = field(init=False)
    places: dict[str, Place] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.reports = Reports(self.connection, self.times, self.owners)
        self.clearing = Clearing(self.connection, self.times, self.owners)

    def locate(self, digests: Iterable[str]) -> None:
        """Find out where these images run, each once: `places`."""
        new = {digest for digest in digests if digest not in self.places}
        if new:
            self.places |= places(standing(self.connection, self.times, new))

    @property
    def is_choosy(self) -> bool:
        """Whether findings are left out by what their rows do not say."""
        return self.where.cleared is not None or self.where.min_age is not None


class Findings(Asker):
    """Reads what was found in running images."""

    def findings(
        self,
        where: FindingFilter = FindingFilter(),
        *,
        as_of: datetime | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> FindingPage:
        """The findings in what runs at a time (default: now), the worst first, then by identifier.

        A page may hold fewer than `limit` and still have a next one: at most `MAX_SCANNED` findings are looked at.
        Raises `InputError`: `LimitOutOfRange`, `CursorMalformed`, `DigestMalformed`, `AnswerTooLarge`.
        """
        check_limit(limit)
        digest = str(Digest.parse(where.digest)) if where.digest is not None else None
        paging = Paging.of("findings", cursor, int, str, int, int, str, as_of=as_of, known_at=known_at, now=True)
        times = Moment(paging.at, paging.known_at, where.namespace, where.cluster, paging.read_by)
        with self._reading() as connection:
            images, owners = reported(connection, times)
            if digest is not None:
                images = {digest: images[digest]} if digest in images else {}
            asked = _Asked(connection, where, times, _by_report(images), owners)
            items, place = _page(asked, limit=limit, after=paging.place)
            return FindingPage(
                items=items,
                images=len(images),
                unreported=sum(not reports for reports in images.values()) if cursor is None else None,
                cursor=paging.after(connection, place),
            )


def _by_report(images: Mapping[str, Iterable[int]]) -> Mapping[int, Sequence[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for digest in sorted(images):
        for report in images[digest]:
            found[report].append(digest)
    return found


_Place = tuple[cursors.Value, ...]
"""Where a page ends: rank, identifier, document, number and digest of its last finding."""


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A finding of the report that counts for a running image."""

    row: Row[Any]
    digest: str
    report: Described

    @property
    def place(self) -> _Place:
        """Where it stands in the list."""
        row = self.row
        return (row.rank, row.vulnerability, row.document, row.number, self.digest)

    @property
    def key(self) -> Key:
        """What was found."""
        return Key.of(self.row.vulnerability, self.row.package, self.row.purl)

    @property
    def finding(self) -> Finding:
        """As `documents` knows it."""
        row = self.row
        return Finding(
            id=row.vulnerability,
            severity=Severity(row.severity),
            package=row.package,
            version=row.version,
            purl=row.purl,
            fixed_versions=tuple(json.loads(row.fixed_versions)),
            score=row.score,
            aliases=tuple(json.loads(row.aliases)),
            fix_told=row.fix_told,
        )


def _page(asked: _Asked, *, limit: int, after: _Place | None) -> tuple[tuple[FindingRecord, ...], _Place | None]:
    """The next findings, and where the page after them begins."""
    taken: list[FindingRecord] = []
    query, scanned, more = _query(asked), 0, bool(asked.running)
    documents = {"documents": sorted(asked.running)} if len(asked.running) > FEW else {}
    place, wide = after, limit
    while more and len(taken) < limit and scanned < MAX_SCANNED:
        # The row at which the last page ended is read again: it may be of several images.
        rows = asked.connection.execute(_from(query, place).limit(wide + 1), documents).all()
        more, rows = len(rows) > wide, rows[:wide]
        scanned += len(rows)
        found = [one for one in _candidates(asked, rows) if place is None or one.place > place]
        # Whatever is asked for beside, no more are looked at closely than the page can hold, unless many are left out.
        close = len(found) if asked.is_choosy else limit - len(taken)
        for candidate, record in zip(found, _records(asked, found[:close]), strict=False):
            if record is not None and len(taken) < limit:
                taken.append(record)
                place = candidate.place
            elif record is not None:
                return tuple(taken), place
        if close < len(found):
            return tuple(taken), place
        if more:
            last = rows[-1]
            place = (last.rank, last.vulnerability, last.document, last.number, _AFTER_ALL)
        wide = min(2 * wide, BATCH)
    return tuple(taken), place if more else None


_AFTER_ALL = "~"  # after any digest


def _query(asked: _Asked) -> Select[Any]:
    """Findings of these reports, in their order, narrowed down by what a row says of itself."""
    where = asked.where
    query = select(_finding).order_by(*_ORDER)
    if where.severity is not None:
        query = query.where(_finding.c.rank <= RANKS[where.severity])
    if where.fixable is not None:
        query = query.where(_finding.c.fixable.is_(where.fixable))
    of = _finding.c.document
    if where.vulnerability is not None:
        alias = tables.finding_alias
        named = and_(alias.c.document == _finding.c.document, alias.c.number == _finding.c.number)
        query = query.join(alias, named).where(alias.c.alias == where.vulnerability.strip().upper())
        of = alias.c.document
    if len(asked.running) <= FEW:
        return query.where(among(asked.connection, of, sorted(asked.running)))
    return query.where(sifted(asked.connection.dialect.name, of, "documents"))


def _from(query: Select[Any], place: _Place | None) -> Select[Any]:
    """From the row of this place on, that included. The first column alone bounds the index."""
    if place is None:
        return query
    rank, vulnerability, document, number, _ = place
    later = or_(
        _finding.c.rank > rank,
        and_(_finding.c.rank == rank, _finding.c.vulnerability > vulnerability),
        and_(
            _finding.c.rank == rank,
            _finding.c.vulnerability == vulnerability,
            tuple_(_finding.c.document, _finding.c.number) >= (document, number),
        ),
    )
    return query.where(tuple_(_finding.c.rank, _finding.c.vulnerability) >= (rank, vulnerability), later)


def _candidates(asked: _Asked, rows: Sequence[Row[Any]]) -> list[_Candidate]:
    """Each finding once for every running image of which the report that it stands in counts, in order."""
    reports = asked.reports
    reports.load({digest for row in rows for digest in asked.running[row.document]})
    return [
        _Candidate(row, digest, report)
        for row in rows
        for digest in asked.running[row.document]
        if (report := reports.counting(digest).get(row.document)) is not None
    ]


def _records(asked: _Asked, found: Sequence[_Candidate]) -> list[FindingRecord | None]:
    """What is shown of each; None for what was not asked for."""
    where, now, reports = asked.where, asked.times.as_of, asked.reports
    asked.locate(one.digest for one in found)
    clearances = asked.clearing.judge(
        [
            Case(one.digest, one.report.part(one.digest), asked.places[one.digest].repositories, one.finding)
            for one in found
        ]
    )
    left = [number for number, one in enumerate(clearances) if where.cleared in {None, one.cleared}]
    named = first_named(asked.connection, [(found[number].key, reports.of(found[number].digest)) for number in left])
    records: list[FindingRecord | None] = [None] * len(found)
    for number, first in zip(left, named, strict=True):
        seen = first or found[number].report.at
        if where.min_age is None or now - seen >= where.min_age:
            records[number] = _record(asked, found[number], seen, clearances[number])
    return records


def _record(asked: _Asked, one: _Candidate, seen: datetime, clearance: Clearance) -> FindingRecord:
    finding, place = one.finding, asked.places[one.digest]
    return FindingRecord(
        vulnerability=finding.id,
        severity=str(finding.severity),
        score=finding.score,
        package=finding.package,
        version=finding.version,
        purl=finding.purl,
        fixed_versions=finding.fixed_versions,
        fixable=finding.fixable,
        aliases=finding.aliases,
        digest=one.digest,
        repositories=place.repositories,
        runs=place.runs,
        namespaces=place.namespaces,
        clusters=place.clusters,
        first_seen_at=seen,
        reported_at=one.report.at,
        report=one.report.artifact,
        scanner=one.report.tool,
        cleared=clearance.cleared,
        statements=clearance.statements,
    )
