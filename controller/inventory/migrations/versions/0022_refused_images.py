"""Which policies ever refused an image in a place: filled from the refusals, of which a database has far more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables.columns import Instant

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_KEY = ("digest", "namespace", "cluster", "policy_name", "policy_namespace", "policy_kind")


def upgrade() -> None:
    """Create the table, and fill it as the leaves would: each key once, with the earliest of its times."""
    op.create_table(
        "refused_image",
        *(sa.Column(name, sa.Text, primary_key=True) for name in _KEY),
        *(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at")),
        sqlite_with_rowid=False,
    )
    key = ", ".join(_KEY)
    op.execute(
        f"INSERT INTO refused_image ({key}, decided_at, recorded_at) "  # noqa: S608 - names of our own
        f"SELECT {key}, min(decided_at), min(recorded_at) FROM refusal GROUP BY {key}"
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
