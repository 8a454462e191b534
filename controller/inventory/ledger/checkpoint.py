"""Checkpoints (https://c2sp.org/tlog-checkpoint): a size of the ledger with its root, signed and kept elsewhere."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

from controller.inventory.ledger.merkle import EMPTY_ROOT, HASH_SIZE

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The ledger named `origin` has `size` entries, and their root is `root`."""

    origin: str
    size: int
    root: bytes

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Read a checkpoint's text; lines after the third are extensions and passed over. Raises `ValueError`."""
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not lines[0] or not _SIZE.fullmatch(lines[1]):
            raise ValueError("is no checkpoint")
        try:
            root = base64.b64decode(lines[2], validate=True)
        except (binascii.Error, ValueError) as exc:
            raise ValueError("is no checkpoint") from exc
        size = int(lines[1])
        if len(root) != HASH_SIZE or size >= 1 << 63 or any(not line for line in lines[3:-1]):
            raise ValueError("is no checkpoint")
        if not size and root != EMPTY_ROOT:
            raise ValueError("is a checkpoint of nothing with the root of something")
        return cls(lines[0], size, root)

    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"
