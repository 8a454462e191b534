"""The asset list that FedRAMP's continuous monitoring asks for: one asset for each image that runs.

"Vulnerability Scanning Requirements for Containers" (FedRAMP, 2021) wants a unique asset identifier for every class of
image that corresponds to containers in production. Here that is the repository with the image's digest: it is the same
whenever and wherever the image runs, and another image has another.

What Assay does not know stays empty, as the workbook's instructions ask.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, or_, select

from controller.inventory import tables
from controller.inventory.asking.asker import DEFAULT_LIMIT, Asker, check_limit
from controller.inventory.asking.documents.described import Described, described, within
from controller.inventory.asking.kinship import is_about, named
from controller.inventory.asking.paging import Paging
from controller.inventory.asking.runs.standing import Moment, Owners, Standing, chunks, owners, standing
from controller.inventory.database.dialect import bytewise
from controller.inventory.database.parameters import texts
from controller.inventory.origins import BASE, SYSTEM
from controller.inventory.recording.claims import ANNOTATION, CONFIGURATION, LABEL

SCAN_WITHIN = timedelta(days=30)
"""How recent a scan has to be: FedRAMP's requirements for containers have images scanned within 30 days."""

MAX_NAMED = 20  # workloads and namespaces that are named in one cell; more are counted


@dataclass(frozen=True, slots=True)
class Workload:
    """Who runs an asset: `owner` is the pod's controller, `Kind/name`, or empty; so many containers of it."""

    cluster: str
    namespace: str
    owner: str
    containers: int


@dataclass(frozen=True, slots=True)
class Asset:
    """One image that runs. `identifier` is `repository@digest`.

    `system` is the operating system by its SBOM, `base` the image that it was built on by its provenance. Where no
    verified document says it, they are what the image claims of itself, and `system_source` and `base_source` say so:
    `configuration`, `annotation` or `label` instead of `sbom` or `provenance`; all are empty where nothing says it.
    `scanned_at` is the time of the newest verified report of vulnerabilities.
    """

    identifier: str
    repository: str
    digest: str
    references: tuple[str, ...]
    containers: int
    workloads: tuple[Workload, ...]
    clusters: tuple[str, ...]
    since: datetime
    system: str
    system_source: str
    base: str
    base_source: str
    scanned_at: datetime | None
    scanner: str
    in_latest_scan: bool


@dataclass(frozen=True, slots=True)
class AssetPage:
    """Assets, by identifier."""

    items: tuple[Asset, ...]
    cursor: str | None


class Assets(Asker):
    """Reads the asset list."""

    def assets(
        self,
        *,
        as_of: datetime | None = None,
        namespace: str | None = None,
        cluster: str | None = None,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        known_at: datetime | None = None,
    ) -> AssetPage:
        """The assets at a time (default: now). Raises `InputError`: `LimitOutOfRange`, `CursorMalformed`."""
        check_limit(limit)
        paging = Paging.of("assets", cursor, str, as_of=as_of, known_at=known_at, now=True)
        (after,) = paging.place or ("",)
        times = Moment(paging.at, paging.known_at, namespace, cluster, paging.read_by)
        with self._reading() as connection:
            left = _identifiers(connection, times, after, limit + 1)
            digests = {identifier.rpartition("@")[2] for identifier in left[:limit]}
            shown: dict[str, list[Standing]] = {identifier: [] for identifier in left[:limit]}
            running = standing(connection, times, digests)
            for one in running:
                if (identifier := f"{one.repository}@{one.digest}") in shown:
                    shown[identifier].append(one)
            alone = owners(running)
            found = described(connection, alone, ("sbom", "provenance", "vulnerabilities"), times)
            told = _told(connection, found)
            claimed = _claimed(connection, alone, times)
            more = paging.after(connection, (left[limit - 1],) if len(left) > limit else None)
        assets = [
            _asset(identifier, some, found[_digest(some)], told, claims=_nearest(claimed, _digest(some)), times=times)
            for identifier, some in shown.items()
        ]
        return AssetPage(tuple(assets), more)


def _nearest(claimed: Mapping[str, Mapping[str, Sequence[_Claim]]], digest: str) -> list[_Claim]:
    """What the digest that runs claims; where it says nothing of a thing, what is claimed under its other names."""
    names = claimed[digest]
    first = list(names.get(digest, ()))
    said = {one[:2] for one in first}
    return first + [one for name in sorted(names) if name != digest for one in names[name] if one[:2] not in said]


def _identifiers(connection: Connection, moment: Moment, after: str, limit: int) -> list[str]:
    """The next identifiers of assets after this one, in order."""
    runs = moment.rows(connection, "repository", "digest", also=[tables.run.c.digest.is_not(None)])
    identifier = bytewise(connection, runs.c.repository) + "@" + runs.c.digest
    query = select(identifier).distinct().where(identifier > after)
    return list(connection.execute(query.order_by(identifier).limit(limit)).scalars())


_Told = Mapping[int, Sequence[tuple[str, str]]]
"""What documents lead to, by the document's number: kinds and values."""


def _digest(some: Sequence[Standing]) -> str:
    return str(some[0].digest)


