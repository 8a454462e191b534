"""Whether the index of documents says what their bytes say: every document read again, and held against its rows.

A document at a time, so that it needs no more memory for many. What is not indexed yet, or was by an earlier edition
of the reader, is made by whoever indexes next, and is counted; what was indexed once (`index_state`) and is gone is
named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, func, select

from controller.errors import EvaluationError
from controller.inventory import tables
from controller.inventory.audit.report import Report
from controller.inventory.blobs.store import Blobs
from controller.inventory.database import dialect, parameters
from controller.inventory.index.contents import Contents, hash_of, key_of, package_of
from controller.inventory.index.reading import EDITION
from controller.inventory.index.writing import OWN_ROWS, Read, head, noted, pending

BATCH = 1000  # rows held in memory at once
SHOWN = 10  # rows that are named of those that one table has of a document that is not there
CODE = "IndexChanged"
_OF_A_WORKER = frozenset({"WorkerLost", "LimitExceeded"})  # what a document may have failed by, and need not again
_WORDS = ("name", "version", "purl", "licenses", "supplier", "cpe")


def check_index(connection: Connection, report: Report, *, blobs: Blobs, read: Read) -> None:
    """Look at all of it."""
    packages = _packages(connection, report)
    _check_components(connection, report, packages)
    last: int | None = None
    document = tables.document
    for rows in _in_order(connection, document):
        for row in rows:
            _check_orphans(connection, report, after=last, before=row["id"])
            last = row["id"]
            _check_document(connection, row, report, blobs=blobs, read=read)
    _check_orphans(connection, report, after=last, before=None)
    _check_pending(connection, report)


def _in_order(connection: Connection, table: Table) -> Iterator[Sequence[Mapping[str, Any]]]:
    number = table.c.id
    query = select(*dialect.stored(connection, table.columns)).order_by(number).limit(BATCH)
    rows: list[Mapping[str, Any]] = [dict(row) for row in connection.execute(query).mappings()]
    while rows:
        yield rows
        rows = [dict(row) for row in connection.execute(query.where(number > rows[-1]["id"])).mappings()]


def _packages(connection: Connection, report: Report) -> dict[int, str]:
    """The packages' keys by their numbers; those that are not what their names say are told."""
    found = {}
    for rows in _in_order(connection, tables.package):
        for row in rows:
            key = key_of((str(row["type"]), str(row["namespace"]), str(row["name"])))
            if key != row["key"]:
                _tell(report, tables.package, row["id"], "its key is not that of its names")
            found[row["id"]] = key
    return found


def _check_components(connection: Connection, report: Report, packages: Mapping[int, str]) -> None:
    """A component's name is the hash of all that it says, and its package follows from that."""
    gone = set()
    for rows in _in_order(connection, tables.component):
        for row in rows:
            if row["package"] not in packages:
                gone.add(row["package"])
            if _hash(row) != bytes(row["hash"]):
                _tell(report, tables.component, row["id"], "not what was read: its hash is another")
            elif row["package"] in packages and packages[row["package"]] != _package(row):
                _tell(report, tables.component, row["id"], "it stands under another package than its own")
    for number in sorted(gone, key=str):
        _tell(report, tables.package, number, "the row is gone")


def _hash(row: Mapping[str, Any]) -> bytes:
    try:
        return hash_of([row[name] for name in _WORDS])
    except (TypeError, ValueError):  # no text, or none that can be written
        return b""


def _package(row: Mapping[str, Any]) -> str:
    return key_of(package_of(row["name"], row["purl"]))


def _check_document(
    connection: Connection, row: Mapping[str, Any], report: Report, *, blobs: Blobs, read: Read
) -> None:
    report.documents += 1
    if row["indexed_at"] is None or row["edition"] != EDITION:
        return
    try:
        content = blobs.read(connection, str(row["artifact"]))
    except EvaluationError as exc:
        if row["problem"] != exc.code:
            _tell(report, tables.document, row["id"], f"its bytes cannot be read: {exc.code}")
        return
    if content is None:
        _tell(report, tables.document, row["id"], "no bytes of this name were recorded")
        return
    said = read(content)
    if row["problem"] in _OF_A_WORKER and not said.problem:
        _tell(report, tables.document, row["id"], f"it could not be read then ({row['problem']}), and can be now")
        return
    expected = {"problem": said.problem, **head(said)}
    wrong = sorted(name for name, value in expected.items() if _stored(row[name], value) != value)
    if wrong:
        _tell(report, tables.document, row["id"], f"not what its bytes say: {', '.join(wrong)}")
    _check_links(connection, row["id"], said, report)
    _check_subjects(connection, row["id"], said, report)
    rows = dict(said.rows)
    for table in OWN_ROWS:
        if table not in {tables.sbom_component, tables.document_subject}:
            _check_rows(connection, row["id"], table, rows.get(table.name, ()), report)


