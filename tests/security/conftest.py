"""What the tests of guarantees share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.memory import folder_in_memory


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory. Who is killed by SIGKILL loses nothing there that he would keep on a disk: what is written
    is the kernel's. That the sync came before the answer, which a power cut asks for, is `test_inventory_sync.py`."""
    with folder_in_memory() as folder:
        yield folder
