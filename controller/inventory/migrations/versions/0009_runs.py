"""One row a run, linked to the decisions about its pod. What follows from leaves is made anew after it (`migrate`)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables.columns import Instant, Position

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_LATE = sa.text("late")


def upgrade() -> None:
    """Create the tables, empty."""
    op.drop_table("sighting")
    op.drop_table("sighting_end")
    _create_runs()
    _create_signers()
    _change_decisions()
    op.create_index(None, "watch_gap", ["cluster", "recorded_at"])
    op.create_index(None, "watch_gap", ["until"])


def _create_runs() -> None:
    op.create_table(
        "run",
        *(
            sa.Column(name, sa.Text, primary_key=True, nullable=False)
            for name in ("pod_uid", "kind", "container", "run", "cluster")
        ),
        sa.Column("leaf", Position, nullable=False),
        sa.Column("recorded_at", Instant, nullable=False),
        *(_text(name) for name in ("namespace", "pod", "node", "service_account", "owner")),
        *(_text(name) for name in ("reference", "image_id", "repository")),
        sa.Column("digest", sa.Text),
        sa.Column("started_at", Instant, nullable=False),
        sa.Column("end_leaf", Position),
        sa.Column("ended_at", Instant),
        sa.Column("end_recorded_at", Instant),
        _text("reason"),
        sa.Column("span", sa.Integer, nullable=False),
        *_links(),
        _text("admission"),
        _text("signers"),
        sa.Column("late", sa.Boolean, nullable=False),
    )
    op.create_index(None, "run", ["leaf"])
    op.create_index(None, "run", ["end_leaf"])
    op.create_index(None, "run", ["span", "started_at", "leaf"])
    for name in ("cluster", "namespace", "digest", "admission", "signers"):
        op.create_index(None, "run", [name, "span", "started_at", "leaf"])
    op.create_index(None, "run", ["cluster", "recorded_at"])
    op.create_index(None, "run", ["cluster", "end_recorded_at"])
    op.create_index("ix_run_late", "run", ["started_at", "leaf"], postgresql_where=_LATE, sqlite_where=_LATE)
    op.create_table("image_manifest", _name("digest"), _name("manifest"), *_times())
    op.create_index(None, "image_manifest", ["manifest"])


def _create_signers() -> None:
    op.create_table("signer_set", _name("id"), *_times(), _text("signers"))
    op.create_table("signer_member", _name("name"), _name("id"), *_times())
    op.create_table(
        "manifest_signers",
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        _name("manifest"),
        *_times(),
        _text("signers"),
    )


def _change_decisions() -> None:
    op.create_table(
        "decision_flag",
        sa.Column("leaf", Position, primary_key=True, autoincrement=False),
        _name("flag"),
        *_times(),
        _text("namespace"),
    )
    op.create_index(None, "decision_flag", ["flag", "decided_at", "leaf"])
    op.create_index(None, "decision_flag", ["flag", "namespace", "decided_at", "leaf"])
    op.create_index(None, "decision", ["name", "decided_at", "leaf"])
    # The rows are made anew, so these need no default but for the moment.
    op.add_column("decision_image", sa.Column("manifests", sa.Integer, nullable=False, server_default="0"))
    op.add_column("decision_image", sa.Column("signers", sa.Text, nullable=False, server_default=""))
    for table, leading in (
        ("decision_image", ["digest", "decided_at"]),
        ("decision_image", ["repository", "decided_at"]),
        ("evaluation", ["policy_name", "policy_namespace", "decided_at"]),
        ("exception_use", ["name", "decided_at"]),
    ):
        op.drop_index(f"ix_{table}_{'_'.join(leading)}", table)
        op.create_index(None, table, [*leading, "leaf"])


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)


def _name(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, primary_key=True)


def _times() -> tuple[sa.Column[Any], ...]:
    return tuple(sa.Column(name, Instant, nullable=False) for name in ("decided_at", "recorded_at"))


def _links() -> tuple[sa.Column[Any], ...]:
    return tuple(
        column
        for name in ("asked", "unresolved", "admitted")
        for column in (sa.Column(name, Position), sa.Column(f"{name}_at", Instant))
    )
