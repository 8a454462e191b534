"""What a namespace may know of images: a digest is visible where it ran, and to others it does not exist.

The one place that says so. A kubelet may name an index or the manifest that it chose of it, so what ran under the one
name is visible under the other. A namespace's own decisions are visible to it whatever ran; they are no key to what is
known of the images that they name, or else anybody could open any image by trying to run it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Select, and_, or_, select

from controller.inventory import tables


def ran_in(
    digest: ColumnElement[str] | str, namespace: str, *, known_at: datetime | None = None
) -> ColumnElement[bool]:
    """Whether this digest is visible to the namespace: it, an index that holds it, or a manifest that it holds, ran
    there, as far as was recorded by `known_at`. `digest` is a value, or a column of the query around it."""
    run, manifest = tables.run.alias(), tables.image_manifest.alias()

    def ran(*conditions: ColumnElement[bool]) -> Select[tuple[int]]:
        there = [run.c.namespace == namespace, *conditions]
        return select(run.c.leaf).where(
            and_(*there) if known_at is None else and_(*there, run.c.recorded_at <= known_at)
        )

    def related(this: ColumnElement[str], other: ColumnElement[str]) -> ColumnElement[bool]:
        told = [this == digest] if known_at is None else [this == digest, manifest.c.recorded_at <= known_at]
        return ran(run.c.digest == other, *told).correlate_except(run, manifest).exists()

    return or_(
        ran(run.c.digest == digest).correlate_except(run).exists(),
        related(manifest.c.digest, manifest.c.manifest),
        related(manifest.c.manifest, manifest.c.digest),
    )


def is_evidence_in(
    artifact: ColumnElement[str], namespace: str, *, known_at: datetime | None = None
) -> ColumnElement[bool]:
    """Whether raw bytes are evidence about an image that is visible to a namespace, as its own and the cluster's
    policies found it."""
    found = tables.verification.alias()
    query = select(found.c.fact).where(
        found.c.artifact == artifact,
        found.c.policy_namespace.in_(["", namespace]),
        ran_in(found.c.digest, namespace, known_at=known_at),
    )
    if known_at is not None:
        query = query.where(found.c.recorded_at <= known_at)
    return query.correlate_except(found).exists()


def is_policy_in(
    digest: ColumnElement[str], namespace: str, *, known_at: datetime | None = None
) -> ColumnElement[bool]:
    """Whether raw bytes are a policy by which a decision of this namespace was made."""
    use = tables.policy_use.alias()
    query = select(use.c.hash).where(use.c.namespace == namespace, use.c.hash == digest)
    if known_at is not None:
        query = query.where(use.c.recorded_at <= known_at)
    return query.correlate_except(use).exists()
