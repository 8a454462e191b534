"""How and where a blob's bytes are kept: those that are there already, as they are and in their rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("blob", sa.Column("encoding", sa.Text, nullable=False, server_default="raw"))
    op.add_column("blob", sa.Column("location", sa.Text, nullable=False, server_default="row"))


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
