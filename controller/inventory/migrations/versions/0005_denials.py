"""An index of denials, which are few."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_DENIED = sa.text("verdict = 'Deny'")


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "ix_decision_denied", "decision", ["decided_at", "leaf"], postgresql_where=_DENIED, sqlite_where=_DENIED
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
