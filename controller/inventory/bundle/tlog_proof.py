"""Proofs that stand for themselves (https://c2sp.org/tlog-proof): an entry's place, its Merkle path, the checkpoint."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

from controller.inventory.ledger.merkle import HASH_SIZE, MAX_PROOF
from controller.inventory.ledger.notes import MAX_NOTE

HEAD = "c2sp.org/tlog-proof@v1"
MAX_BYTES = MAX_NOTE + 128 * MAX_PROOF  # of a proof that is read
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class TlogProof:
    """That an entry stands at `index` of the log of which `checkpoint` (a signed note, verbatim) speaks.

    `hashes` lead from the entry's leaf hash to the checkpoint's root (RFC 6962, 2.1.1).
    """

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: str

    def text(self) -> str:
        """The proof as it is written to a `.tlog-proof` file."""
        return f"{HEAD}\nindex {self.index}\n{_lines(self.hashes)}\n{self.checkpoint}"

    @classmethod
    def parse(cls, content: bytes) -> TlogProof:
        """Read one. Extra data is passed over, as nobody vouches for it. Raises `ValueError`."""
        if len(content) > MAX_BYTES:
            raise ValueError(f"a proof has at most {MAX_BYTES} bytes")
        try:
            head, gap, checkpoint = content.decode().partition("\n\n")
        except UnicodeDecodeError as exc:
            raise ValueError("a proof is text") from exc
        lines = head.split("\n")
        if len(lines) > 1 and lines[1].startswith("extra "):
            del lines[1]
        found = _INDEX.fullmatch(lines[1]) if len(lines) > 1 else None
        if not gap or lines[0] != HEAD or found is None or len(lines) > MAX_PROOF + 2:
            raise ValueError(f"is no {HEAD}")
        try:
            hashes = tuple(base64.b64decode(line, validate=True) for line in lines[2:])
        except (binascii.Error, ValueError) as exc:
            raise ValueError("a hash of the proof is malformed") from exc
        if any(len(step) != HASH_SIZE for step in hashes):
            raise ValueError("a hash of the proof is malformed")
        return cls(int(found[1]), hashes, checkpoint)


def _lines(hashes: Sequence[bytes]) -> str:
    return "".join(f"{base64.b64encode(step).decode()}\n" for step in hashes)
