"""No table changes: with it the configurations of images go whose bytes older versions kept (`migrate`)."""

from __future__ import annotations

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nothing of its own: which bytes these are is told by the leaves, and `migrate` reads them."""


def downgrade() -> None:
    """There is no way back: an inventory does not forget."""
    raise NotImplementedError("restore a backup instead")
