"""The inventory's tables, portable between SQLite and PostgreSQL.

Two are the truth: `leaf` (append-only: one canonical decision a row) and `blob` (raw bytes by their digest). The
`ledger_…` tables say in which order the leaves stand, so that none can be changed, removed or moved unseen. Most others
are projections of the leaves, made by `projections` and rebuildable at any time. Each row of a projection has two
times: `decided_at`, when it was true, and `recorded_at`, when the inventory learnt it. `INDEXES` hold what stands in
attested documents, read from their bytes by `index`, and rebuildable as well.

Rows of a projection point to their leaf by its `position`, the database's own append number: it is short, and it
survives a rebuild. It says nothing about the ledger's order.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, Table, Text, UniqueConstraint, text

from controller.inventory.claim_tables import claim as claim  # noqa: PLC0414
from controller.inventory.columns import INSTANT_FORMAT as INSTANT_FORMAT  # noqa: PLC0414 - all read them from here
from controller.inventory.columns import Bytewise as Bytewise  # noqa: PLC0414
from controller.inventory.columns import Instant as Instant  # noqa: PLC0414
from controller.inventory.columns import Position as Position  # noqa: PLC0414
from controller.inventory.columns import instant as instant  # noqa: PLC0414
from controller.inventory.columns import metadata as metadata  # noqa: PLC0414
from controller.inventory.columns import times as _times
from controller.inventory.document_tables import document_trace as document_trace  # noqa: PLC0414
from controller.inventory.document_tables import finding_alias as finding_alias  # noqa: PLC0414
from controller.inventory.document_tables import scan as scan  # noqa: PLC0414
from controller.inventory.document_tables import vex_name as vex_name  # noqa: PLC0414
from controller.inventory.document_tables import vex_statement as vex_statement  # noqa: PLC0414
from controller.inventory.document_tables import vulnerability_finding as vulnerability_finding  # noqa: PLC0414
from controller.inventory.read_tables import read as read  # noqa: PLC0414
from controller.inventory.run_tables import image_manifest as image_manifest  # noqa: PLC0414
from controller.inventory.run_tables import manifest_signers as manifest_signers  # noqa: PLC0414
from controller.inventory.run_tables import policy_use as policy_use  # noqa: PLC0414
from controller.inventory.run_tables import presence as presence  # noqa: PLC0414
from controller.inventory.run_tables import refusal as refusal  # noqa: PLC0414
from controller.inventory.run_tables import refused_image as refused_image  # noqa: PLC0414
from controller.inventory.run_tables import run as run  # noqa: PLC0414
from controller.inventory.run_tables import signer_member as signer_member  # noqa: PLC0414
from controller.inventory.run_tables import signer_set as signer_set  # noqa: PLC0414
from controller.inventory.run_tables import watch_gap as watch_gap  # noqa: PLC0414

REVISION = "0023"  # the newest migration: what a database must be at

leaf = Table(
    "leaf",
    metadata,
    Column("position", Position, primary_key=True, autoincrement=True),
    Column("id", Text, nullable=False, unique=True),
    Column("decision_key", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("canonical", LargeBinary, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    # A decision is recorded once; one that came out the other way the second time is another decision.
    UniqueConstraint("decision_key", "verdict"),
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

_DENIED = text("verdict = 'Deny'")
_FORETOLD = text("recorded_at < decided_at")

decision = Table(
    "decision",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    *_times(),
    Column("cluster", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("flags", Text, nullable=False),
    Column("reasons", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("object_uid", Text, nullable=False),
    Column("object_hash", Text, nullable=False),
    Column("service_account", Text, nullable=False),
    Column("username", Text, nullable=False),
    Column("latency_us", BigInteger, nullable=False),
    Index(None, "decided_at", "leaf"),
    Index(None, "namespace", "decided_at", "leaf"),
    Index(None, "object_uid"),
    Index(None, "name", "decided_at", "leaf"),
    # Denials are few among decisions, and asked for all the time: what each policy denied in the last hour.
    Index("ix_decision_denied", "decided_at", "leaf", postgresql_where=_DENIED, sqlite_where=_DENIED),
    # None, but where a clock was set back: hence what was known at a time was decided by then (`hindsight`).
    Index("ix_decision_foretold", "decided_at", "recorded_at", postgresql_where=_FORETOLD, sqlite_where=_FORETOLD),
)

# How a decision came about, beside its verdict: a row for each of its flags, of which most have none.
decision_flag = Table(
    "decision_flag",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("flag", Text, primary_key=True),
    *_times(),
    Column("namespace", Text, nullable=False),
    Index(None, "flag", "decided_at", "leaf"),
    Index(None, "flag", "namespace", "decided_at", "leaf"),
)

decision_image = Table(
    "decision_image",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    *_times(),
    Column("kind", Text, nullable=False),
    Column("container", Text, nullable=False),
    Column("field", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("repository", Text, nullable=False),
    Column("tag", Text, nullable=False),
    Column("digest", Text),
    Column("media_type", Text),
    # How many manifests of an index the leaf lists (`image_manifest`), and who signed it (`signer_set`; empty: nobody).
    Column("manifests", Integer, nullable=False),
    Column("signers", Text, nullable=False),
    Index(None, "digest", "decided_at", "leaf"),
    Index(None, "repository", "decided_at", "leaf"),
)

evaluation = Table(
    "evaluation",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    *_times(),
    Column("image", Integer, nullable=False),
    Column("digest", Text),
    Column("policy_kind", Text, nullable=False),
    Column("policy_namespace", Text, nullable=False),
    Column("policy_name", Text, nullable=False),
    Column("policy_hash", Text, nullable=False),
    Column("actions", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error_kind", Text),
    Column("reasons", Text, nullable=False),
    Index(None, "policy_name", "policy_namespace", "decided_at", "leaf"),
)

# What was found about an image, once: the same signature seen at a thousand admissions is one fact, dated by the first.
# `child` is the manifest of the index that it is about, where it is about that one alone.
verification = Table(
    "verification",
    metadata,
    Column("fact", Text, primary_key=True),
    *_times(),
    Column("digest", Text, nullable=False),
    Column("finding", Text, nullable=False),
    Column("policy_kind", Text, nullable=False),
    Column("policy_namespace", Text, nullable=False),
    Column("policy_name", Text, nullable=False),
    Column("policy_hash", Text, nullable=False),
    Column("artifact", Text),
    Column("authority", Text),
    Column("signer_key", Text),
    Column("signer_issuer", Text),
    Column("signer_subject", Text),
    Column("predicate_type", Text),
    Column("code", Text),
    Column("detail", Text, nullable=False),
    Column("child", Text),
    Column("signed_at", Instant),
    Index(None, "digest"),
    Index(None, "artifact"),
    Index(None, "recorded_at"),
)

# What was found about an image, whoever asked: a row for each artefact that counted (`attestation`, `signature`) or
# did not (`rejection`), and one (`looked`) that says that evidence of it was looked for at all. `digest` was judged;
# where a policy looked at each manifest of an index, `child` is the manifest that it is about (`verification.child`),
# else empty. `signed_at` is RFC 3339 or empty.
evidence = Table(
    "evidence",
    metadata,
    *(
        Column(name, Text, primary_key=True)
        for name in ("digest", "child", "finding", "artifact", "predicate_type", "code", "signed_at")
    ),
    Column("policy_namespace", Text, primary_key=True),
    *_times(),
    Index(None, "artifact", "digest"),
)

# What an image (`digest`, `child`: as of `evidence`) rests on by the proofs themselves: `key` and `subject` (who
# signed), `log` (log id and index), and what the signer's certificate says of the build (`builder`, `source`).
trace = Table(
    "trace",
    metadata,
    *(Column(name, Text, primary_key=True) for name in ("kind", "value", "digest", "child", "artifact")),
    Column("policy_namespace", Text, primary_key=True),
    *_times(),
)

policy_version = Table(
    "policy_version",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    *_times(),
    Index(None, "name", "namespace"),
)

# A version of an exception that was used, dated by its first use. `approval` is `stamped`, or `claimed` by a file.
exception = Table(
    "exception",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("approval", Text, primary_key=True),
    *_times(),
    Column("approver", Text, nullable=False),
    Column("approved_at", Instant),
    Column("reason", Text, nullable=False),
    Column("expires", Instant, nullable=False),
    Column("break_glass", Boolean, nullable=False),
)

exception_use = Table(
    "exception_use",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    *_times(),
    Column("evaluation", Integer, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("approval", Text, nullable=False),
    Index(None, "name", "decided_at", "leaf"),
    # The uses of one after another, counted without their rows.
    Index("ix_exception_use_of", "name", "cluster", "hash", "approval", "decided_at", "recorded_at"),
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

TRUTH = (leaf, blob)
LEDGER = (ledger_entry, ledger_tile, ledger_checkpoint, ledger_state)
# What must not be dropped: a row when a hold was placed, and one when it was lifted (`action`).
legal_hold = Table(
    "legal_hold",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    *_times(),
    *(Column(name, Text, nullable=False) for name in ("id", "action", "name", "reason", "person")),
    *(Column(name, Text) for name in ("digest", "namespace")),
    *(Column(name, Instant) for name in ("begins", "ends")),
)

PROJECTIONS = (
    *(decision, decision_flag, decision_image, evaluation, verification, evidence, trace, claim),
    *(policy_version, exception, exception_use),
    *(image_manifest, signer_set, signer_member, manifest_signers, run, watch_gap, legal_hold, read),
    *(refusal, refused_image, policy_use, presence),
)

# What grows with every decision, and is never changed: in PostgreSQL by month of `decided_at` (`partitions`), which is
# then the last column of their keys too. Whatever joins two of them joins by both (`asking.of_one_leaf`).
PARTITIONED = (
    *(decision, decision_flag, decision_image, evaluation, exception_use),
    *(manifest_signers, read),
)

# What stands in the documents that were attested: read from their bytes, after they were recorded, by `index`.
#
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

INDEXES = (
    *(document, document_subject, document_trace, package, component, sbom_component, index_state),
    *(scan, vulnerability_finding, finding_alias, vex_statement, vex_name),
)
