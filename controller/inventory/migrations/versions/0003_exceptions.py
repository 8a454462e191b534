"""Exceptions that were used, and each use."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant, Position

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. Older leaves name no exceptions, so nothing is projected anew."""
    op.create_table(
        "exception",
        sa.Column("cluster", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("approval", sa.Text, primary_key=True),
        sa.Column("decided_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("approver", sa.Text, nullable=False),
        sa.Column("approved_at", Instant),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("expires", Instant, nullable=False),
        sa.Column("break_glass", sa.Boolean, nullable=False),
    )
    op.create_table(
        "exception_use",
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("decided_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sa.Column("evaluation", sa.Integer, nullable=False),
        sa.Column("cluster", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("approval", sa.Text, nullable=False),
    )
    op.create_index(None, "exception_use", ["name", "decided_at"])


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
