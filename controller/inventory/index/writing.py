"""From an artefact that was recorded to the rows of its document: in small transactions, and whole or not there.

Whoever writes the index holds its lock alone (`dialect.claim`); that saves work, and nothing else hangs on it: every
statement can be repeated, and a document's name is its artefact. What died half-way is done again from its first row.

Components and packages stay when the last document that lists them goes: they say nothing by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select, and_, bindparam, delete, func, or_, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import EvaluationError, Unavailable
from controller.inventory import tables
from controller.inventory.blobs.store import Blobs
from controller.inventory.database import dialect, engines, parameters
from controller.inventory.database.inserts import Inserting
from controller.inventory.index.contents import Contents, Listed, PackageName, key_of
from controller.inventory.index.reading import EDITION, failed
from controller.inventory.recording.append import LOOKUP

LOCK = 0x61737361795F6978  # "assay_ix": the name of the lock of who writes the index in PostgreSQL
BATCH = 100  # documents looked for at once
MAX_CACHED = 50_000  # components whose numbers are remembered within one pass: bounds memory, never correctness
SLACK = timedelta(minutes=10)  # by which a record's time may lie before its commit, or another process's clock behind
AGAIN = timedelta(hours=1)  # and everything is looked at: what was dropped and recorded again is as old as it was
FINDINGS = ("attestation", "rejection")  # what is said of artefacts that may hold a document

_Step = tuple[int, Callable[[Connection, int], None]]  # rows, and what writes them, given the document's number

Read = Callable[[bytes], Contents]
"""What an artefact's bytes say. Raises `Unavailable` where that cannot be told now."""

_DOCUMENT = tables.document
_NUMBER = select(_DOCUMENT.c.id).where(_DOCUMENT.c.artifact == bindparam("artifact"))
_WHOLE = update(_DOCUMENT).where(_DOCUMENT.c.id == bindparam("document")).values(indexed_at=bindparam("now"))
_PACKAGES, _COMPONENTS, _LINKS, _SUBJECTS = (
    Inserting(table, lambda statement: statement.on_conflict_do_nothing())
    for table in (tables.package, tables.component, tables.sbom_component, tables.document_subject)
)
_HEADS = Inserting(
    _DOCUMENT,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["artifact"],
        set_={column.name: statement.excluded[column.name] for column in _DOCUMENT.c if column.name != "id"},
    ).returning(_DOCUMENT.c.id),
)
_HEAD = (
    *("kind", "predicate_type", "problem", "problem_detail", "format", "spec_version", "name", "created_at"),
    *("tool", "author", "lacks_version", "lacks_supplier", "lacks_identifier", "lacks_license"),
)
_OF_KINDS = (
    *(tables.document_trace, tables.scan, tables.vulnerability_finding, tables.finding_alias),
    *(tables.vex_statement, tables.vex_name),
)
OWN_ROWS = (tables.sbom_component, tables.document_subject, *_OF_KINDS)
"""The tables whose rows belong to one document, by their column `document`."""

_INSERTING: Mapping[str, Inserting] = {
    table.name: Inserting(table, lambda statement: statement.on_conflict_do_nothing()) for table in _OF_KINDS
}
"""How the rows of `Contents.rows` are inserted, by their table's name."""


@dataclass(frozen=True, slots=True)
class Progress:
    """What one pass did. `more`: there may be more. `waiting` is when the oldest that is left was recorded."""

    indexed: int = 0
    unreadable: int = 0
    more: bool = False
    waiting: datetime | None = None


