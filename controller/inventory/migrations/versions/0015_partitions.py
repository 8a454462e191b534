"""PostgreSQL: what grows with every decision is partitioned by month. SQLite keeps these tables as they are.

The rows are made anew from the leaves after it (`migrate`), and the partitions before that (`partitions`).
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Each table with its key, which has to hold the time by which it is partitioned.
_KEYS = {
    "decision": "leaf",
    "decision_flag": "leaf, flag",
    "decision_image": "leaf, position",
    "evaluation": "leaf, position",
    "exception_use": "leaf, position",
    "manifest_signers": "leaf, position, manifest",
    "read": "leaf",
}


def upgrade() -> None:
    """Put a partitioned table of the same columns, indexes and rights in the place of each."""
    op.create_index(None, "policy_version", ["name", "namespace"])
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    for table, key in _KEYS.items():
        found = connection.execute(
            sa.text(
                "SELECT pg_get_indexdef(indexrelid) FROM pg_index"
                " WHERE indrelid = to_regclass(:table) AND NOT indisprimary ORDER BY indexrelid"
            ),
            {"table": table},
        )
        definitions = found.scalars().all()
        granted = connection.execute(
            sa.text(
                "SELECT grantee, privilege_type FROM information_schema.role_table_grants"
                " WHERE table_schema = current_schema() AND table_name = :table AND grantee <> current_user"
            ),
            {"table": table},
        ).all()
        op.execute(f"ALTER TABLE {table} RENAME TO {table}_whole")
        op.execute(f"CREATE TABLE {table} (LIKE {table}_whole) PARTITION BY RANGE (decided_at)")
        op.execute(f"DROP TABLE {table}_whole")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT pk_{table} PRIMARY KEY ({key}, decided_at)")
        for definition in definitions:
            op.execute(definition)
        for role, right in granted:
            quoted = "PUBLIC" if role == "PUBLIC" else connection.dialect.identifier_preparer.quote_identifier(role)
            op.execute(f"GRANT {right} ON {table} TO {quoted}")


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
