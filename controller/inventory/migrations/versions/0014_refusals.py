"""What stands in the way of images, and which policies judged what is in a namespace: made anew after it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables.columns import Instant, Position

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_POLICY = ("policy_kind", "policy_namespace", "policy_name", "policy_hash")


def upgrade() -> None:
    """Create the tables, empty, and an index."""
    op.create_index(None, "run", ["namespace", "digest"])
    op.create_table(
        "refusal",
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        *(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("cluster", "namespace", "digest", *_POLICY)),
    )
    op.create_index(
        "ix_refusal_of",
        "refusal",
        [
            *("namespace", "digest", "cluster", "policy_name", "policy_namespace", "policy_kind"),
            *("decided_at", "recorded_at"),
        ],
    )
    op.create_table(
        "policy_use",
        sa.Column("namespace", sa.Text, primary_key=True),
        sa.Column("hash", sa.Text, primary_key=True),
        *(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at")),
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
