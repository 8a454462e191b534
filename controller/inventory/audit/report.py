"""What looking at an inventory found, and how it is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

MAX_FINDINGS = 100  # told; more are counted
EXACT_FIRST = (
    *("LeafRemoved", "LeafChanged", "EntryRemoved", "EntryChanged", "EntryAdded", "LeafAdded", "LeafUnreadable"),
    "RetentionInvalid",
    *("CheckpointRemoved", "LedgerCut", "LedgerForked", "TileRemoved", "TileChanged"),
    *("CheckpointInvalid", "RootMismatch"),
    *("BlobRemoved", "BlobChanged", "ProjectionChanged", "IndexChanged"),
)
"""All codes, the rows that were touched before what follows from that."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was recorded. `where`: the row, as people can find it."""

    code: str
    where: str
    message: str


@dataclass(frozen=True, slots=True)
class Kept:
    """A checkpoint that was kept elsewhere: where it came from, and the signed note."""

    source: str
    note: bytes


@dataclass(frozen=True, slots=True)
class Cosigned:
    """Up to which size a witness has cosigned the ledger, and when it saw that."""

    size: int
    at: datetime


@dataclass(slots=True)
class Report:
    """What was looked at, and what was found; nothing found means that all of it is as it was recorded.

    `documents` are those that are indexed, `unindexed` those that wait for it; `signed` is the size up to which a
    signature vouches for the entries, `kept` up to which a checkpoint does that was kept elsewhere; `cosigned` up to
    which each witness does, by its name; `waiting` are leaves without a number yet; `dropped` says how many leaves were
    dropped by each retention record.
    """

    entries: int = 0
    blobs: int = 0
    documents: int = 0
    unindexed: int = 0
    waiting: int = 0
    signed: int = 0
    kept: int = 0
    cosigned: dict[str, Cosigned] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    omitted: int = 0
    dropped: dict[str, int] = field(default_factory=dict)

    def sort(self) -> None:
        """Put the rows that were touched before what follows from that."""
        self.findings.sort(key=lambda finding: EXACT_FIRST.index(finding.code))

    def add(self, code: str, where: str, message: str) -> None:
        """Note a finding; past `MAX_FINDINGS` they are only counted."""
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(code, _printable(where), _printable(message)))
        else:
            self.omitted += 1


def _printable(text: str) -> str:
    """With what is no text written out: it may be what somebody put in the place of a name."""
    return text.encode(errors="backslashreplace").decode()
