"""PostgreSQL: whoever appends a leaf takes part (`dialect.take_part`), also a replica of a version before that.

While a new version is rolled out, replicas of the old one go on recording. They do not share the lock by which who
numbers leaves knows that none is under way; one of theirs that was committed late would never have been numbered.
"""

from __future__ import annotations

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Have the database take the lock, before a leaf is given its position."""
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute(
        "CREATE FUNCTION take_part() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN LOCK TABLE ledger_state IN ROW SHARE MODE; RETURN NULL; END $$"
    )
    op.execute("CREATE TRIGGER take_part BEFORE INSERT ON leaf FOR EACH STATEMENT EXECUTE FUNCTION take_part()")


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
