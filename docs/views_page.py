"""The reference page of the stable views, from `controller.inventory.querying.views`."""

from __future__ import annotations

from controller.inventory.querying import sqlite_child, statement
from controller.inventory.querying.views import VIEWS

INTRODUCTION = """\
What `assay query` (and `GET /api/v1/query`) asks, on SQLite and PostgreSQL alike. A view keeps its columns and what they mean;
columns and views may be added, so name the columns that you want. Times are UTC: RFC 3339 text in SQLite
(`2026-11-22T11:00:00.000000Z`), `timestamptz` in PostgreSQL; both compare with such text. Every fact has two times: when it was
true (`decided_at`, `started_at`, …) and `recorded_at`, when the inventory learnt it. *As of D* is `decided_at <= D`, *known at K* is
`recorded_at <= K`. Lists (`flags`, `reasons`) are JSON text. No view shows raw evidence, leaves or the ledger.

Why one table joins another: `v_images.decision`, `v_evaluations.decision` and `v_exception_uses.decision` are `v_decisions.id`;
`v_evidence.digest` is `v_images.digest` and `v_runs.digest` (or the index or the platform's manifest of it); `v_evidence.artifact` is
`v_documents.artifact`, `v_components.artifact` and `v_findings.artifact`; `v_runs.pod_uid` is `v_decisions.object_uid`.
"""


def page() -> str:
    """The page."""
    lines = ["# Views\n", INTRODUCTION]
    for view in VIEWS:
        lines += [f"## {view.name}\n", f"{view.about}\n", "| column | |", "| --- | --- |"]
        lines += [f"| `{name}` | {meaning} |" for name, meaning, _ in view.columns]
        lines.append("")
    lines += [
        "## What a question may hold\n",
        (
            "One `SELECT` (or `WITH … SELECT`), in the SQL of the database that it goes to, of at most"
            f" {statement.MAX_STATEMENT:,} characters and {statement.MAX_SELECTS} SELECTs. Text in `'…'` without a letter before it,"
        ),
        "no brackets, no dollar quotes, comments that hold no other. These functions, where the database has them:\n",
        ", ".join(f"`{name}`" for name in sorted(statement.FUNCTIONS)) + ".\n",
        (
            f"On SQLite one value may have {sqlite_child.LIMITS[0] // 1024} KiB, and the question is asked in a process of its own with"
            f" {sqlite_child.MAX_MEMORY >> 20} MiB. Time, rows and bytes: settings `query_timeout`, `query_max_rows`, `query_max_bytes`."
        ),
        "",
    ]
    return "\n".join(lines)
