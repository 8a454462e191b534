"""Files that commands write."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from controller.errors import ConfigurationError


@contextmanager
def writing(target: str) -> Iterator[BinaryIO]:
    """The file, which is there only when it is whole; for its owner alone, as evidence may be confidential.

    `-` is stdout. Raises `ConfigurationError` (`OutputUnwritable`).
    """
    if target == "-":
        yield sys.stdout.buffer
        return
    path = Path(target)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise ConfigurationError("OutputUnwritable", f"{target}: {exc.strerror}") from exc
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        fresh.replace(path)
    except OSError as exc:
        raise ConfigurationError("OutputUnwritable", f"{target}: {exc.strerror}") from exc
    finally:
        fresh.unlink(missing_ok=True)
