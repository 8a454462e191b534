"""What VEX that was verified for an image says of what scanners found in it.

The statements are read from the index by the names of what was found, and judged by `documents.exploitability`, which
judges for rules as well: an auditor gets the answer that a policy would get.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, select

from controller.documents.exploitability import CLEARING, Exploitability, Subject
from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking.documents.described import Described, described
from controller.inventory.asking.runs.standing import Moment, Owners, chunks
from controller.inventory.database.parameters import among
from controller.inventory.index.vex import looked_up, statement_of
from controller.model.documents import Finding, Vex, VexStatement
from controller.model.reference import Digest

MAX_STATEMENTS = 50_000  # read for one page: whoever signs may say a hundred thousand things of one vulnerability
_KIND = "vex"


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement that counts for a finding: its status and why, who said so, and the blob of its document."""

    status: str
    justification: str
    impact: str
    author: str
    stated_at: datetime | None
    document: str


@dataclass(frozen=True, slots=True)
class Clearance:
    """Whether VEX clears a finding, and the statements that count for it."""

    cleared: bool
    statements: tuple[Statement, ...]


NOTHING_SAID = Clearance(cleared=False, statements=())


@dataclass(frozen=True, slots=True)
class Case:
    """What was found in one running image, or in this part of it (`Described.part`), and where that is pulled from."""

    digest: str
    part: str
    repositories: tuple[str, ...]
    finding: Finding


_Name = tuple[str, str]
_Named = Mapping[_Name, Sequence[Described]]
"""What was found of a running image, by the part of it and the digest that it is about: a product is named by that."""


class Clearing:
    """Judges what was found in images by the VEX that was verified for them. Each document is looked for once."""

    def __init__(self, connection: Connection, times: Moment, running: Owners) -> None:
        self._connection = connection
        self._times = times
        self._running = running
        self._documents: dict[str, _Named] = {}
        self._heads: dict[int, Vex] = {}

    def judge(self, cases: Sequence[Case]) -> list[Clearance]:
        """What is said of each case, in their order. Raises `InputError` (`AnswerTooLarge`)."""
        self._load({case.digest for case in cases})
        concerned = [case for case in cases if self._documents[case.digest]]
        if not concerned:
            return [NOTHING_SAID] * len(cases)
        numbers = {
            one.document
            for case in concerned
            for some in self._documents[case.digest].values()
            for one in some
            if one.document is not None
        }
        names = {looked_up(name) for case in concerned for name in (case.finding.id, *case.finding.aliases)}
        said = _statements(self._connection, numbers, names)
        judge = _Judge(self._documents, {number: self._with(number, said) for number in numbers}, self._times.as_of)
        return [judge.clearance(case) if self._documents[case.digest] else NOTHING_SAID for case in cases]

    def _load(self, digests: Collection[str]) -> None:
        new = {digest: self._running[digest] for digest in digests if digest not in self._documents}
        if not new:
            return
        found = described(self._connection, new, (_KIND,), self._times)
        self._documents |= {digest: _by_name(digest, some) for digest, some in found.items()}
        numbers = {one.document for some in found.values() for one in some if one.document is not None}
        self._heads |= _heads(self._connection, numbers - self._heads.keys())

    def _with(self, number: int, said: Mapping[int, Mapping[int, VexStatement]]) -> Vex:
        statements = tuple(statement for _, statement in sorted(said.get(number, {}).items()))
        return dataclasses.replace(self._heads[number], statements=statements)


class _Judge:
    """Judges cases by the documents that were verified for their images."""

    def __init__(self, documents: Mapping[str, _Named], said: Mapping[int, Vex], now: datetime) -> None:
        self._documents = documents
        self._said = said
        self._now = now
        self._known: dict[tuple[str, _Name, str], Exploitability] = {}
        self._sources = {
            id(statement): one
            for names in documents.values()
            for some in names.values()
            for one in some
            if one.document is not None and one.document in said
            for statement in said[one.document].statements
        }

    def clearance(self, case: Case) -> Clearance:
        """Cleared under some name of the image in each repository that it runs from, and under none affected.

        What is said of another manifest of the index than the one in which it was found is not about it.
        """
        counting: dict[int, VexStatement] = {}
        cleared = []
        for repository in case.repositories:
            about = sorted(name for name in self._documents[case.digest] if name[0] in {"", case.part})
            judges = [self._of(case.digest, name, repository) for name in about]
            cleared.append(any(judge.clears(case.finding) for judge in judges))
            counting |= {id(one): one for judge in judges for one in judge.says(case.finding)}
        warns = any(statement.status not in CLEARING for statement in counting.values())
        told = sorted(
            (_told(statement, self._sources[number]) for number, statement in counting.items()),
            key=lambda one: (one.document, one.status, one.justification),
        )
        return Clearance(cleared=bool(cleared) and all(cleared) and not warns, statements=tuple(told))

    def _of(self, digest: str, name: _Name, repository: str) -> Exploitability:
        key = (digest, name, repository)
        if key not in self._known:
            numbers = [one.document for one in self._documents[digest][name] if one.document is not None]
            vexes = [self._said[number] for number in numbers if number in self._said]
            self._known[key] = Exploitability(vexes, Subject(Digest.parse(name[1]), repository), self._now)
        return self._known[key]


def _by_name(run: str, found: Iterable[Described]) -> _Named:
    names: dict[_Name, list[Described]] = defaultdict(list)
    for one in found:
        names[one.part(run), one.child or one.judged].append(one)
    return names


def _told(statement: VexStatement, source: Described) -> Statement:
    return Statement(
        status=str(statement.status),
        justification=statement.justification,
        impact=statement.impact or statement.action,
        author=source.author,
        stated_at=statement.timestamp,
        document=source.artifact,
    )


def _heads(connection: Connection, numbers: Collection[int]) -> dict[int, Vex]:
    """The documents without their statements."""
    table = tables.document
    heads = select(table.c.id, table.c.name, table.c.author, table.c.created_at, table.c.spec_version)
    return {
        row.id: Vex(row.name, row.author, row.created_at, (), int(row.spec_version or 0))
        for chunk in chunks(numbers)
        for row in connection.execute(heads.where(among(connection, table.c.id, chunk)))
    }


def _statements(
    connection: Connection, numbers: Collection[int], names: Collection[str]
) -> Mapping[int, dict[int, VexStatement]]:
    """By document and number."""
    statement, name = tables.vex_statement, tables.vex_name
    query = select(statement.c.document, statement.c.number, statement.c.content).join(
        name, and_(name.c.document == statement.c.document, name.c.number == statement.c.number)
    )
    found: dict[int, dict[int, VexStatement]] = defaultdict(dict)
    read = 0
    for documents in chunks(numbers):
        for some in chunks(names):
            asked = query.where(among(connection, name.c.document, documents), among(connection, name.c.name, some))
            for row in connection.execute(asked.limit(MAX_STATEMENTS + 1)):
                read += 1
                if read > MAX_STATEMENTS:
                    message = f"more than {MAX_STATEMENTS} VEX statements are about what was found"
                    raise InputError("AnswerTooLarge", message)
                found[row.document].setdefault(row.number, statement_of(row.content))
    return found
