"""Indexes that let a question about all that runs leave its rows alone, and find what was ever refused by image."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_KEY = ("span", "started_at", "leaf")
_TOLD = ("ended_at", "recorded_at", "end_recorded_at", "digest", "cluster", "repository")
_POLICY = ("policy_name", "policy_namespace", "policy_kind")


def upgrade() -> None:
    """Let the indexes of runs tell the repository, that of refusals begin with the image, and one count uses."""
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
    op.drop_index("ix_refusal_of", "refusal")
    op.create_index(
        "ix_refusal_of", "refusal", ["digest", "namespace", "cluster", *_POLICY, "decided_at", "recorded_at"]
    )
    op.create_index(
        "ix_exception_use_of",
        "exception_use",
        ["name", "cluster", "hash", "approval", "decided_at", "recorded_at"],
    )


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
