"""The tables of what stands in attested documents: read from their bytes, after they were recorded, by `index`."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, Table, Text

from controller.inventory.tables.columns import Bytewise, Instant, metadata

# A row for each artefact that was looked at, whether it could be read or not (`problem` is the code of why it could
# not). It counts once `indexed_at` is set, with the last of its rows. `edition` is that of the reader that made it.
document = Table(
    "document",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("artifact", Text, nullable=False, unique=True),
    Column("edition", Integer, nullable=False),
    Column("indexed_at", Instant),
    Column("kind", Text, nullable=False),
    Column("predicate_type", Text, nullable=False),
    Column("problem", Text, nullable=False),
    Column("problem_detail", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("spec_version", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", Instant),
    Column("tool", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("components", Integer, nullable=False),
    Column("lacks_version", Integer, nullable=False),
    Column("lacks_supplier", Integer, nullable=False),
    Column("lacks_identifier", Integer, nullable=False),
    Column("lacks_license", Integer, nullable=False),
)

# The images that a document says it is about (sha256 only).
document_subject = Table(
    "document_subject",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("digest", Text, primary_key=True),
    Index(None, "digest"),
    sqlite_with_rowid=False,
)

# A package by its purl's type, namespace and name, together its `key`; what has no purl has an empty type, and its name
# in lower case.
package = Table(
    "package",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("type", Bytewise, nullable=False),
    Column("namespace", Bytewise, nullable=False),
    Column("name", Bytewise, nullable=False),
    Column("key", Bytewise, nullable=False, unique=True),
)

# One component, however many documents list it: `hash` is the SHA-256 of all that is said of it.
component = Table(
    "component",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("package", Integer, nullable=False),
    Column("name", Text, nullable=False),
    Column("version", Text),
    Column("purl", Text, nullable=False),
    Column("licenses", Text, nullable=False),
    Column("supplier", Text, nullable=False),
    Column("cpe", Text, nullable=False),
    Index(None, "package", "id"),
)

SEGMENT = 256
"""How many documents make a segment: their links lie together in the index by component.

An index by component alone would have each new link change a page of its own: at 10 million links a document of 2,000
components wrote 8 MB, and ever more. Within a segment they share pages; a look-up asks one segment after the other.
"""

# Which document lists which component: many millions of rows, so small numbers and nothing else.
sbom_component = Table(
    "sbom_component",
    metadata,
    Column("document", Integer, primary_key=True, autoincrement=False),
    Column("component", Integer, primary_key=True, autoincrement=False),
    Column("segment", Integer, nullable=False),
    Index(None, "segment", "component", "document"),
    sqlite_with_rowid=False,
)

# One row: everything that was found by `until` is indexed.
index_state = Table(
    "index_state",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("until", Instant),
)

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
