"""The tables of what ran: a row a run, what an index holds, of whom something was verified. All are projections."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, text

from controller.inventory.tables.columns import Instant, Position, metadata, times

# What went on at a moment, and where, beside the key of an index: thousands of rows need not be read for it.
_TOLD = ("ended_at", "recorded_at", "end_recorded_at", "digest", "cluster", "repository")


def _telling(name: str, key: Sequence[str], told: Sequence[str]) -> tuple[Index, Index]:
    """An index by this key that tells more than it is ordered by, in the way of each database."""
    return (
        Index(name, *key, postgresql_include=told).ddl_if(dialect="postgresql"),
        Index(name, *key, *told).ddl_if(dialect="sqlite"),
    )


# One row for each run of a container, made from the leaves that say that it started and that it ended, in any order,
# and from the decisions about its pod. `leaf` is the start's, or the end's where no start was recorded; `recorded_at`
# is when the run was first heard of, `end_recorded_at` when its end was. `run` is the runtime's name of it.
#
# `span` is the class of its length (`intervals`). `admission` and `signers` are what decisions say of it now;
# `asked…`, `unresolved…` and `admitted…` name the first decision, by the time of recording, that was about its
# container, that admitted this without a digest, and that admitted this very image: what was known at any time follows
# from these. `late` says that one of them was recorded after the run itself.
run = Table(
    "run",
    metadata,
    *(Column(name, Text, primary_key=True) for name in ("pod_uid", "kind", "container", "run", "cluster")),
    Column("leaf", Position, nullable=False),
    Column("recorded_at", Instant, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("namespace", "pod", "node", "service_account", "owner")),
    *(Column(name, Text, nullable=False) for name in ("reference", "image_id", "repository")),
    Column("digest", Text),
    Column("started_at", Instant, nullable=False),
    Column("end_leaf", Position),
    Column("ended_at", Instant),
    Column("end_recorded_at", Instant),
    Column("reason", Text, nullable=False),
    Column("span", Integer, nullable=False),
    Column("asked", Position),
    Column("asked_at", Instant),
    Column("unresolved", Position),
    Column("unresolved_at", Instant),
    Column("admitted", Position),
    Column("admitted_at", Instant),
    Column("admission", Text, nullable=False),
    Column("signers", Text, nullable=False),
    Column("late", Boolean, nullable=False),
    Index(None, "leaf"),
    Index(None, "end_leaf"),
    Index(None, "run"),
    *_telling("ix_run_span_started_at_leaf", ("span", "started_at", "leaf"), (*_TOLD, "namespace")),
    *_telling("ix_run_namespace_span_started_at_leaf", ("namespace", "span", "started_at", "leaf"), _TOLD),
    *(Index(None, name, "span", "started_at", "leaf") for name in ("cluster", "digest", "admission", "signers")),
    Index(None, "namespace", "digest"),
    Index(None, "cluster", "recorded_at"),
    Index(None, "cluster", "end_recorded_at"),
    Index("ix_run_late", "started_at", "leaf", postgresql_where=text("late"), sqlite_where=text("late")),
)

# The manifests that an index holds, as decisions told them: listed, or judged. A kubelet may name the one or the other;
# what they share is said by `kinship`. Told with the earliest times at which it was said.
image_manifest = Table(
    "image_manifest",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("manifest", Text, primary_key=True),
    *times(),
    Index(None, "manifest"),
)

# Of whom something was verified when an image was admitted: `signers` is canonical JSON, `id` its SHA-256. Few sets
# stand for many decisions.
signer_set = Table(
    "signer_set",
    metadata,
    Column("id", Text, primary_key=True),
    *times(),
    Column("signers", Text, nullable=False),
)

# In which sets somebody is: `name` is a key's fingerprint, or an identity's subject.
signer_member = Table(
    "signer_member",
    metadata,
    Column("name", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    *times(),
)

# The signers of one manifest of a decision's index, where they are others than the whole index's.
manifest_signers = Table(
    "manifest_signers",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("manifest", Text, primary_key=True),
    *times(),
    Column("signers", Text, nullable=False),
)

# Evaluations that stand in the way: Violated or Error under a policy that denies. They are few, and of them is asked
# what runs all the same; what they say stands in `evaluation`.
refusal = Table(
    "refusal",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    *times(),
    *(Column(name, Text, nullable=False) for name in ("cluster", "namespace", "digest")),
    *(Column(f"policy_{name}", Text, nullable=False) for name in ("kind", "namespace", "name", "hash")),
    Index(
        "ix_refusal_of",
        *("digest", "namespace", "cluster", "policy_name", "policy_namespace", "policy_kind"),
        *("decided_at", "recorded_at"),
    ),
)

# Which policies ever refused an image in a place: what `refusal` says more often, each once. How often and when last
# is asked there, of these keys.
refused_image = Table(
    "refused_image",
    metadata,
    *(Column(name, Text, primary_key=True) for name in ("digest", "namespace", "cluster")),
    *(Column(f"policy_{name}", Text, primary_key=True) for name in ("name", "namespace", "kind")),
    *times(),
    sqlite_with_rowid=False,
)

# Which versions of policies judged what is in a namespace: those it may read.
policy_use = Table(
    "policy_use",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    *times(),
)

# In which clusters a namespace was met, by a decision or a run of it: of those it may know when nobody watched.
presence = Table(
    "presence",
    metadata,
    Column("namespace", Text, primary_key=True),
    Column("cluster", Text, primary_key=True),
    *times(),
)

# When nobody watched what runs.
watch_gap = Table(
    "watch_gap",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    *times(),
    Column("cluster", Text, nullable=False),
    Column("since", Instant, nullable=False),
    Column("until", Instant, nullable=False),
    Index(None, "cluster", "recorded_at"),
    Index(None, "until"),
)
