"""How policies and exceptions came and went. Nothing is moved: no older version recorded it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables.columns import Instant, Position

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and its indexes."""
    op.create_table(
        "resource_fact",
        sa.Column("leaf", Position, nullable=False, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("decided_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("cluster", "fact", "kind", "namespace", "name", "uid")),
        sa.Column("life", sa.Integer, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("hash", "manager", "problem", "reason")),
        sa.PrimaryKeyConstraint("leaf", name="pk_resource_fact"),
    )
    for columns in (("decided_at", "leaf"), ("kind", "name", "namespace", "cluster"), ("cluster", "uid")):
        op.create_index(f"ix_resource_fact_{'_'.join(columns)}", "resource_fact", list(columns))


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