class Indexer:
    """Keeps the index, one pass at a time; close to nothing to do is close to no cost.

    `pace` is told how long each transaction took: it may sleep, so that others come to write.
    """

    def __init__(
        self,
        writing: Engine,
        reading: Engine,
        *,
        blobs: Blobs,
        read: Read,
        clock: Callable[[], datetime],
        pace: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        self._writing = writing
        self._reading = reading
        self._blobs = blobs
        self._read = read
        self._clock = clock
        self._pace = pace
        self._noted: datetime | None = None  # in the database, where anybody can have written it
        self._looked: datetime | None = None  # when it last looked at everything, and nothing was left
        self._is_whole = True  # whether the look that goes on is such
        self._until: datetime | None = None  # this process knows itself that all that was found by then is indexed
        self._components: dict[bytes, int] = {}
        self._rows = dialect.rows_at_once(writing)  # of one transaction

    def step(self, stopping: Callable[[], bool] = lambda: False) -> Progress:
        """Index what was recorded since, at most `BATCH` documents.

        Raises `Unavailable` where a document cannot be read now, `sqlalchemy.exc.SQLAlchemyError`.
        """
        began = self._clock()
        found = self._pending()
        if not found:
            self._done(began)
            return Progress()
        if not self._claim():
            return Progress(waiting=found[0][1])
        indexed = unreadable = 0
        try:
            found = self._pending()  # whoever held the lock until now has done some of it
            for artifact, _ in found:
                if stopping():
                    break
                problem = self._index(artifact)
                indexed += 1
                unreadable += bool(problem)
        finally:
            self._components.clear()
            with suppress(SQLAlchemyError):  # with the connection goes the lock
                self._give_back()
        left = found[indexed:]
        return Progress(indexed, unreadable, more=True, waiting=left[0][1] if left else None)

    def rest(self) -> None:
        """There is nothing to write for a while."""
        engines.let_go(self._writing)

    def _pending(self) -> list[tuple[str, datetime]]:
        """What was recorded and is not indexed, the oldest first."""
        with self._reading.begin() as connection:
            dialect.take_time(connection)
            self._noted = noted(connection)
            self._is_whole = self._looked is None or abs(self._clock() - self._looked) > AGAIN
            since = min(self._noted, self._until) if self._noted and self._until else None
            query = pending(None if self._is_whole else since)
            query = query.order_by(text("found_at"), tables.verification.c.artifact).limit(BATCH)
            return [(row.artifact, row.found_at) for row in connection.execute(query)]

    def _done(self, began: datetime) -> None:
        """Note that there is nothing left of what was recorded well before this pass began. A note that says more than
        that is put right: who holds the index against the documents goes by it."""
        self._until = until = began - SLACK
        if self._is_whole:
            self._looked = began
        if self._noted is None or abs(until - self._noted) > SLACK:
            with self._transaction() as connection:
                statement = dialect.upsert(connection, tables.index_state).values(id=1, until=until)
                connection.execute(statement.on_conflict_do_update(index_elements=["id"], set_={"until": until}))

    def _index(self, artifact: str) -> str:
        """One document, whole. Returns the code of why it could not be read, empty if it could."""
        contents = self._contents(artifact)
        if contents is None:  # dropped since
            return ""
        before = self._number(artifact)
        if before is not None:
            self._clear(before)
        number = None
        for batch in _batches(self._steps(contents), self._rows):
            with self._transaction() as connection:
                if number is None:
                    number = _begin(connection, artifact, contents)
                elif not _is_there(connection, number, artifact):
                    return contents.problem  # its bytes were dropped meanwhile, and so was it
                for write in batch:
                    write(connection, number)
        return contents.problem

    def _steps(self, contents: Contents) -> Iterator[_Step]:
        """All that has to be written of a document, in order, and how many rows each has; its own row says last that
        it is whole."""
        for digests in chunks(contents.subjects, self._rows):
            yield len(digests), partial(_write, _SUBJECTS, [{"digest": digest} for digest in digests])
        for components in chunks(contents.components, self._rows):
            yield len(components), partial(self._link, components)
        for name, rows in contents.rows:
            for chunk in chunks(rows, self._rows):
                yield len(chunk), partial(_write, _INSERTING[name], chunk)
        yield 0, partial(_finish, self._clock())

    def _contents(self, artifact: str) -> Contents | None:
        """What the document says; None where its bytes are not there any more."""
        try:
            with self._reading.begin() as connection:
                content = self._blobs.read(connection, artifact)
            return None if content is None else self._read(content)
        except Unavailable:
            raise
        except EvaluationError as exc:
            return failed(exc)

    def _number(self, artifact: str) -> int | None:
        """The number of a document that an earlier reader has begun; None of a new one."""
        with self._reading.begin() as connection:
            return connection.execute(_NUMBER, {"artifact": artifact}).scalar()

    def _clear(self, number: int) -> None:
        with self._transaction() as connection:
            connection.execute(update(_DOCUMENT).where(_DOCUMENT.c.id == number).values(indexed_at=None))
        for table in OWN_ROWS:
            while True:
                with self._transaction() as connection:
                    if not forget(connection, table, number, limit=self._rows):
                        break

    def _link(self, components: Sequence[Listed], connection: Connection, document: int) -> None:
        segment = document // tables.SEGMENT
        numbers = sorted({number for number in self._numbers(connection, components) if number > 0})
        _LINKS.run(connection, [{"document": document, "component": one, "segment": segment} for one in numbers])

    def _numbers(self, connection: Connection, components: Sequence[Listed]) -> list[int]:
        known = self._components
        if len(known) > MAX_CACHED:
            known.clear()
        new = {row.hash: row for row in components if row.hash not in known}
        if new:
            known |= _stored(connection, new)
            absent = [row for row in new.values() if row.hash not in known]
            if absent:
                packages = _packages(connection, {row.package for row in absent})
                _COMPONENTS.run(connection, [{**row._asdict(), "package": packages[row.package]} for row in absent])
                known |= _stored(connection, [row.hash for row in absent])
        return [known[row.hash] for row in components]

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._writing.begin() as connection:
            began = time.monotonic()
            yield connection
        self._pace(time.monotonic() - began)

    def _claim(self) -> bool:
        with self._writing.begin() as connection:
            return dialect.claim(connection, LOCK)

    def _give_back(self) -> None:
        with self._writing.begin() as connection:
            dialect.give_back(connection, LOCK)


def _begin(connection: Connection, artifact: str, contents: Contents) -> int:
    """The number of a document that counts for nothing yet."""
    row = {"artifact": artifact, "edition": EDITION, "indexed_at": None, **head(contents)}
    return int(_HEADS.run(connection, [row])[0][0])


def _is_there(connection: Connection, number: int, artifact: str) -> bool:
    """Whether the document that was begun is still one; nobody can drop it before this transaction ends."""
    mine = _DOCUMENT.c.id == number, _DOCUMENT.c.artifact == artifact
    return connection.execute(select(_DOCUMENT.c.id).where(*mine).with_for_update()).scalar() is not None


def _write(inserting: Inserting, rows: Sequence[Mapping[str, Any]], connection: Connection, document: int) -> None:
    inserting.run(connection, [{"document": document, **row} for row in rows])


def _finish(now: datetime, connection: Connection, document: int) -> None:
    connection.execute(_WHOLE, {"document": document, "now": now})


def _batches(steps: Iterable[_Step], most: int) -> Iterator[list[Callable[[Connection, int], None]]]:
    """What is written in one transaction: steps until there are so many rows."""
    batch: list[Callable[[Connection, int], None]] = []
    size = 0
    for rows, write in steps:
        batch.append(write)
        size += rows
        if size >= most:
            yield batch
            batch, size = [], 0
    yield batch


T = TypeVar("T")


def chunks(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """The items, some at a time."""
    waiting = iter(items)
    while some := tuple(islice(waiting, size)):
        yield some


def noted(connection: Connection) -> datetime | None:
    """Up to when all that was found is indexed, as the database says; None where it says nothing, or no time."""
    state = tables.index_state
    query = select(*dialect.stored(connection, (state.c.until,))).where(state.c.id == 1)
    found = connection.execute(query).scalar()
    try:
        time = found if isinstance(found, datetime) else datetime.fromisoformat(found or "")
    except (TypeError, ValueError):
        return None
    return time.astimezone(UTC) if time.tzinfo is not None else None


def pending(since: datetime | None = None) -> Select[Any]:
    """The artefacts (`artifact`, `found_at`) of which something was said since then, and that are not indexed."""
    found, document = tables.verification, _DOCUMENT
    query = (
        select(found.c.artifact, func.min(found.c.recorded_at, type_=tables.Instant).label("found_at"))
        .join(tables.blob, tables.blob.c.digest == found.c.artifact)
        .outerjoin(document, and_(document.c.artifact == found.c.artifact, document.c.edition >= EDITION))
        .where(found.c.finding.in_(FINDINGS), or_(document.c.id.is_(None), document.c.indexed_at.is_(None)))
        .group_by(found.c.artifact)
    )
    return query if since is None else query.where(found.c.recorded_at >= since)


def head(contents: Contents) -> dict[str, Any]:
    """The document's own row, but for its name and number."""
    return {name: getattr(contents, name) for name in _HEAD} | {"components": contents.listed}


def forget(connection: Connection, table: Any, document: int, *, limit: int) -> int:
    """Delete some of the rows that a table has of a document. Returns how many."""
    keys = list(table.primary_key.columns)
    some = select(*keys).where(table.c.document == document).limit(limit)
    rows = [tuple(row) for row in connection.execute(some)]
    if rows:
        connection.execute(delete(table).where(table.c.document == document, keys[-1].in_([row[-1] for row in rows])))
    return len(rows)


def _stored(connection: Connection, hashes: Iterable[bytes]) -> dict[bytes, int]:
    column = tables.component.c.hash
    return {
        bytes(found): number
        for some in chunks(hashes, LOOKUP)
        for found, number in parameters.ids_of(connection, column, some).items()
    }


def _packages(connection: Connection, names: set[PackageName]) -> dict[PackageName, int]:
    by_key = {key_of(name): name for name in names}
    column = tables.package.c.key

    def stored() -> dict[str, int]:
        return {
            found: number
            for some in chunks(by_key, LOOKUP)
            for found, number in parameters.ids_of(connection, column, some).items()
        }

    known = stored()
    absent = [
        {"key": key, **dict(zip(("type", "namespace", "name"), name, strict=True))}
        for key, name in sorted(by_key.items())
        if key not in known
    ]
    if absent:
        _PACKAGES.run(connection, absent)
        known = stored()
    return {name: known[key] for key, name in by_key.items()}


def rebuild(writing: Engine, *, blobs: Blobs, read: Read, clock: Callable[[], datetime]) -> int:
    """Throw the index away, and make it again from the bytes. Returns the number of documents.

    One that dies half-way is continued by whoever indexes next. Raises `Unavailable` (`IndexBusy`) while another does.
    """
    with writing.begin() as connection:
        if not dialect.claim(connection, LOCK):
            raise Unavailable("IndexBusy", "another process is indexing documents: try again")
        dialect.take_time(connection)
        for table in tables.INDEXES:
            connection.execute(delete(table))
    indexer = Indexer(writing, writing, blobs=blobs, read=read, clock=clock)
    count = 0
    while (progress := indexer.step()).more:
        count += progress.indexed
    with writing.begin() as connection:
        dialect.give_back(connection, LOCK)
    return count
