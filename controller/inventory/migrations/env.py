"""Alembic's entry: runs migrations on the connection, and in the transaction, of `controller.inventory.migrate`."""

from __future__ import annotations

from alembic import context

from controller.inventory.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
