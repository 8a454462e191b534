"""What images rest on: an index of the evidence by artefact, signer and log entry, from what was recorded before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory import projections, tables
from controller.inventory.inserts import keeping_earliest
from controller.inventory.tables import Instant

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_EVIDENCE = ("digest", "finding", "artifact", "predicate_type", "code", "signed_at", "policy_namespace")
_TRACE = ("kind", "value", "digest", "artifact", "policy_namespace")


def upgrade() -> None:
    """Create the tables, and fill them from the leaves."""
    for name, key in (("evidence", _EVIDENCE), ("trace", _TRACE)):
        op.create_table(
            name,
            *(sa.Column(column, sa.Text, primary_key=True) for column in key),
            sa.Column("decided_at", Instant, nullable=False),
            sa.Column("recorded_at", Instant, nullable=False),
        )
    op.create_index(None, "evidence", ["artifact", "digest"])
    connection = op.get_bind()
    writing = {table.name: keeping_earliest(table) for table in (tables.evidence, tables.trace)}
    for batch in projections.stored(connection, unreadable=lambda _: None):  # `ledger verify` tells of it
        for name, inserting in writing.items():
            rows = [
                row | {"decided_at": leaf.projection.decided_at, "recorded_at": leaf.recorded_at}
                for leaf in batch
                for row in (leaf.projection.evidence if name == "evidence" else leaf.projection.traces)
            ]
            if rows:
                inserting.run(connection, rows)


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
