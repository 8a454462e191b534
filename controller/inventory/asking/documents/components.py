"""The whole list of components of what runs: of a cluster, a namespace, an image, or all of it, each of them once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from controller.inventory import tables
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.documents import attesting
from controller.inventory.asking.documents.attesting import Attested, Knowledge
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.runs.ranges import RunFilter, namespaces_by_image
from controller.inventory.database.parameters import among
from controller.model.reference import Digest

GATHERED = 150_000  # links of which the components are gathered and sorted; of more, all components are gone through
SCANNED = 1000  # components looked at in one statement
MAX_SCANS = 20  # such statements for one page

_component, _package, _link, _run = tables.component, tables.package, tables.sbom_component, tables.run
_Place = tuple[int, str]
"""A component's number, and its package's key, by which the list is ordered first. In full, and not by the number
alone: who may ask of one namespace would learn, by where his own components stand to it, the name of any other."""


@dataclass(frozen=True, slots=True)
class ComponentRecord:
    """One component, and how many of the images that are asked about list it. `hash` names all that is said of it.

    `verified`: at least one document that lists it was verified for its image.
    """

    hash: str
    type: str
    name: str
    version: str | None
    purl: str
    licenses: tuple[str, ...]
    supplier: str
    cpe: str
    images: int
    verified: bool


@dataclass(frozen=True, slots=True)
class ComponentPage:
    """Components, by package. `images` are those that are asked about, `described` those of them with a document.

    `documents` are the artefacts that the list was made of, sorted. All three are told on the first page alone.
    """

    items: tuple[ComponentRecord, ...]
    cursor: str | None
    images: int | None = None
    described: int | None = None
    documents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Scope:
    """The images that are asked about, and of each document which of them it describes, verified or not."""

    digests: frozenset[str]
    images: Mapping[int, frozenset[str]]
    verified: frozenset[tuple[int, str]]
    documents: tuple[str, ...]


class Components(Asker):
    """Reads lists of components."""

    def components(
        self,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        cluster: str | None = None,
        digest: str | None = None,
        unverified: bool = False,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> ComponentPage:
        """The components of what runs at a time (default: now), each once, by package.

        With a `digest` those of that image, whether it runs or not; with a namespace as well only if it ever ran there.
        What a namespace's own policies found counts for what runs there; for a digest, if it ran there alone.
        Only verified documents count, unless `unverified` adds the rest. A page may hold fewer than `limit` and still
        have a next one. Raises `InputError`: `DigestMalformed`, `LimitOutOfRange`, `CursorMalformed`.
        """
        check_limit(limit)
        paging = Paging.of("components", cursor, int, str, as_of=as_of, known_at=known_at, now=True)
        known_at = paging.known_at
        exact = str(Digest.parse(digest)) if digest is not None else None
        known = Knowledge(known_at=known_at, namespace=namespace, unverified=unverified)
        with self._reading() as connection:
            if exact is not None:
                attested = attesting.of_image(connection, exact, known)
            else:
                where = RunFilter(namespace=namespace, cluster=cluster)
                running = namespaces_by_image(connection, where, as_of=paging.at, known_at=known_at)
                attested = _counting(running, attesting.of_runs(connection, running, known))
            scope = _scope(attested)
            items, last = _page(connection, scope, place=paging.place, limit=limit, confined=namespace is not None)
            more = paging.after(connection, last)
        if cursor is not None:
            return ComponentPage(items, more)
        described = frozenset[str]().union(*scope.images.values())
        return ComponentPage(items, more, len(attested), len(described), scope.documents)


def _counting(
    running: Mapping[str, Collection[str]], attested: Mapping[str, Sequence[Attested]]
) -> Mapping[str, Sequence[Attested]]:
    """Of each image what counts for one of its runs."""
    return {digest: [one for one in some if one.counts_in(running[digest])] for digest, some in attested.items()}


def _scope(found: Mapping[str, Sequence[Attested]]) -> _Scope:
    images: dict[int, set[str]] = defaultdict(set)
    verified: set[tuple[int, str]] = set()
    artifacts: set[str] = set()
    for digest, attested in found.items():
        for one in attested:
            images[one.document].add(digest)
            artifacts.add(one.artifact)
            if one.verified:
                verified.add((one.document, digest))
    return _Scope(
        frozenset(found),
        {document: frozenset(found) for document, found in images.items()},
        frozenset(verified),
        tuple(sorted(artifacts)),
    )


def _page(
    connection: Connection, scope: _Scope, *, place: _Place | None, limit: int, confined: bool
) -> tuple[tuple[ComponentRecord, ...], _Place | None]:
    """The next components, and the place of the last if there may be more: where only a namespace is asked about that
    of one on the page, since what else is gone through is not for who asks."""
    if not scope.images:
        return (), None
    few = _links(connection, scope) <= GATHERED
    wide = limit + 1 if few else 2 * limit  # where much is listed, much of what there is is among it
    listed: dict[int, Sequence[int]] = {}
    told = place
    scans = 0
    while scans < MAX_SCANS or (confined and not listed):
        scans += 1
        rows = connection.execute(_after(connection, scope, place, few=few).limit(wide)).all()
        counted = _counted(connection, scope, [row.id for row in rows])
        for row in rows:
            place = (row.id, row.key)
            if row.id in counted:
                if len(listed) == limit:
                    return _records(connection, scope, listed), told
                listed[row.id] = counted[row.id]
                told = place
        if len(rows) < wide:
            return _records(connection, scope, listed), None
        wide = min(2 * wide, SCANNED)
    return _records(connection, scope, listed), told if confined else place


def _links(connection: Connection, scope: _Scope) -> int:
    """How many links the documents have, about."""
    table = tables.document
    count = select(func.sum(table.c.components)).where(among(connection, table.c.id, sorted(scope.images)))
    return int(connection.execute(count).scalar() or 0)


def _after(connection: Connection, scope: _Scope, place: _Place | None, *, few: bool) -> Select[Any]:
    """The components that come after the place: those of the documents if they are few, else all there are."""
    query = select(_component.c.id, _package.c.key).join_from(
        _package, _component, _component.c.package == _package.c.id
    )
    order: ColumnElement[Any] = _package.c.key
    if few:
        listed = select(_link.c.component).where(among(connection, _link.c.document, sorted(scope.images)))
        query = query.where(_component.c.id.in_(listed))
        order = _package.c.key + ""  # or an index in this order would be gone through, of all that there are
    if place is not None:
        number, key = place
        query = query.where(
            _package.c.key >= key, or_(_package.c.key > key, and_(_package.c.key == key, _component.c.id > number))
        )
    return query.order_by(order, _component.c.id)


def _counted(connection: Connection, scope: _Scope, components: Sequence[int]) -> Mapping[int, Sequence[int]]:
    """Of each component the documents in scope that list it; those without are left out."""
    if not components:
        return {}
    segments = sorted({document // tables.SEGMENT for document in scope.images})
    query = select(_link.c.component, _link.c.document).where(
        among(connection, _link.c.segment, segments), among(connection, _link.c.component, components)
    )
    found: dict[int, list[int]] = defaultdict(list)
    for component, document in connection.execute(query):
        if document in scope.images:
            found[component].append(document)
    return found


def _records(connection: Connection, scope: _Scope, listed: Mapping[int, Sequence[int]]) -> tuple[ComponentRecord, ...]:
    """These components, in this order, each with the documents that list it."""
    query = select(_component, _package.c.type).join(_package, _package.c.id == _component.c.package)
    rows = connection.execute(query.where(among(connection, _component.c.id, list(listed))))
    found = {row.id: row for row in rows}
    return tuple(_record(found[number], scope, documents) for number, documents in listed.items())


def _record(row: Any, scope: _Scope, held: Sequence[int]) -> ComponentRecord:
    images = frozenset[str]().union(*(scope.images[document] for document in held))
    return ComponentRecord(
        hash=bytes(row.hash).hex(),
        type=row.type,
        name=row.name,
        version=row.version,
        purl=row.purl,
        licenses=tuple(json.loads(row.licenses)),
        supplier=row.supplier,
        cpe=row.cpe,
        images=len(images),
        verified=any((document, image) in scope.verified for document in held for image in scope.images[document]),
    )
