"""The tables of what was found about images, what they rest on and what they say of themselves. All are projections."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from controller.inventory.tables.columns import Instant, metadata, times

# What was found about an image, once: the same signature seen at a thousand admissions is one fact, dated by the first.
# `child` is the manifest of the index that it is about, where it is about that one alone.
verification = Table(
    "verification",
    metadata,
    Column("fact", Text, primary_key=True),
    *times(),
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
    *times(),
    Index(None, "artifact", "digest"),
)

# What an image (`digest`, `child`: as of `evidence`) rests on by the proofs themselves: `key` and `subject` (who
# signed), `log` (log id and index), and what the signer's certificate says of the build (`builder`, `source`).
trace = Table(
    "trace",
    metadata,
    *(Column(name, Text, primary_key=True) for name in ("kind", "value", "digest", "child", "artifact")),
    Column("policy_namespace", Text, primary_key=True),
    *times(),
)

# One claim of an image (`digest`, `child`: as of `evidence`): `kind` is `base` (a name of the image that it was built
# on, or a digest) or `os`; `source` says where it stands (`annotation`, `label`, `configuration`), and `artifact` in
# which bytes. Nobody signed it.
claim = Table(
    "claim",
    metadata,
    *(Column(name, Text, primary_key=True) for name in ("kind", "value", "digest", "child", "source")),
    *(Column(name, Text, primary_key=True) for name in ("artifact", "policy_namespace")),
    *times(),
    Index(None, "digest", "kind"),
)
