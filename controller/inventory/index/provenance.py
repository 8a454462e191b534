"""Provenance as rows: by what an image was built, from which source, on which base."""

from __future__ import annotations

from controller.inventory.index.contents import Contents, words
from controller.inventory.origins import of_provenance
from controller.model.documents import Provenance


def contents(provenance: Provenance) -> Contents:
    """The rows of provenance of any version."""
    names = of_provenance(provenance)
    return Contents(
        kind="provenance",
        format="SLSA",
        spec_version=words([provenance.spec_version]),
        name=words([provenance.build_type]),
        created_at=provenance.finished_at or provenance.started_at,
        tool=words([provenance.builder_id]),
        rows=(("document_trace", tuple({"kind": kind, "value": name} for kind, name in names)),),
    )
