"""What images say of themselves. Filled from the leaves after it, as everything that is made of them (`migrate`)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables.columns import Instant

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_KEY = ("kind", "value", "digest", "source", "artifact", "policy_namespace")


def upgrade() -> None:
    """Create the table, empty, and an index."""
    op.create_table(
        "claim",
        *(sa.Column(name, sa.Text, primary_key=True) for name in _KEY),
        *(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at")),
    )
    op.create_index(None, "claim", ["digest", "kind"])


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
