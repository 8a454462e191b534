"""What a process keeps of memory that was freed: large pieces with small ones between them that stay.

`python -m tests.support.fragmenting [economise]` prints it, in bytes.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from controller.workers.allocation import economise

PIECES = 128
LARGE = 1024 * 1024  # bytes
SMALL = 32 * 1024
FIRST = 3 * LARGE  # freed first: from then on glibc by itself takes what is smaller from its heap


def kept(_payload: bytes = b"") -> bytes:
    """How many bytes more this process holds, after large pieces came and went again, pickled."""
    del _payload
    first = bytearray(FIRST)
    del first
    before = _held()
    small, large = [], []
    for _ in range(PIECES):
        large.append(b"x" * LARGE)
        small.append(b"x" * SMALL)
    del large
    return pickle.dumps(_held() - before)


def _held() -> int:
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))


if __name__ == "__main__":
    if "economise" in sys.argv and not economise():
        raise SystemExit("this C library takes no rules")
    print(pickle.loads(kept()))  # noqa: S301 - of our own making
