"""A leaf's id alone says that it is recorded once: the index of its key and verdict goes.

The key ends with the id, so both said the same; and as the other end of the key is a pod's uid, each leaf had to have a
page of that index read and written that was no other leaf's. SQLite can drop a constraint only with its table: the
leaves are copied, which takes as long as reading and writing them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant, Position

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the constraint."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("uq_leaf_decision_key_verdict", "leaf", type_="unique")
        return
    op.rename_table("leaf", "leaf_before")
    op.create_table(
        "leaf",
        sa.Column("position", Position, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        sa.Column("decision_key", sa.Text, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("canonical", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO leaf (position, id, decision_key, verdict, canonical, recorded_at)"
        " SELECT position, id, decision_key, verdict, canonical, recorded_at FROM leaf_before ORDER BY position"
    )
    # A position is never given twice, not even that of a last leaf which is gone.
    op.execute("DELETE FROM sqlite_sequence WHERE name = 'leaf'")
    op.execute(
        "INSERT INTO sqlite_sequence (name, seq) SELECT 'leaf', seq FROM sqlite_sequence WHERE name = 'leaf_before'"
    )
    op.drop_table("leaf_before")


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
