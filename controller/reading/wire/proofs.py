"""The JSON of a chain of proofs (docs/reference/proof.md), and the parameters of proofs and exports."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from controller.inventory.bundle.proving import State
from controller.inventory.bundle.source import Selection
from controller.reading.wire.base import InNamespace, MomentAsked, Shown, Text

MAX_RUNS = 100  # of one digest, in one answer


class ProofAsked(InNamespace):
    """Parameters of a question for proof."""

    document: Text | None = Field(None, description="Only this evidence: the digest of its artefact or statement.")
    limit: int = Field(20, ge=1, le=MAX_RUNS, description="Of a digest: the newest runs and decisions looked at.")


class Link(Shown):
    """One link of a chain."""

    name: str
    state: State
    told: str
    code: str


class RunChain(Shown):
    """A run, and how it came to be."""

    record: str
    cluster: str
    namespace: str
    pod: str
    container: str
    digest: str | None
    started_at: str
    decision: str
    links: list[Link]


class DocumentChain(Shown):
    """A piece of evidence by which an image was admitted."""

    decision: str
    image: str
    policy: str
    artifact: str
    predicate_type: str
    signer: dict[str, Any]
    log_entry: dict[str, Any] | None
    steps: list[str]
    links: list[Link]


class Proof(Shown):
    """The whole chain. `checkpoint` is the signed note to which the ledger's links lead."""

    holds: bool
    missing: list[Link]
    runs: list[RunChain]
    documents: list[DocumentChain]
    checkpoint: str | None


class ExportAsked(InNamespace):
    """What an evidence bundle is asked for: one of digest, run and record, or else a namespace."""

    digest: Text | None = Field(None, description="All about this image (sha256:…).")
    run: Text | None = Field(None, description="One run of a container, by its runtime's name.")
    record: Text | None = Field(None, description="One decision or sighting, with what belongs to it.")
    since: MomentAsked | None = Field(None, description="Decided, or still running, then or later.")
    until: MomentAsked | None = Field(None, description="Decided, or started, before then.")

    def selection(self) -> Selection:
        """The selection, as the inventory takes it."""
        return Selection(self.digest, self.run, self.record, self.namespace, self.since, self.until)
