"""What was found stands under the image that was judged, and says which manifest of it it is about.

Filled from the leaves after it, as everything that is made of them (`migrate`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables.columns import Instant

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_KEYS = {
    "evidence": ("digest", "child", "finding", "artifact", "predicate_type", "code", "signed_at", "policy_namespace"),
    "trace": ("kind", "value", "digest", "child", "artifact", "policy_namespace"),
    "claim": ("kind", "value", "digest", "child", "source", "artifact", "policy_namespace"),
}
_INDEXES = {"evidence": ["artifact", "digest"], "claim": ["digest", "kind"]}


def upgrade() -> None:
    """Create the three tables anew, empty, with another key."""
    for table, key in _KEYS.items():
        op.drop_table(table)
        op.create_table(
            table,
            *(sa.Column(name, sa.Text, primary_key=True) for name in key),
            *(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at")),
        )
    for table, columns in _INDEXES.items():
        op.create_index(None, table, columns)


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
