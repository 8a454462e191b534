"""What auditors ask of decisions, of what ran, of exceptions and of raw evidence. Everything here reads and is bounded.

Two times are parameters of every question: `as_of`, what was true then, and `known_at`, from what had been recorded by
then.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, case, func, or_, select

from controller.inventory import tables
from controller.inventory.asking import cursors
from controller.inventory.asking.asker import DEFAULT_LIMIT, by_then, check_period
from controller.inventory.asking.decisions import exception_uses, resource_facts, walks
from controller.inventory.asking.runs.running import RunQueries
from controller.inventory.asking.visibility import is_evidence_in, is_found_in, is_policy_in, ran_in
from controller.inventory.blobs.store import COLUMNS
from controller.inventory.database.dialect import take_time
from controller.inventory.recording.projecting import SCHEMA
from controller.inventory.records import (
    DecisionFilter,
    DecisionImage,
    DecisionPage,
    DecisionRecord,
    DecisionSummary,
    ExceptionPage,
    Finding,
    ImageRecord,
    PolicyPage,
    PolicyVersion,
    ResourceVersion,
)
from controller.inventory.tables import of_one_leaf, of_rows
from controller.model.exception import PolicyName
from controller.model.reference import Digest

MAX_FINDINGS = 1000  # findings shown of one image, those that counted before the others: bounds one answer
LOOK_UP = "registry"  # the location of a rejection that says that evidence could not be looked for
WITHHELD = "(withheld: it may name where others pull the image from)"
MAX_REFERENCES = 100  # names shown of one image

_decision = tables.decision
_image = tables.decision_image
_evaluation = tables.evaluation


class Queries(RunQueries):
    """Reads decisions, what ran, exceptions and raw evidence."""

    def decisions(
        self,
        where: DecisionFilter = DecisionFilter(),  # noqa: B008 - frozen
        *,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> DecisionPage:
        """Decisions, newest first.

        Raises `InputError`: `LimitOutOfRange`, `CursorMalformed`, `DigestMalformed`, `ReferenceMalformed`,
        `VerdictUnknown`, `PeriodEmpty`.
        """
        check_period(where.since, where.until)
        with self._reading() as connection:
            return _page(connection, where, limit=limit, cursor=cursor, as_of=as_of, known_at=known_at)

    def decision(
        self, identity: str, *, as_of: datetime | None = None, known_at: datetime | None = None
    ) -> DecisionRecord | None:
        """One decision whole, None if there is none of this id, or it was decided after `as_of`."""
        found = self.record(identity, known_at=known_at)
        if found is None or found.leaf["schema"] != SCHEMA:
            return None
        return found if as_of is None or datetime.fromisoformat(found.leaf["decidedAt"]) <= as_of else None

    def record(self, identity: str, *, known_at: datetime | None = None) -> DecisionRecord | None:
        """One record whole, a decision or what was seen running; None if there is none of this id."""
        leaf = tables.leaf
        query = select(leaf.c.id, leaf.c.recorded_at, leaf.c.canonical).where(leaf.c.id == identity)
        if known_at is not None:
            query = query.where(leaf.c.recorded_at <= known_at)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return DecisionRecord(row.id, row.recorded_at, row.canonical, json.loads(row.canonical))

    def image(
        self,
        digest: str,
        *,
        limit: int = DEFAULT_LIMIT,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
        namespace: str | None = None,
    ) -> ImageRecord | None:
        """What is known of a digest: its decisions, who signed it, what was attested, what did not count.

        With a `namespace` as far as that is concerned: its decisions, and what its and the cluster's policies found, of
        an image that ran there (`visibility`), but for words that may name where others pull it from. None for one that
        did not, or that no decision names.
        Raises `InputError` (`DigestMalformed`, `LimitOutOfRange`).
        """
        where = DecisionFilter(digest=digest, namespace=namespace)
        with self._reading() as connection:
            if namespace is not None and not _is_visible(connection, digest, namespace, known_at):
                return None
            page = _page(connection, where, limit=limit, cursor=None, as_of=as_of, known_at=known_at)
            if not page.items:
                return None
            total = connection.execute(_totals(digest, as_of, known_at, namespace)).one()
            rows = connection.execute(_findings(digest, as_of, known_at, namespace))
            findings = [_finding(row, confined=namespace is not None) for row in rows]
            names = connection.execute(_names(digest, as_of, known_at, namespace)).all()
        return ImageRecord(
            digest=digest,
            references=tuple(sorted({row.reference for row in names})),
            repositories=tuple(sorted({row.repository for row in names})),
            first_decided_at=total.first,
            last_decided_at=total.last,
            admitted=total.admitted,
            denied=total.denied,
            signatures=tuple(item for item in findings if item.finding == "signature"),
            attestations=tuple(item for item in findings if item.finding == "attestation"),
            rejections=tuple(item for item in findings if item.finding == "rejection"),
            decisions=page,
        )

    def exceptions(
        self,
        *,
        name: str | None = None,
        in_force: bool = False,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> ExceptionPage:
        """The exceptions, in each version that was used or applied by `as_of`, the last used first, with their uses; or
        those alone that are known to have been `in_force`.

        Of one that was never used counts when it was applied. Raises `InputError` (`LimitOutOfRange`,
        `CursorMalformed`).
        """
        with self._reading() as connection:
            return exception_uses.page(
                connection,
                name=name,
                in_force=in_force,
                limit=limit,
                cursor=cursor,
                as_of=as_of,
                known_at=known_at,
            )

    def policies(
        self,
        *,
        name: str | None = None,
        cluster: str | None = None,
        in_force: bool = False,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        as_of: datetime | None = None,
        known_at: datetime | None = None,
    ) -> PolicyPage:
        """The versions of policies that were applied by `as_of`, the latest first; or those alone that were `in_force`.

        `name` is a name, or `namespace/name`. Raises `InputError` (`LimitOutOfRange`, `CursorMalformed`).
        """
        with self._reading() as connection:
            return resource_facts.policies(
                connection,
                name=name,
                cluster=cluster,
                in_force=in_force,
                limit=limit,
                cursor=cursor,
                as_of=as_of,
                known_at=known_at,
            )

    def resources(self, cluster: str) -> tuple[ResourceVersion, ...]:
        """The policies and exceptions of a cluster that are not known to be gone, for who goes on watching them."""
        with self._reading() as connection:
            take_time(connection)  # without an answer nothing would be watched again
            return resource_facts.resources(connection, cluster)

    def deletions(self, cluster: str, uids: Collection[str]) -> Mapping[str, int]:
        """How often each of these objects of a cluster was seen to be deleted; those that never were are not in it."""
        with self._reading() as connection:
            take_time(connection)
            return resource_facts.deletions(connection, cluster, uids)

    def denied(self, *, since: datetime, cluster: str, known_at: datetime | None = None) -> dict[PolicyName, int]:
        """How many different images each policy of a cluster denied since a time, by kind, namespace and name.

        An image is its digest, or what was written where that is not known; however often it was tried, it is one. A
        policy denied it if it was in the way of an object that was denied: Violated or Error, with Deny.
        """
        image = func.coalesce(_evaluation.c.digest, _image.c.reference)
        query = (
            select(
                _evaluation.c.policy_kind,
                _evaluation.c.policy_namespace,
                _evaluation.c.policy_name,
                func.count(image.distinct()).label("images"),
            )
            .join(_decision, of_one_leaf(_decision, _evaluation))
            .join(_image, and_(of_one_leaf(_image, _evaluation), _image.c.position == _evaluation.c.image))
            .where(*(table.c.decided_at >= since for table in (_decision, _evaluation, _image)))
            .where(_decision.c.verdict == "Deny", _decision.c.cluster == cluster)
            .where(_evaluation.c.outcome.in_(("Violated", "Error")), _evaluation.c.actions.contains('"Deny"'))
            .group_by(_evaluation.c.policy_kind, _evaluation.c.policy_namespace, _evaluation.c.policy_name)
        )
        if known_at is not None:
            query = query.where(_decision.c.recorded_at <= known_at)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        return {(row.policy_kind, row.policy_namespace, row.policy_name): row.images for row in rows}

    def blob(self, digest: str, *, known_at: datetime | None = None, namespace: str | None = None) -> bytes | None:
        """The raw bytes of this digest, unchanged; None if they were never recorded.

        With a `namespace` only evidence about images that ran there, and policies by which it was judged.
        Raises `InputError` (`DigestMalformed`), `Unacceptable` (`BlobDamaged`) for bytes that are not those any more,
        `Unavailable` (`BlobUnreachable`).
        """
        blob = tables.blob
        query = select(*COLUMNS).where(blob.c.digest == str(Digest.parse(digest)))
        if namespace is not None:
            query = query.where(
                or_(
                    is_evidence_in(blob.c.digest, namespace, known_at=known_at),
                    is_policy_in(blob.c.digest, namespace, known_at=known_at),
                )
            )
        if known_at is not None:
            query = query.where(blob.c.recorded_at <= known_at)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else self._blobs.content(row)


def _is_visible(connection: Connection, digest: str, namespace: str, known_at: datetime | None) -> bool:
    return bool(connection.execute(select(ran_in(digest, namespace, known_at=known_at))).scalar())


def _page(
    connection: Connection,
    where: DecisionFilter,
    *,
    limit: int,
    cursor: str | None,
    as_of: datetime | None,
    known_at: datetime | None,
) -> DecisionPage:
    rows = walks.page(connection, where, limit=limit, cursor=cursor, as_of=as_of, known_at=known_at)
    shown = rows[:limit]
    return DecisionPage(
        items=summaries(connection, shown),
        cursor=cursors.write(walks.LIST, (shown[-1].decided_at, shown[-1].leaf)) if len(rows) > limit else None,
    )


def _totals(digest: str, as_of: datetime | None, known_at: datetime | None, namespace: str | None) -> Select[Any]:
    verdict = _decision.c.verdict
    about = select(_image.c.leaf, _image.c.decided_at).where(_image.c.digest == digest).distinct()
    told = by_then(about, _image, as_of=as_of, known_at=known_at).subquery()
    query = select(
        func.min(_decision.c.decided_at, type_=tables.Instant).label("first"),
        func.max(_decision.c.decided_at, type_=tables.Instant).label("last"),
        func.coalesce(func.sum(case((verdict == "Allow", 1), else_=0)), 0).label("admitted"),
        func.coalesce(func.sum(case((verdict == "Deny", 1), else_=0)), 0).label("denied"),
    ).join_from(told, _decision, of_one_leaf(_decision, told))
    if namespace is not None:
        query = query.where(_decision.c.namespace == namespace)
    return by_then(query, _decision, as_of=as_of, known_at=known_at)


def _findings(digest: str, as_of: datetime | None, known_at: datetime | None, namespace: str | None) -> Select[Any]:
    table = tables.verification
    query = select(table).where(table.c.digest == digest)
    if namespace is not None:
        query = query.where(is_found_in(table, namespace, known_at=known_at))
    query = by_then(query, table, as_of=as_of, known_at=known_at)
    # What counted first: anybody may lay a thousand things beside an image that count for nothing.
    counted_for_nothing = case((table.c.finding == "rejection", 1), else_=0)
    return query.order_by(counted_for_nothing, table.c.decided_at, table.c.fact).limit(MAX_FINDINGS)


def _names(digest: str, as_of: datetime | None, known_at: datetime | None, namespace: str | None) -> Select[Any]:
    query = select(_image.c.reference, _image.c.repository).where(_image.c.digest == digest).distinct()
    if namespace is not None:
        query = query.join(_decision, of_one_leaf(_decision, _image)).where(_decision.c.namespace == namespace)
    query = by_then(query, _image, as_of=as_of, known_at=known_at)
    return query.order_by(_image.c.repository, _image.c.reference).limit(MAX_REFERENCES)


def summaries(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[DecisionSummary, ...]:
    """The decisions of these rows, with their images, in the same order."""
    images = _images(connection, rows)
    return tuple(_summary(row, images.get(row.leaf, ())) for row in rows)


def _images(connection: Connection, rows: Sequence[Row[Any]]) -> dict[int, tuple[DecisionImage, ...]]:
    query = select(_image).where(of_rows(_image, rows)).order_by(_image.c.leaf, _image.c.position)
    found: dict[int, tuple[DecisionImage, ...]] = {}
    for row in connection.execute(query):
        image = DecisionImage(kind=row.kind, container=row.container, reference=row.reference, digest=row.digest)
        found[row.leaf] = (*found.get(row.leaf, ()), image)
    return found


def _summary(row: Row[Any], images: tuple[DecisionImage, ...]) -> DecisionSummary:
    return DecisionSummary(
        id=row.id,
        decided_at=row.decided_at,
        recorded_at=row.recorded_at,
        cluster=row.cluster,
        verdict=row.verdict,
        flags=tuple(json.loads(row.flags)),
        reasons=tuple(json.loads(row.reasons)),
        message=row.message,
        operation=row.operation,
        kind=row.kind,
        namespace=row.namespace,
        name=row.name,
        username=row.username,
        images=images,
    )


def _finding(row: Row[Any], *, confined: bool) -> Finding:
    return Finding(
        finding=row.finding,
        policy=PolicyVersion(row.policy_kind, row.policy_namespace, row.policy_name, row.policy_hash),
        decided_at=row.decided_at,
        recorded_at=row.recorded_at,
        detail=_confined(json.loads(row.detail)) if confined else json.loads(row.detail),
    )


def _confined(detail: dict[str, Any]) -> dict[str, Any]:
    """What a namespace is told of a finding: of a look-up that failed its code, and not the registry's and repository's
    name, which may be those of whoever met it. A namespace's own decisions tell them."""
    return detail | {"message": WITHHELD} if detail.get("location") == LOOK_UP else detail
