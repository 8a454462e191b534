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

from controller.inventory.tables.acts import legal_hold, read
from controller.inventory.tables.columns import INSTANT_FORMAT, Bytewise, Instant, Position, instant, metadata
from controller.inventory.tables.decisions import (
    decision,
    decision_flag,
    decision_image,
    evaluation,
    exception,
    exception_use,
    policy_version,
    resource_fact,
)
from controller.inventory.tables.documents import (
    SEGMENT,
    component,
    document,
    document_subject,
    document_trace,
    finding_alias,
    index_state,
    package,
    sbom_component,
    scan,
    vex_name,
    vex_statement,
    vulnerability_finding,
)
from controller.inventory.tables.images import claim, evidence, trace, verification
from controller.inventory.tables.joining import of_one_leaf, of_rows
from controller.inventory.tables.leaves import blob, leaf, ledger_checkpoint, ledger_entry, ledger_state, ledger_tile
from controller.inventory.tables.runs import (
    image_manifest,
    manifest_signers,
    policy_use,
    presence,
    refusal,
    refused_image,
    run,
    signer_member,
    signer_set,
    watch_gap,
)

__all__ = [
    "INDEXES",
    "INSTANT_FORMAT",
    "LEDGER",
    "PARTITIONED",
    "PROJECTIONS",
    "REVISION",
    "SEGMENT",
    "TRUTH",
    "Bytewise",
    "Instant",
    "Position",
    "blob",
    "claim",
    "component",
    "decision",
    "decision_flag",
    "decision_image",
    "document",
    "document_subject",
    "document_trace",
    "evaluation",
    "evidence",
    "exception",
    "exception_use",
    "finding_alias",
    "image_manifest",
    "index_state",
    "instant",
    "leaf",
    "ledger_checkpoint",
    "ledger_entry",
    "ledger_state",
    "ledger_tile",
    "legal_hold",
    "manifest_signers",
    "metadata",
    "of_one_leaf",
    "of_rows",
    "package",
    "policy_use",
    "policy_version",
    "presence",
    "read",
    "refusal",
    "refused_image",
    "resource_fact",
    "run",
    "sbom_component",
    "scan",
    "signer_member",
    "signer_set",
    "trace",
    "verification",
    "vex_name",
    "vex_statement",
    "vulnerability_finding",
    "watch_gap",
]

REVISION = "0026"  # the newest migration: what a database must be at

TRUTH = (leaf, blob)
LEDGER = (ledger_entry, ledger_tile, ledger_checkpoint, ledger_state)

PROJECTIONS = (
    *(decision, decision_flag, decision_image, evaluation, verification, evidence, trace, claim),
    *(policy_version, exception, exception_use, resource_fact),
    *(image_manifest, signer_set, signer_member, manifest_signers, run, watch_gap, legal_hold, read),
    *(refusal, refused_image, policy_use, presence),
)

# What grows with every decision, and is never changed: in PostgreSQL by month of `decided_at` (`partitions`), which is
# then the last column of their keys too. Whatever joins two of them joins by both (`of_one_leaf`).
PARTITIONED = (
    *(decision, decision_flag, decision_image, evaluation, exception_use),
    *(manifest_signers, read),
)

INDEXES = (
    *(document, document_subject, document_trace, package, component, sbom_component, index_state),
    *(scan, vulnerability_finding, finding_alias, vex_statement, vex_name),
)
