"""What images rest on: an index of the evidence by artefact, signer and log entry, from what was recorded before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_EVIDENCE = ("digest", "finding", "artifact", "predicate_type", "code", "signed_at", "policy_namespace")
_TRACE = ("kind", "value", "digest", "artifact", "policy_namespace")


def upgrade() -> None:
    """Create the tables, empty: what follows from leaves is made anew afterwards (`migrate`)."""
    for name, key in (("evidence", _EVIDENCE), ("trace", _TRACE)):
        op.create_table(
            name,
            *(sa.Column(column, sa.Text, primary_key=True) for column in key),
            sa.Column("decided_at", Instant, nullable=False),
            sa.Column("recorded_at", Instant, nullable=False),
        )
    op.create_index(None, "evidence", ["artifact", "digest"])


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
