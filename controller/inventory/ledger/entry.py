"""What stands in the ledger: not a record itself, which may be large and may be dropped one day, but its hash.

An entry is canonical JSON (RFC 8785) of a few dozen bytes, so that it fits a bundle of entries whatever the record's
size, and so that entries and tiles can be shown to a witness without a word of what was recorded. The record is bound
by its SHA-256, and has a random salt in it, so that nobody finds its content by trying.
"""

from __future__ import annotations

from datetime import datetime

from controller.inventory.canonical import canonical
from controller.inventory.tables import instant


def entry_of(digest: str, recorded_at: datetime) -> bytes:
    """The entry of a record: the hash of its canonical bytes (`sha256:<hex>`), and when the inventory learnt of it."""
    return canonical({"leaf": digest, "recordedAt": instant(recorded_at)})
