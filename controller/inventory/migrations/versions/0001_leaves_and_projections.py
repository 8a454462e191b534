"""The leaves, the blobs, and the first projections."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant, Position

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "leaf",
        sa.Column("position", Position, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("decision_key", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("canonical", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.UniqueConstraint("decision_key", "verdict"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "blob",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
    )
    _create_decisions()
    _create_findings()


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")


def _create_decisions() -> None:
    op.create_table(
        "decision",
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        *_times(),
        *(_text(name) for name in ("cluster", "verdict", "flags", "reasons", "message", "operation")),
        *(_text(name) for name in ("kind", "namespace", "name")),
        *(_text(name) for name in ("object_uid", "object_hash", "service_account", "username")),
        sa.Column("latency_us", sa.BigInteger, nullable=False),
    )
    op.create_index(None, "decision", ["decided_at", "leaf"])
    op.create_index(None, "decision", ["namespace", "decided_at", "leaf"])
    op.create_table(
        "decision_image",
        *_place(),
        *_times(),
        *(_text(name) for name in ("kind", "container", "field", "reference", "repository", "tag")),
        sa.Column("digest", sa.Text),
        sa.Column("media_type", sa.Text),
    )
    op.create_index(None, "decision_image", ["digest", "decided_at"])
    op.create_index(None, "decision_image", ["repository", "decided_at"])
    op.create_table(
        "evaluation",
        *_place(),
        *_times(),
        sa.Column("image", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text),
        *(_text(f"policy_{name}") for name in ("kind", "namespace", "name", "hash")),
        _text("actions"),
        _text("outcome"),
        sa.Column("error_kind", sa.Text),
        _text("reasons"),
    )
    op.create_index(None, "evaluation", ["policy_name", "policy_namespace", "decided_at"])


def _create_findings() -> None:
    op.create_table(
        "verification",
        sa.Column("fact", sa.Text, primary_key=True),
        *_times(),
        _text("digest"),
        _text("finding"),
        *(_text(f"policy_{name}") for name in ("kind", "namespace", "name", "hash")),
        sa.Column("artifact", sa.Text),
        sa.Column("authority", sa.Text),
        sa.Column("signer_key", sa.Text),
        sa.Column("signer_issuer", sa.Text),
        sa.Column("signer_subject", sa.Text),
        sa.Column("predicate_type", sa.Text),
        sa.Column("code", sa.Text),
        _text("detail"),
    )
    op.create_index(None, "verification", ["digest"])
    op.create_table(
        "policy_version",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("kind", "namespace", "name", "hash")),
        *_times(),
    )


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _times() -> tuple[sa.Column[Any], ...]:
    return tuple(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at"))


def _place() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    )
