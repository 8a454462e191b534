"""The table of reads: that somebody was shown something of the inventory (`reads`)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table, Text

from controller.inventory.columns import Position, metadata, times

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
