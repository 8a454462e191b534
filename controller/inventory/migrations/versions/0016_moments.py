"""What ran at a moment, and where, is told by two indexes alone: without reading the thousands of rows themselves."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_KEY = ("span", "started_at", "leaf")
_TOLD = ("ended_at", "recorded_at", "end_recorded_at", "digest", "cluster")


def upgrade() -> None:
    """Let the indexes of runs by time, and by namespace and time, hold what is asked of all that runs."""
    includes = op.get_bind().dialect.name == "postgresql"
    for name, key, told in (
        ("ix_run_span_started_at_leaf", _KEY, (*_TOLD, "namespace")),
        ("ix_run_namespace_span_started_at_leaf", ("namespace", *_KEY), _TOLD),
    ):
        op.drop_index(name, "run")
        if includes:
            op.create_index(name, "run", key, postgresql_include=told)
        else:
            op.create_index(name, "run", [*key, *told])


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
