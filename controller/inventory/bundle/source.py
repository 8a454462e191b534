"""What a bundle is made of, wherever it lies, and for what it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self

from controller.inventory.bundle.tlog_proof import TlogProof
from controller.inventory.ledger.notes import NoteKey

IMPOSSIBLE = "ReplayImpossible:"  # how a replay says that this version cannot make a proof: not that it fails


@dataclass(frozen=True, slots=True)
class Selection:
    """Which records: about an image (`digest`), of a namespace, of one run, or one record with what belongs to it.

    Exactly one of `digest`, `run` and `record` is set, or else `namespace` is. With a namespace beside another, only
    what is that namespace's. Times bound what was decided and what ran: from `since`, before `until`.
    """

    digest: str | None = None
    run: str | None = None
    record: str | None = None
    namespace: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def named(cls, name: str, namespace: str | None = None) -> Self:
        """What a person names by one word: a digest, a run by its runtime's name, or a record."""
        if name.startswith("sha256:"):
            return cls(digest=name, namespace=namespace)
        return cls(run=name, namespace=namespace) if "://" in name else cls(record=name, namespace=namespace)


@dataclass(frozen=True, slots=True)
class Kept:
    """A record as it was recorded (`canonical`), and with what the ledger proves it, if it has a number."""

    id: str
    canonical: bytes
    entry: bytes | None
    proof: TlogProof | None


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a bundle says of itself beside its content. `ledger_key` is None where nobody knew it."""

    selection: Selection
    known_at: datetime
    made_at: datetime
    ledger_key: NoteKey | None
    version: str


class Source(Protocol):
    """Where records and bytes come from. Each call may be slow; none needs more memory than what it returns."""

    @property
    def checkpoint(self) -> str | None:
        """The signed checkpoint to which every proof leads; None before the first."""
        ...

    def records(self) -> Iterator[Kept]:
        """The records in the order of the inventory; the same each time."""
        ...

    def leaves(self) -> Iterator[Any]:
        """The records' JSON values, in that order."""
        ...

    def weigh(self, digests: Iterable[str]) -> int:
        """How many bytes are kept under these digests."""
        ...

    def blob(self, digest: str) -> bytes | None:
        """The bytes of this digest; None where they are not kept.

        Raises `Unacceptable` for what is kept and is not these bytes any more.
        """
        ...
