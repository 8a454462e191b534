"""An index of what was recorded before it was decided, which is nothing unless a clock was set back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_FORETOLD = sa.text("recorded_at < decided_at")


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "ix_decision_foretold",
        "decision",
        ["decided_at", "recorded_at"],
        postgresql_where=_FORETOLD,
        sqlite_where=_FORETOLD,
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
