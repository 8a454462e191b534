"""The tables of what stands in documents of each kind: rows of `document`, made from their bytes by `index`."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, Table, Text

from controller.inventory.columns import Bytewise, Instant, metadata

# Where an image comes from by its provenance (`builder`, `source`, `base`), and its system by its SBOM (`os`).
document_trace = Table(
    "document_trace",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Index(None, "kind", "value"),
    sqlite_with_rowid=False,
)

# What a report of vulnerabilities says of the scan. Nothing follows from one that says nothing.
scan = Table(
    "scan",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("says_nothing", Boolean, nullable=False),
    Column("database_updated", Instant),
)

# What a scan found, in the report's order. `rank` is the severity's place, from the worst (0); `fixed_versions` and
# `aliases` are lists in JSON.
vulnerability_finding = Table(
    "vulnerability_finding",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("vulnerability", Bytewise, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("severity", Text, nullable=False),
    Column("score", Float),
    Column("package", Text, nullable=False),
    Column("version", Text),
    Column("purl", Text, nullable=False),
    Column("fixed_versions", Text, nullable=False),
    Column("fixable", Boolean),
    Column("fix_told", Boolean, nullable=False),
    Column("aliases", Text, nullable=False),
    Index(None, "rank", "vulnerability", "document", "number"),
    Index(None, "vulnerability", "document"),
)

# The names of what was found, its own and its aliases, in capitals.
finding_alias = Table(
    "finding_alias",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("alias", Bytewise, primary_key=True),
    Index(None, "alias"),
    sqlite_with_rowid=False,
)

# The statements of VEX documents, whole (JSON), and the names of the vulnerabilities that each is about.
vex_statement = Table(
    "vex_statement",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
)

vex_name = Table(
    "vex_name",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    sqlite_with_rowid=False,
)
