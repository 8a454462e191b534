"""What stands in attested documents, and of each finding which manifest it is about and when it was signed."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Bytewise, Instant

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

BATCH = 1000  # findings held in memory at once


def upgrade() -> None:
    """Create the tables, and fill the new columns of findings from what these say."""
    op.add_column("verification", sa.Column("child", sa.Text))
    op.add_column("verification", sa.Column("signed_at", Instant))
    _fill()
    op.create_index(None, "verification", ["artifact"])
    op.create_index(None, "verification", ["recorded_at"])
    _create_documents()
    _create_components()


def _create_documents() -> None:
    op.create_table(
        "document",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("artifact", sa.Text, nullable=False, unique=True),
        sa.Column("edition", sa.Integer, nullable=False),
        sa.Column("indexed_at", Instant),
        *(_text(name) for name in ("kind", "predicate_type", "problem", "problem_detail")),
        *(_text(name) for name in ("format", "spec_version", "name")),
        sa.Column("created_at", Instant),
        *(_text(name) for name in ("tool", "author")),
        sa.Column("components", sa.Integer, nullable=False),
        *(
            sa.Column(f"lacks_{what}", sa.Integer, nullable=False)
            for what in ("version", "supplier", "identifier", "license")
        ),
    )
    op.create_table(
        "document_subject",
        sa.Column("document", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("digest", sa.Text, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index(None, "document_subject", ["digest"])
    op.create_table(
        "index_state",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("until", Instant),
    )


def _create_components() -> None:
    op.create_table(
        "package",
        sa.Column("id", sa.Integer, primary_key=True),
        *(sa.Column(name, Bytewise, nullable=False) for name in ("type", "namespace", "name")),
        sa.Column("key", Bytewise, nullable=False, unique=True),
    )
    op.create_table(
        "component",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("hash", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("package", sa.Integer, nullable=False),
        _text("name"),
        sa.Column("version", sa.Text),
        *(_text(name) for name in ("purl", "licenses", "supplier", "cpe")),
    )
    op.create_index(None, "component", ["package", "id"])
    op.create_table(
        "sbom_component",
        sa.Column("document", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("component", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("segment", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index(None, "sbom_component", ["segment", "component", "document"])


def _fill() -> None:
    connection = op.get_bind()
    table = sa.table(
        "verification",
        *(sa.column(name, sa.Text) for name in ("fact", "detail", "child")),
        sa.column("signed_at", Instant()),
    )
    query = sa.select(table.c.fact, table.c.detail).order_by(table.c.fact).limit(BATCH)
    rows = connection.execute(query).all()
    filling = (
        sa.update(table)
        .where(table.c.fact == sa.bindparam("key"))
        .values(child=sa.bindparam("about"), signed_at=sa.bindparam("signed", type_=Instant()))
    )
    while rows:
        connection.execute(filling, [_found(row.fact, json.loads(row.detail)) for row in rows])
        rows = connection.execute(query.where(table.c.fact > rows[-1].fact)).all()


def _found(fact: str, detail: dict[str, Any]) -> dict[str, Any]:
    signed = detail.get("signedAt")
    return {
        "key": fact,
        "about": (detail.get("child") or {}).get("digest") or None,
        "signed": datetime.fromisoformat(signed) if signed else None,
    }


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text, nullable=False)
