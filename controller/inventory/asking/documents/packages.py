"""What runs, or ran, that contains a package: where, since when, by which document, and whether that was known then."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select

from controller.documents import purls
from controller.documents.packages import Query
from controller.documents.unquoted import quoting
from controller.errors import InputError
from controller.inventory import tables
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.cursors import Place
from controller.inventory.asking.documents import attesting, listing
from controller.inventory.asking.documents.attesting import Attested, Knowledge
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.runs.ranges import RunFilter, by_leaf, namespaces_by_image, places
from controller.inventory.database.parameters import among
from controller.inventory.index.contents import key_of, package_name
from controller.model.documents import Component

MAX_COMPONENTS = 50_000  # of one package, in all its versions, that are judged for one answer
MAX_DOCUMENTS = 50_000  # that list one of them
MAX_SCANNED = 20_000  # runs looked at for one page
MAX_WIDE = 5_000  # of these at once

_component, _package, _link = tables.component, tables.package, tables.sbom_component
_Place = tuple[datetime, int, int]  # a run's start and leaf, and the last of its components that was told


@dataclass(frozen=True, slots=True)
class PackageRun:
    """One component of one run that matches.

    `verified`: the document (`artifact`) was verified for this image; else `code` says why it was not. It was
    `signed_at`, and `recorded_at` in the inventory; `known_then`: by the time that was asked about.
    """

    cluster: str
    namespace: str
    pod: str
    container: str
    owner: str
    reference: str
    digest: str
    started_at: datetime
    ended_at: datetime | None
    purl: str
    name: str
    version: str | None
    verified: bool
    code: str
    artifact: str
    signed_at: datetime | None
    recorded_at: datetime
    known_then: bool


@dataclass(frozen=True, slots=True)
class PackagePage:
    """Matches, of the run that started last first. `cursor` asks for the next page; it is None on the last."""

    items: tuple[PackageRun, ...]
    cursor: str | None


@dataclass(frozen=True, slots=True)
class _Found:
    """The components that match, by number, and the documents that list them, of each digest that was looked at."""

    components: Mapping[int, Component]
    listed: Mapping[int, Sequence[int]]  # of each document those that it lists, sorted
    known: Knowledge
    attested: dict[str, Sequence[Attested]] = field(default_factory=dict)
    best: dict[tuple[str, str], Sequence[tuple[int, Attested]]] = field(default_factory=dict)  # and of a namespace

    def learn(self, connection: Connection, digests: Iterable[str]) -> None:
        """Find the documents of these digests that list some, unless that was done."""
        for digest, attested in attesting.of_runs(connection, set(digests) - self.attested.keys(), self.known).items():
            self.attested[digest] = [one for one in attested if one.document in self.listed]

    def of(self, digest: str, namespace: str) -> Sequence[tuple[int, Attested]]:
        """The components of what runs there, each by the document that says so best."""
        found = self.best.get((digest, namespace))
        if found is None:
            attested = self.attested[digest]
            whose = namespace if any(one.policies == namespace for one in attested) else ""
            found = self.best.get((digest, whose))
            if found is None:
                found = self.best[digest, whose] = self._best(one for one in attested if one.counts_in((whose,)))
            self.best[digest, namespace] = found
        return found

    def _best(self, attested: Iterable[Attested]) -> Sequence[tuple[int, Attested]]:
        best: dict[int, Attested] = {}
        for one in attested:
            for number in self.listed[one.document]:
                if number not in best or one.rank < best[number].rank:
                    best[number] = one
        return sorted(best.items(), key=lambda item: item[0])


class Packages(Asker):
    """Finds packages in what ran."""

    def packages(
        self,
        purl: str,
        versions: str = "",
        *,
        as_of: datetime | None = None,
        ever: bool = False,
        namespace: str | None = None,
        cluster: str | None = None,
        unverified: bool = False,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> PackagePage:
        """Every run at a time (default: now) whose image contains the package in these versions.

        `purl` is type, namespace and name; `versions` a comparator (`<2.17.1`, `>=1,<2`), a `vers:` range, or empty for
        all. A component whose version is missing, or cannot be ordered, is told as well. `ever`: whatever ran at any
        time. Only what was verified counts, unless `unverified` adds the rest, marked: by the policies of the cluster,
        or of the run's namespace. A page may hold fewer than `limit` and still have a next one: at most `MAX_SCANNED`
        runs are looked at for it.
        Raises `InputError`: `PackageMalformed`, `LimitOutOfRange`, `CursorMalformed`, `AnswerTooLarge`.
        """
        check_limit(limit)
        try:
            query = Query.parse(purl, versions)
        except ValueError as exc:
            raise InputError("PackageMalformed", quoting(exc)) from exc  # whoever asks wrote the text
        paging = Paging.of("packages", cursor, datetime, int, int, as_of=as_of, known_at=known_at, now=True)
        known_at = paging.known_at
        known = Knowledge(known_at=known_at, namespace=namespace, unverified=unverified)
        with self._reading() as connection:
            where, times = RunFilter(namespace, cluster), {"as_of": None if ever else paging.at, "known_at": known_at}
            found = _find(connection, query, known, lambda: namespaces_by_image(connection, where, **times))
            digests = tuple(sorted(attesting.names_of(connection, sorted(found.listed), known)))
            runs = _Runs(connection, replace(where, digests=digests), **times)
            items, last = _matches(runs, found, place=paging.place, limit=limit, at=paging.at)
            return PackagePage(tuple(items), paging.after(connection, last))


class _Runs:
    """The runs of a question, page by page."""

    def __init__(
        self, connection: Connection, where: RunFilter, *, as_of: datetime | None, known_at: datetime | None
    ) -> None:
        self.connection = connection
        self._where = where
        self._as_of = as_of
        self.known_at = known_at

    def after(self, place: Place | None, limit: int) -> Sequence[Row[Any]]:
        """The next runs of images that may match, the latest started first: their starts, leaves, digests
        and namespaces."""
        return places(
            self.connection,
            self._where,
            as_of=self._as_of,
            known_at=self.known_at,
            before=place,
            limit=limit,
        )


def _matches(
    runs: _Runs, found: _Found, *, place: _Place | None, limit: int, at: datetime
) -> tuple[list[PackageRun], _Place | None]:
    """The next matches, and the place of the last if there may be more."""
    hits: list[tuple[int, int, Attested]] = []
    last, scanned = place, 0
    # The run of the last match may have more of them: it comes again.
    before = (place[0], place[1] + 1) if place is not None else None
    wide = limit + 1  # enough where each has one
    while scanned < MAX_SCANNED:
        rows = runs.after(before, wide)
        found.learn(runs.connection, (row.digest for row in rows))
        for row in rows:
            before = (row.started_at, row.leaf)
            for number, one in found.of(row.digest, row.namespace):
                if place is not None and before == place[:2] and number <= place[2]:
                    continue
                if len(hits) == limit:
                    return _told(runs, found, hits, at), last
                hits.append((row.leaf, number, one))
                last = (*before, number)
        scanned += len(rows)
        if len(rows) < wide:
            return _told(runs, found, hits, at), None
        wide = min(4 * wide, MAX_WIDE)
    assert before is not None  # noqa: S101 - rows were looked at
    return _told(runs, found, hits, at), (*before, 2**31)


def _told(runs: _Runs, found: _Found, hits: Sequence[tuple[int, int, Attested]], at: datetime) -> list[PackageRun]:
    rows = by_leaf(runs.connection, {leaf for leaf, _, _ in hits})
    return [
        _match(rows[leaf], found.components[number], one, known_at=runs.known_at, at=at) for leaf, number, one in hits
    ]


def _match(
    row: Row[Any], component: Component, one: Attested, *, known_at: datetime | None, at: datetime
) -> PackageRun:
    ended = row.ended_at if known_at is None or (row.end_recorded_at or known_at) <= known_at else None
    return PackageRun(
        cluster=row.cluster,
        namespace=row.namespace,
        pod=row.pod,
        container=row.container,
        owner=row.owner,
        reference=row.reference,
        digest=row.digest,
        started_at=row.started_at,
        ended_at=ended,
        purl=component.purl,
        name=component.name,
        version=component.version,
        verified=one.verified,
        code=one.code,
        artifact=one.artifact,
        signed_at=one.signed_at,
        recorded_at=one.recorded_at,
        known_then=one.recorded_at <= at,
    )


class _TooMany(Exception):
    """More of the whole inventory would be gone through than one answer may; says what, and what helps."""


def _find(connection: Connection, query: Query, known: Knowledge, running: Callable[[], Collection[str]]) -> _Found:
    """The components that match, and the documents that list them. With a namespace, `running` are the digests there
    that are asked about: of a package that too many list elsewhere, their documents alone are read.

    Raises `InputError` (`AnswerTooLarge`): with a namespace for what runs there, whatever others run.
    """
    try:
        components = _judged(query, _components(connection, query))
        return _Found(components, _listed(connection, sorted(components)), known)
    except _TooMany as exc:
        if known.namespace is None:
            raise InputError("AnswerTooLarge", str(exc)) from exc
    attested = attesting.of_runs(connection, running(), known)
    documents = {one.document for some in attested.values() for one in some}
    listed = listing.listed(connection, _keys(query), documents)
    components = _judged(query, listed.components)
    matching = {number: list(some) for number, some in listed.by_document(components)}
    for count, most, what in ((len(components), MAX_COMPONENTS, "components"), (len(matching), MAX_DOCUMENTS, "SBOMs")):
        if count > most:
            message = f"more than {most} {what} of this namespace match: ask for a range of versions, or one cluster"
            raise InputError("AnswerTooLarge", message)
    return _Found(components, matching, known)


def _keys(query: Query) -> list[str]:
    names = [package_name(*query.key), *(package_name("", "", name) for name in sorted(query.names))]
    return [key_of(name) for name in names]


def _components(connection: Connection, query: Query) -> Sequence[Row[Any]]:
    """All components that are this package, in any version. Raises `_TooMany`."""
    columns = (_component.c[name] for name in ("id", "name", "version", "purl"))
    rows = connection.execute(
        select(*columns)
        .join(_package, _package.c.id == _component.c.package)
        .where(_package.c.key.in_(_keys(query)))
        .limit(MAX_COMPONENTS + 1)
    ).all()
    if len(rows) > MAX_COMPONENTS:
        raise _TooMany(f"more than {MAX_COMPONENTS} components of this package in the inventory: ask of one namespace")
    return rows


def _judged(query: Query, rows: Iterable[Any]) -> Mapping[int, Component]:
    """Those of these components that are in one of the versions: judged here, since databases know no versions."""
    judged: dict[tuple[str | None, str], bool] = {}
    found: dict[int, Component] = {}
    for row in rows:
        component = Component(row.name, row.version, row.purl)
        key = (row.version, row.purl)
        if key not in judged:
            judged[key] = query.matches(purls.parse(row.purl) if row.purl else None, component)
        if judged[key]:
            found[row.id] = component
    return found


def _listed(connection: Connection, components: Sequence[int]) -> Mapping[int, Sequence[int]]:
    """Of each document those of the components that it lists. Raises `_TooMany`."""
    if not components:
        return {}
    last = connection.execute(select(func.max(tables.document.c.id))).scalar() or 0
    segments = list(range(last // tables.SEGMENT + 1))
    query = (
        select(_link.c.document, _link.c.component)
        .where(among(connection, _link.c.segment, segments), among(connection, _link.c.component, components))
        .order_by(_link.c.component)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for document, component in connection.execute(query):
        found[document].append(component)
        if len(found) > MAX_DOCUMENTS:
            helps = "ask for a range of versions, or of one namespace"
            raise _TooMany(f"more than {MAX_DOCUMENTS} documents that list this package in the inventory: {helps}")
    return found