def _stored(found: Any, expected: Any) -> Any:
    """A value as it lies in the database, where SQLite keeps times as text."""
    if isinstance(expected, datetime) and isinstance(found, str):
        try:
            return datetime.fromisoformat(found)
        except ValueError:
            return found
    return found


def _check_links(connection: Connection, document: int, said: Contents, report: Report) -> None:
    link, component = tables.sbom_component, tables.component
    query = select(link.c.component, link.c.segment, component.c.id, component.c.hash)
    query = query.outerjoin_from(link, component, component.c.id == link.c.component).where(link.c.document == document)
    expected = {row.hash: row for row in said.components}
    unknown = 0
    for number, segment, there, content in connection.execute(query.order_by(link.c.component)):
        where = f"{document} {number}"
        if there is None:
            unknown += 1
            _tell(report, component, number, "the row is gone")
            continue
        if segment != document // tables.SEGMENT:
            _tell(report, link, where, "it stands in another segment than its document's")
        if expected.pop(bytes(content), None) is None:
            _tell(report, link, where, "its document does not list this component")
    missing = list(expected.values())[: max(0, len(expected) - unknown)]
    known = parameters.ids_of(connection, component.c.hash, [row.hash for row in missing[:BATCH]])
    for row in missing:
        number = next((number for content, number in known.items() if bytes(content) == row.hash), None)
        where = f"{document} {number if number is not None else row.purl or row.name}"
        _tell(report, link, where, f"the row is gone: its document lists {row.purl or row.name}")


def _check_subjects(connection: Connection, document: int, said: Contents, report: Report) -> None:
    table = tables.document_subject
    query = select(*dialect.stored(connection, (table.c.digest,))).where(table.c.document == document)
    found, expected = set(connection.execute(query).scalars()), set(said.subjects)
    for digest in sorted(found - expected, key=str):
        _tell(report, table, f"{document} {digest}", "its document does not say that it is about this image")
    for digest in sorted(expected - found):
        _tell(report, table, f"{document} {digest}", "the row is gone")


def _check_rows(
    connection: Connection, document: int, table: Table, said: Sequence[Mapping[str, Any]], report: Report
) -> None:
    """The rows that a table of one kind of document has of it."""
    names = [column.name for column in table.primary_key if column.name != "document"]
    query = select(*dialect.stored(connection, table.columns)).where(table.c.document == document)
    found = {tuple(row[name] for name in names): row for row in connection.execute(query).mappings()}
    expected = {tuple(row[name] for name in names): row for row in said}
    for key in sorted(found.keys() | expected.keys(), key=str):
        where = " ".join(map(str, (document, *key)))
        if key not in expected:
            _tell(report, table, where, "its document does not say this")
        elif key not in found:
            _tell(report, table, where, "the row is gone")
        elif any(_stored(found[key][name], value) != value for name, value in expected[key].items()):
            _tell(report, table, where, "not what its document says")


def _check_orphans(connection: Connection, report: Report, *, after: int | None, before: int | None) -> None:
    """Rows of documents that are not there, of numbers between two that are; of each table the first are named."""
    for table in OWN_ROWS:
        column = table.c.document
        last = after
        while True:
            query = select(func.min(column))
            query = query if last is None else query.where(column > last)
            found = connection.execute(query if before is None else query.where(column < before)).scalar()
            if found is None:
                break
            _tell(report, tables.document, found, f"the row is gone, and {table.name} has rows of it")
            keys = dialect.stored(connection, tuple(table.primary_key))
            for row in connection.execute(select(*keys).where(column == found).order_by(*keys).limit(SHOWN)):
                _tell(report, table, " ".join(map(str, row)), "there is no document of this number")
            last = found


def _check_pending(connection: Connection, report: Report) -> None:
    """What is not indexed: was it once, or does it wait? Only `index_state` says so, and nothing vouches for that row.
    So both are told, and whoever indexes goes by the row no further than by what he has seen himself."""
    state = tables.index_state
    for number, until in connection.execute(select(*dialect.stored(connection, (state.c.id, state.c.until)))):
        if number != 1 or (until is not None and noted(connection) is None):
            _tell(report, state, number, "no time up to which everything is indexed")
    found = pending().subquery()
    waiting = connection.execute(select(func.count()).select_from(found)).scalar_one()
    until = noted(connection)
    if until is not None:
        gone = select(found.c.artifact).where(found.c.found_at < until).order_by(found.c.artifact)
        for artifact in connection.execute(gone).scalars():
            report.add(CODE, f"blob {artifact}", "it was indexed, and the index has nothing of it")
            waiting -= 1
    report.unindexed = waiting


def _tell(report: Report, table: Table, key: object, message: str) -> None:
    report.add(CODE, f"table {table.name}, {key}", message)
