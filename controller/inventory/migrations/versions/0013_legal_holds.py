"""Legal holds, as they were placed and lifted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant, Position

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "legal_hold",
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        *(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at")),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("id", "action", "name", "reason", "person")),
        *(sa.Column(name, sa.Text) for name in ("digest", "namespace")),
        *(sa.Column(name, Instant) for name in ("begins", "ends")),
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
