"""The tables that are the truth, leaves and raw bytes, and those of the ledger: in which order the leaves stand."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, Table, Text

from controller.inventory.tables.columns import Instant, Position, metadata

leaf = Table(
    "leaf",
    metadata,
    Column("position", Position, primary_key=True, autoincrement=True),
    # Who says a fact again says it under the same id (`model.naming`): so each is recorded once, whoever brings it.
    Column("id", Text, nullable=False, unique=True),
    Column("decision_key", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    sqlite_autoincrement=True,
)

# `digest` and `size` are of the original bytes; `encoding` says how they are kept (raw, zstd), `location` whether in
# `content` (row) or in a file (file), and `blobs.store` alone reads them.
blob = Table(
    "blob",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    Column("encoding", Text, nullable=False, server_default="raw"),
    Column("location", Text, nullable=False, server_default="row"),
)

# The ledger: which leaf is which entry. `digest` is the SHA-256 of the leaf's canonical bytes.
ledger_entry = Table(
    "ledger_entry",
    metadata,
    Column("number", Position, primary_key=True, autoincrement=False),
    Column("leaf", Position, nullable=False, unique=True),
    Column("digest", Text, nullable=False),
    Column("recorded_at", Instant, nullable=False),
)

# The tree's hashes by C2SP tile: 32 bytes each, 256 in a full tile. The last of each level is not full.
ledger_tile = Table(
    "ledger_tile",
    metadata,
    Column("level", Integer, primary_key=True, autoincrement=False),
    Column("number", Position, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

# Signed checkpoints: the newest, and the last of each hour before.
ledger_checkpoint = Table(
    "ledger_checkpoint",
    metadata,
    Column("size", Position, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("signed_at", Instant, nullable=False),
)

# One row: who may write the ledger (the latest term), how many entries it has, and up to which leaf.
ledger_state = Table(
    "ledger_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("term", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("leaf", BigInteger, nullable=False),
)
