"""What a namespace may know of images: a digest is visible where it ran, and to others it does not exist.

The one place that says so. A kubelet may name an index or the manifest that it chose of it, so an index is visible
where a manifest that it holds ran. It is not so the other way round: whoever runs an index of his own may have it list
any manifest, and would read what was found of that elsewhere. What was found of a manifest when its index was judged
stands under the index (`kinship`). A namespace's own decisions are visible to it whatever ran; they are no key to what
is known of the images that they name, or else anybody could open any image by trying to run it.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, func, or_, select, true

from controller.inventory import tables
from controller.inventory.asking import kinship
from controller.inventory.asking.kinship import Judged
from controller.inventory.database.parameters import among, texts


def ran_in(
    digest: ColumnElement[str] | str, namespace: str, *, known_at: datetime | None = None
) -> ColumnElement[bool]:
    """Whether this digest is visible to the namespace: it, or a manifest that it holds, ran there, as far as was
    recorded by `known_at`. `digest` is a value, or a column of the query around it."""
    return or_(_ran(digest, namespace, known_at), _held_ran(digest, namespace, known_at))


def is_found_in(found: FromClause, namespace: str, *, known_at: datetime | None = None) -> ColumnElement[bool]:
    """Whether what was found of an image (a row of `verification`) is visible to the namespace: by its own and the
    cluster's policies, of what ran there. What is about one manifest of an index is so where that or the index ran."""
    return and_(
        found.c.policy_namespace.in_(["", namespace]),
        or_(
            _ran(found.c.digest, namespace, known_at),
            _ran(found.c.child, namespace, known_at),
            and_(found.c.child.is_(None), _held_ran(found.c.digest, namespace, known_at)),
        ),
    )


def is_met(connection: Connection, digest: str, namespace: str, *, known_at: datetime | None = None) -> bool:
    """Whether the namespace met a digest under any of its names: it ran there, or a manifest that it holds, or an index
    that holds it."""
    run, held = tables.run.alias(), tables.image_manifest.alias()
    above = select(run.c.leaf).where(
        run.c.namespace == namespace, held.c.manifest == digest, run.c.digest == held.c.digest
    )
    above = _known(_known(above, run, known_at), held, known_at)
    met = or_(ran_in(digest, namespace, known_at=known_at), above.exists())
    return bool(connection.execute(select(met)).scalar())


def _ran(digest: ColumnElement[str] | str, namespace: str, known_at: datetime | None) -> ColumnElement[bool]:
    run = tables.run.alias()
    query = select(run.c.leaf).where(run.c.namespace == namespace, run.c.digest == digest)
    return _known(query, run, known_at).correlate_except(run).exists()


def _held_ran(digest: ColumnElement[str] | str, namespace: str, known_at: datetime | None) -> ColumnElement[bool]:
    run, manifest = tables.run.alias(), tables.image_manifest.alias()
    query = select(run.c.leaf).where(
        run.c.namespace == namespace, manifest.c.digest == digest, run.c.digest == manifest.c.manifest
    )
    query = _known(_known(query, run, known_at), manifest, known_at)
    return query.correlate_except(run, manifest).exists()


def _known(query: Select[Any], table: FromClause, known_at: datetime | None) -> Select[Any]:
    return query if known_at is None else query.where(table.c.recorded_at <= known_at)


def met_in(
    connection: Connection, judged: Collection[Judged], namespace: str, *, known_at: datetime | None = None
) -> set[Judged]:
    """Of which of these what was found is visible to the namespace, whoever's policy found it: as `is_found_in`."""
    held = kinship.manifests(connection, {digest for digest, child in judged if not child}, known_at)
    names = {name for some in held.values() for name in some} | {name for one in judged for name in one if name}
    run = tables.run
    query = select(run.c.digest).where(run.c.namespace == namespace, among(connection, run.c.digest, sorted(names)))
    there = set(connection.execute(_known(query, run, known_at).distinct()).scalars())
    return {
        (digest, child) for digest, child in judged if not there.isdisjoint((digest, child) if child else held[digest])
    }


def alone_in(connection: Connection, digests: Collection[str], *, known_at: datetime | None = None) -> str:
    """The one namespace in which these ever ran, as far as was recorded by `known_at`; empty if in none or several.

    Looked up in one namespace after another: of an image there may be a hundred thousand runs, of namespaces hundreds.
    """
    run = tables.run
    spaces = select(func.min(run.c.namespace).label("name")).cte("spaces", recursive=True)
    after = select(func.min(run.c.namespace)).where(run.c.namespace > spaces.c.name).scalar_subquery()
    spaces = spaces.union_all(select(after).where(spaces.c.name.is_not(None)))
    named = texts(connection, ("digest",), [(digest,) for digest in sorted(digests)])
    there = run.alias()
    found = (
        select(there.c.leaf)
        .where(there.c.namespace == spaces.c.name, there.c.digest == named.c.digest)
        .with_hint(there, "INDEXED BY ix_run_namespace_digest", "sqlite")  # or it goes through all runs of a namespace
    )
    # A value, and not EXISTS, of which PostgreSQL makes a join: it would read all runs of the images.
    ran = _known(found, there, known_at).correlate(spaces, named).limit(1).scalar_subquery()
    query = select(spaces.c.name).select_from(spaces.join(named, true()))
    query = query.where(spaces.c.name.is_not(None), ran.is_not(None)).distinct().limit(2)
    names = connection.execute(query).scalars().all()
    return names[0] if len(names) == 1 else ""


def is_evidence_in(
    artifact: ColumnElement[str], namespace: str, *, known_at: datetime | None = None
) -> ColumnElement[bool]:
    """Whether raw bytes are evidence about an image that is visible to a namespace, as its own and the cluster's
    policies found it."""
    found = tables.verification.alias()
    query = select(found.c.fact).where(found.c.artifact == artifact, is_found_in(found, namespace, known_at=known_at))
    return _known(query, found, known_at).correlate_except(found).exists()


def is_policy_in(
    digest: ColumnElement[str], namespace: str, *, known_at: datetime | None = None
) -> ColumnElement[bool]:
    """Whether raw bytes are a policy by which a decision of this namespace was made."""
    use = tables.policy_use.alias()
    query = select(use.c.hash).where(use.c.namespace == namespace, use.c.hash == digest)
    if known_at is not None:
        query = query.where(use.c.recorded_at <= known_at)
    return query.correlate_except(use).exists()
