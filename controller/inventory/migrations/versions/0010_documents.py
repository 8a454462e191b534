"""Where images come from, what scanners found in them, what VEX says of that: rows of documents, made by the index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controller.inventory.tables import Bytewise, Instant

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables. They are filled by the next edition of the index's reader, document by document."""
    op.create_table("document_trace", _number("document"), _key("kind"), _key("value"), sqlite_with_rowid=False)
    op.create_index(None, "document_trace", ["kind", "value"])
    op.create_table(
        "scan",
        _number("document"),
        sa.Column("says_nothing", sa.Boolean, nullable=False),
        sa.Column("database_updated", Instant),
    )
    op.create_table(
        "vulnerability_finding",
        _number("document"),
        _number("number"),
        sa.Column("vulnerability", Bytewise, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        _text("severity"),
        sa.Column("score", sa.Float),
        _text("package"),
        sa.Column("version", sa.Text),
        _text("purl"),
        _text("fixed_versions"),
        sa.Column("fixable", sa.Boolean),
        sa.Column("fix_told", sa.Boolean, nullable=False),
        _text("aliases"),
    )
    op.create_index(None, "vulnerability_finding", ["rank", "vulnerability", "document", "number"])
    op.create_index(None, "vulnerability_finding", ["vulnerability", "document"])
    op.create_table(
        "finding_alias",
        _number("document"),
        _number("number"),
        sa.Column("alias", Bytewise, primary_key=True),
        sqlite_with_rowid=False,
    )
    op.create_index(None, "finding_alias", ["alias"])
    op.create_table("vex_statement", _number("document"), _number("number"), _text("content"))
    op.create_table("vex_name", _number("document"), _key("name"), _number("number"), sqlite_with_rowid=False)


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer, primary_key=True, autoincrement=False)


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False)
