"""Which report of vulnerabilities counts for an image, and when something was first named in one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, select

from controller.documents import purls
from controller.documents.types import SCANS
from controller.inventory import tables
from controller.inventory.asking.documents.described import Described, described, is_read, of_family, within
from controller.inventory.asking.kinship import is_of, named
from controller.inventory.asking.runs.standing import Moment, Owners, running_digests
from controller.inventory.database.parameters import pairs

_KIND = "vulnerabilities"
PAIRS = 5000  # documents and identifiers that are looked up together


class Reports:
    """The reports of running images, read as they are asked for, each image once."""

    def __init__(self, connection: Connection, times: Moment, running: Owners) -> None:
        self._connection = connection
        self._times = times
        self._running = running
        self._of: dict[str, tuple[Described, ...]] = {}
        self._counting: dict[str, Mapping[int, Described]] = {}

    def load(self, digests: Collection[str]) -> None:
        """Read the reports of these running images."""
        new = {digest: self._running[digest] for digest in digests if digest not in self._of}
        if not new:
            return
        for digest, found in described(self._connection, new, (_KIND,), self._times).items():
            self._of[digest] = tuple(one for one in found if not one.problem and not one.says_nothing)
            self._counting[digest] = _counting(digest, self._of[digest])

    def of(self, digest: str) -> tuple[Described, ...]:
        """All reports of a running image that say anything; after `load`."""
        return self._of[digest]

    def counting(self, digest: str) -> Mapping[int, Described]:
        """The newest report, by its document; of a run that may be any manifest of an index the newest about each of
        them, a clean one being no word about the others. After `load`."""
        return self._counting[digest]


def _counting(digest: str, reports: Sequence[Described]) -> Mapping[int, Described]:
    parts = {one.part(digest) for one in reports}
    newest = (
        max(
            (one for one in reports if one.part(digest) in {"", part}),
            key=lambda one: (one.at, one.recorded_at, one.artifact),
        )
        for part in sorted(parts - {""} or parts)
    )
    return {one.document: one for one in newest if one.document is not None}


def reported(connection: Connection, moment: Moment) -> tuple[Mapping[str, frozenset[int]], Owners]:
    """The running images, and the documents that are reports of each and say anything: all of `Reports.of`."""
    evidence, document, scan = tables.evidence, tables.document, tables.scan
    names = named(running_digests(connection, moment), moment.known_at)
    is_report = and_(
        evidence.c.digest == names.c.name,
        is_of(evidence, names),
        evidence.c.finding == "attestation",
        of_family(evidence.c.predicate_type, SCANS),
        *within(evidence, moment),
    )
    is_there = and_(document.c.artifact == evidence.c.artifact, is_read(moment), document.c.problem == "")
    query = (
        select(names.c.digest, names.c.owner, scan.c.document)
        .outerjoin(evidence, is_report)
        .outerjoin(document, is_there)
        .outerjoin(scan, and_(scan.c.document == document.c.id, scan.c.says_nothing.is_(False)))
        .distinct()  # thousands of indexes may hold an image, of which nothing was reported
    )
    found: dict[str, set[int]] = defaultdict(set)
    running: dict[str, str] = {}
    for digest, owner, number in connection.execute(query):
        running[digest] = owner
        found[digest].update(() if number is None else (number,))
    return {digest: frozenset(numbers) for digest, numbers in found.items()}, running


class Key(NamedTuple):
    """What was found, whatever the version: an identifier, and a package by its purl's key or else its name."""

    vulnerability: str
    package: str

    @classmethod
    def of(cls, vulnerability: str, package: str, purl: str) -> Key:
        """Of a finding as it is indexed."""
        return cls(vulnerability, "/".join(purls.key_of(purl)) if purl else package.lower())


def first_named(connection: Connection, wanted: Sequence[tuple[Key, Sequence[Described]]]) -> list[datetime | None]:
    """When each of these was first named in any of its image's reports; None where none of them names it.

    All pairs of document and identifier are looked up together, some at a time.
    """
    asked = sorted(
        {(one.document, key.vulnerability) for key, some in wanted for one in some if one.document is not None}
    )
    named: set[tuple[int, Key]] = set()
    for start in range(0, len(asked), PAIRS):
        for row in connection.execute(_looking_up(connection, asked[start : start + PAIRS])):
            named.add((row.document, Key.of(row.vulnerability, row.package, row.purl)))
    return [min((one.at for one in some if (one.document, key) in named), default=None) for key, some in wanted]


def _looking_up(connection: Connection, asked: Sequence[tuple[int, str]]) -> Select[Any]:
    table, pair = tables.vulnerability_finding, pairs(connection, asked)
    columns = (table.c.document, table.c.vulnerability, table.c.package, table.c.purl)
    return select(*columns).join(pair, and_(table.c.document == pair.c.number, table.c.vulnerability == pair.c.text))
