"""In which clusters a namespace was met: filled from the leaves after it, as everything that is made of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables.columns import Instant

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, empty."""
    op.create_table(
        "presence",
        *(sa.Column(name, sa.Text, primary_key=True) for name in ("namespace", "cluster")),
        *(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at")),
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
