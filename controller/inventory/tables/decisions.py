"""The tables of what was decided, under which policies and exceptions, and of how these came and went. All are
projections."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, text

from controller.inventory.tables.columns import Instant, Position, metadata, times

_DENIED = text("verdict = 'Deny'")
_FORETOLD = text("recorded_at < decided_at")

decision = Table(
    "decision",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    *times(),
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
    *times(),
    Column("namespace", Text, nullable=False),
    Index(None, "flag", "decided_at", "leaf"),
    Index(None, "flag", "namespace", "decided_at", "leaf"),
)

decision_image = Table(
    "decision_image",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    *times(),
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
    *times(),
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

policy_version = Table(
    "policy_version",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    *times(),
    Index(None, "name", "namespace"),
)

# A version of an exception, dated by when it was applied, or by its first use if that is all that is known.
# `approval` is `stamped`, or `claimed` by a file.
exception = Table(
    "exception",
    metadata,
    Column("cluster", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("hash", Text, primary_key=True),
    Column("approval", Text, primary_key=True),
    *times(),
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
    *times(),
    Column("evaluation", Integer, nullable=False),
    Column("cluster", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("approval", Text, nullable=False),
    Index(None, "name", "decided_at", "leaf"),
    # The uses of one after another, counted without their rows.
    Index("ix_exception_use_of", "name", "cluster", "hash", "approval", "decided_at", "recorded_at"),
)

# That a version of a policy or an exception was applied, or that the object was deleted, as the operator saw it. `uid`
# is the object's, and `life` how often it had been deleted before (0, but where a cluster was restored from a backup):
# of one life the versions follow each other by `generation`, and its deletion ends it, whatever the clocks said. `hash`
# is the version's, of a deletion the last one's; `problem` the code of why it does not take effect, as it was seen.
resource_fact = Table(
    "resource_fact",
    metadata,
    Column("leaf", Position, primary_key=True, autoincrement=False),
    Column("id", Text, nullable=False),
    *times(),
    *(Column(name, Text, nullable=False) for name in ("cluster", "fact", "kind", "namespace", "name", "uid")),
    Column("life", Integer, nullable=False),
    Column("generation", BigInteger, nullable=False),
    *(Column(name, Text, nullable=False) for name in ("hash", "manager", "problem", "reason")),
    Index(None, "decided_at", "leaf"),
    Index(None, "kind", "name", "namespace", "cluster"),
    Index(None, "cluster", "uid"),
)
