"""Names of facts: what is said twice has one name, and what happens together is named together."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from hashlib import sha256

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CUSTOM = 8 << 76 | 2 << 62  # RFC 9562, section 5.8: a layout of one's own, and the variant of all UUIDs
_HASHED = ~(15 << 76 | 3 << 62)  # the bits that are not those


def name_of(content: str, *, at: datetime | None) -> str:
    """The UUID (RFC 9562, version 8) of a fact that this content tells apart, and that became so at this time.

    Its first 48 bits are the time in milliseconds, as in version 7, the 74 others are of the content's SHA-256. A
    database keeps names in order: those that come one after another then lie side by side, where names by chance would
    have it read and write a page of its own for each. Without a time, or with one before 1970, all 122 are the hash's.
    """
    number = int.from_bytes(sha256(content.encode()).digest()[:16])
    since = -1 if at is None else (at - _EPOCH) // timedelta(milliseconds=1)
    if since >= 0:
        number = number & (1 << 80) - 1 | since << 80
    return str(uuid.UUID(int=number & _HASHED | _CUSTOM))
