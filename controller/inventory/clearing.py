"""What VEX that was verified for an image says of what scanners found in it.

The statements are read from the index by the names of what was found, and judged by `documents.exploitability`, which
judges for rules as well: an auditor gets the answer that a policy would get.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select

from controller.documents.exploitability import CLEARING, Exploitability, Subject
from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.described import Described, Times, described
from controller.inventory.index.vex import looked_up, statement_of
from controller.inventory.standing import chunks
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
    """What was found in one running image: the digests that stand for it, and where it is pulled from."""

    names: tuple[str, ...]
    repositories: tuple[str, ...]
    finding: Finding


def clear(connection: Connection, cases: Sequence[Case], times: Times) -> list[Clearance]:
    """What is said of each case, in their order. Raises `InputError` (`AnswerTooLarge`)."""
    subjects = {name for case in cases for name in case.names}
    documents = described(connection, subjects, (_KIND,), times)
    if not documents:
        return [NOTHING_SAID] * len(cases)
    wanted = {looked_up(name) for case in cases for name in (case.finding.id, *case.finding.aliases)}
    said = _documents(connection, {one.document: one for some in documents.values() for one in some}, wanted)
    by_subject: dict[tuple[str, str], Exploitability] = {}
    sources = {id(statement): one for one, vex in said.values() for statement in vex.statements}
    return [_judge(case, documents, said, sources, by_subject, times.as_of) for case in cases]


_Said = Mapping[int, tuple[Described, Vex]]


def _judge(
    case: Case,
    documents: Mapping[str, Sequence[Described]],
    said: _Said,
    sources: Mapping[int, Described],
    known: dict[tuple[str, str], Exploitability],
    now: datetime,
) -> Clearance:
    """Cleared under some name of the image in each repository that it runs from, and under none said to be affected."""
    counting: dict[int, VexStatement] = {}
    cleared = []
    for repository in case.repositories:
        any_clears = False
        for name in case.names:
            if name not in documents:
                continue
            key = (name, repository)
            if key not in known:
                vexes = [said[one.document][1] for one in documents[name] if one.document in said]
                known[key] = Exploitability(vexes, Subject(Digest.parse(name), repository), now)
            any_clears = any_clears or known[key].clears(case.finding)
            counting |= {id(one): one for one in known[key].says(case.finding)}
        cleared.append(any_clears)
    warns = any(statement.status not in CLEARING for statement in counting.values())
    told = sorted(
        (_told(statement, sources[number]) for number, statement in counting.items()),
        key=lambda one: (one.document, one.status, one.justification),
    )
    return Clearance(cleared=bool(cleared) and all(cleared) and not warns, statements=tuple(told))


def _told(statement: VexStatement, source: Described) -> Statement:
    return Statement(
        status=str(statement.status),
        justification=statement.justification,
        impact=statement.impact or statement.action,
        author=source.author,
        stated_at=statement.timestamp,
        document=source.artifact,
    )


def _documents(
    connection: Connection, documents: Mapping[int | None, Described], names: Collection[str]
) -> dict[int, tuple[Described, Vex]]:
    """The documents, each with those of its statements that are about one of these vulnerabilities."""
    head, statement, name = tables.document, tables.vex_statement, tables.vex_name
    numbers = sorted(number for number in documents if number is not None)
    statements: dict[int, dict[int, VexStatement]] = defaultdict(dict)
    query = select(statement.c.document, statement.c.number, statement.c.content).join(
        name, (name.c.document == statement.c.document) & (name.c.number == statement.c.number)
    )
    read = 0
    for some in chunks(names):
        for row in connection.execute(query.where(name.c.document.in_(numbers), name.c.name.in_(some))):
            read += 1
            if read > MAX_STATEMENTS:
                raise InputError("AnswerTooLarge", f"more than {MAX_STATEMENTS} VEX statements are about these findings")
            statements[row.document].setdefault(row.number, statement_of(row.content))
    heads = select(head.c.id, head.c.name, head.c.author, head.c.created_at, head.c.spec_version)
    found: dict[int, tuple[Described, Vex]] = {}
    for row in connection.execute(heads.where(head.c.id.in_(numbers))):
        said = statements.get(row.id, {})
        vex = Vex(
            id=row.name,
            author=row.author,
            timestamp=row.created_at,
            statements=tuple(said[number] for number in sorted(said)),
            version=_version(row.spec_version),
        )
        found[row.id] = (documents[row.id], vex)
    return found


def _version(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0