def _told(connection: Connection, found: Mapping[str, Collection[Described]]) -> _Told:
    trace = tables.document_trace
    numbers = sorted({one.document for some in found.values() for one in some if one.document is not None})
    told: dict[int, list[tuple[str, str]]] = defaultdict(list)
    query = select(trace.c.document, trace.c.kind, trace.c.value).where(trace.c.kind.in_([BASE, SYSTEM]))
    query = query.order_by(trace.c.document, trace.c.kind, trace.c.value)
    for chunk in chunks(numbers):
        for document, kind, value in connection.execute(query.where(trace.c.document.in_(chunk))):
            told[document].append((kind, value))
    return told


_Claim = tuple[str, str, str]
"""What an image says of itself: where it says it, what it is about, and the value."""


def _claimed(connection: Connection, running: Owners, times: Moment) -> Mapping[str, Mapping[str, Sequence[_Claim]]]:
    """What these running images claim of their base images and systems under each name, as far as it was known, and may
    be known.

    All of it is bound by their digests, but for what an index says that a run does not name: what that says of a
    manifest counts where the index was met, and of one that several namespaces run not at all.
    """
    claim = tables.claim
    names = named(texts(connection, ("digest", "owner"), sorted(running.items())), times.known_at)
    itself = or_(claim.c.digest == names.c.digest, claim.c.artifact == claim.c.child)
    is_said = or_(claim.c.source != ANNOTATION, itself, claim.c.policy_namespace.in_(["", names.c.owner]))
    columns = [claim.c[name] for name in ("digest", "child", "artifact", "source", "kind", "value")]
    query = (
        select(*columns, names.c.digest.label("run"))
        .join(names, and_(claim.c.digest == names.c.name, is_about(claim, names)))
        .where(is_said, *within(claim, times))  # by digest alone: with kinds a database goes through all of these
        .distinct()
        .order_by(*columns)
    )
    rows: dict[str, list[Any]] = {digest: [] for digest in running}
    for row in connection.execute(query):
        rows[row.run].append(row)
    return {digest: _by_name(some) for digest, some in rows.items()}


def _by_name(claimed: Iterable[Row[Any]]) -> Mapping[str, Sequence[_Claim]]:
    """An index may say anything of whatever manifest: what that says of itself counts before it."""
    said = [(row.child or row.digest, row) for row in claimed]
    says_itself = {name for name, row in said if row.source == ANNOTATION and row.artifact == name}
    found: dict[str, dict[_Claim, None]] = defaultdict(dict)
    for name, row in said:
        if row.source != ANNOTATION or row.artifact == name or name not in says_itself:
            found[name][row.source, row.kind, row.value] = None
    return {name: tuple(claims) for name, claims in found.items()}


def _asset(
    identifier: str,
    some: Sequence[Standing],
    found: Sequence[Described],
    told: _Told,
    *,
    claims: Sequence[_Claim],
    times: Moment,
) -> Asset:
    readable = [one for one in found if not one.problem]
    scan = _newest(one for one in readable if one.kind == "vulnerabilities" and not one.says_nothing)
    sbom = _newest(one for one in readable if one.kind == "sbom")
    provenance = _newest(one for one in readable if one.kind == "provenance")
    system, system_source = _first(
        ("sbom", _only(_values(told, sbom, SYSTEM))),
        (CONFIGURATION, _only(_claims(claims, CONFIGURATION, SYSTEM))),
    )
    base, base_source = _first(
        ("provenance", _base(_values(told, provenance, BASE))),
        *((source, _base(_claims(claims, source, BASE))) for source in (ANNOTATION, LABEL)),
    )
    by_workload: Counter[tuple[str, str, str]] = Counter()
    for one in some:
        by_workload[one.cluster, one.namespace, one.owner] += one.runs
    return Asset(
        identifier=identifier,
        repository=some[0].repository,
        digest=_digest(some),
        references=tuple(sorted({one.reference.partition("@")[0] for one in some})),
        containers=sum(one.runs for one in some),
        workloads=tuple(Workload(*key, containers=count) for key, count in sorted(by_workload.items())),
        clusters=tuple(sorted({one.cluster for one in some})),
        since=min(one.since for one in some),
        system=system,
        system_source=system_source,
        base=base,
        base_source=base_source,
        scanned_at=scan.at if scan is not None else None,
        scanner=scan.tool if scan is not None else "",
        in_latest_scan=scan is not None and times.as_of - scan.at <= SCAN_WITHIN,
    )


def _newest(some: Iterable[Described]) -> Described | None:
    return max(some, key=lambda one: (one.at, one.recorded_at, one.artifact), default=None)


def _values(told: _Told, document: Described | None, kind: str) -> list[str]:
    if document is None or document.document is None:
        return []
    return [value for each, value in told.get(document.document, ()) if each == kind]


def _claims(claims: Sequence[_Claim], source: str, kind: str) -> list[str]:
    return sorted({value for by, about, value in claims if (by, about) == (source, kind)})


def _first(*told: tuple[str, str]) -> tuple[str, str]:
    """The first that says something, and by whose word that is."""
    return next(((value, source) for source, value in told if value), ("", ""))


def _only(found: Sequence[str]) -> str:
    """The one value, or nothing: of several nobody can say which one is meant."""
    return found[0] if len(found) == 1 else ""


def _base(found: Sequence[str]) -> str:
    """The base image by name and tag, where one image alone is named."""
    found = [value for value in found if not value.startswith("sha256:")]
    repositories = {value.rpartition("/")[0] + "/" + value.rpartition("/")[2].partition(":")[0] for value in found}
    return max(found, key=len) if len(repositories) == 1 else ""
