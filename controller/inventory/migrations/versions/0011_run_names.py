"""Runs by the name that their runtime gave them: what a proof and an export are asked for."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index."""
    op.create_index(None, "run", ["run"])
