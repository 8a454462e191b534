"""The tables of what people did with the inventory: who was shown what, and what must not be dropped."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from controller.inventory.tables.columns import Instant, Position, metadata, times

read = Table(
    "read",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    *times(),
    *(Column(name, Text, nullable=False) for name in ("cluster", "username", "via", "verb", "resource", "namespace")),
    Column("identity", Text, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("status", Integer, nullable=False),
    Column("count", BigInteger),
    Index(None, "decided_at", "leaf"),
    Index(None, "username", "decided_at", "leaf"),
    Index(None, "identity", "decided_at", "leaf"),
)

# What must not be dropped: a row when a hold was placed, and one when it was lifted (`action`).
legal_hold = Table(
    "legal_hold",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    *times(),
    *(Column(name, Text, nullable=False) for name in ("id", "action", "name", "reason", "person")),
    *(Column(name, Text) for name in ("digest", "namespace")),
    *(Column(name, Instant) for name in ("begins", "ends")),
)
