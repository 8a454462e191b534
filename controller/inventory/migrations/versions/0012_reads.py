"""Who read what. (The stable views are made anew after this, as after every migration.)"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant, Position

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "read",
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("decided_at", Instant, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        *(
            sa.Column(name, sa.Text, nullable=False)
            for name in ("cluster", "username", "via", "verb", "resource", "namespace", "identity", "parameters")
        ),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("count", sa.BigInteger),
    )
    op.create_index(None, "read", ["decided_at", "leaf"])
    op.create_index(None, "read", ["username", "decided_at", "leaf"])
    op.create_index(None, "read", ["identity", "decided_at", "leaf"])


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
