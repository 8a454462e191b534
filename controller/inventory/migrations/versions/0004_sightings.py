"""What was seen running, and when nobody watched."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant, Position

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_index(None, "decision", ["object_uid"])
    op.create_table(
        "sighting",
        *_begin(),
        *_run(),
        *(_text(name) for name in ("namespace", "pod", "node", "service_account", "owner")),
        *(_text(name) for name in ("reference", "image_id", "repository")),
        sa.Column("digest", sa.Text),
        sa.Column("started_at", Instant, nullable=False),
    )
    op.create_index(None, "sighting", ["pod_uid"])
    op.create_index(None, "sighting", ["digest", "started_at"])
    op.create_index(None, "sighting", ["namespace", "started_at"])
    op.create_index(None, "sighting", ["started_at", "leaf"])
    op.create_table("sighting_end", *_begin(), *_run(), sa.Column("ended_at", Instant, nullable=False), _text("reason"))
    op.create_index(None, "sighting_end", ["pod_uid"])
    op.create_table(
        "watch_gap",
        *_begin(),
        _text("cluster"),
        sa.Column("since", Instant, nullable=False),
        sa.Column("until", Instant, nullable=False),
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")


def _begin() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        sa.Column("decided_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
    )


def _run() -> tuple[sa.Column[Any], ...]:
    return tuple(_text(name) for name in ("cluster", "pod_uid", "kind", "container", "run"))


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)
