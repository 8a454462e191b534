"""Where files are in memory, which nobody waits for: what a process wrote outlives its death there as on any disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = 4 << 30  # bytes that must be free in memory for files to be there


def in_memory() -> str | None:
    """A folder whose files are in memory; None where there is none, or no room."""
    folder = Path("/dev/shm")
    if not os.access(folder, os.W_OK) or shutil.disk_usage(folder).free < MEMORY:
        return None
    return str(folder)


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for the length of the block, in memory if there is room."""
    with tempfile.TemporaryDirectory(prefix="assay-", dir=in_memory()) as name:
        yield Path(name)
