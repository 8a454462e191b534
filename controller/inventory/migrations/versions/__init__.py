"""Alembic migrations: package data, run by `controller.inventory.migrate`."""
