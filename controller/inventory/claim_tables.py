"""The table of what images say of themselves: a projection of the leaves, made by `claims`."""

from __future__ import annotations

from sqlalchemy import Column, Index, Table, Text

from controller.inventory.columns import metadata, times

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
