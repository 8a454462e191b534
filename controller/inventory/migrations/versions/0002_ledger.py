"""The ledger: entries, tiles, checkpoints, and who may write them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Instant, Position

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. What was recorded before is sequenced after, in the order in which it lies there."""
    op.create_table(
        "ledger_entry",
        sa.Column("number", Position, primary_key=True, autoincrement=False),
        sa.Column("leaf", Position, nullable=False, unique=True),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
    )
    op.create_table(
        "ledger_tile",
        sa.Column("level", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", Position, primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "ledger_checkpoint",
        sa.Column("size", Position, primary_key=True, autoincrement=False),
        sa.Column("note", sa.Text, nullable=False),
        sa.Column("signed_at", Instant, nullable=False),
    )
    state = op.create_table(
        "ledger_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("term", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("leaf", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"id": 1, "term": 0, "size": 0, "leaf": 0}])


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
