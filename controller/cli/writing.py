"""What commands write: files, and standard output, of which one has to know what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from controller.errors import ConfigurationError


class UnwritableError(OSError):
    """Standard output cannot be written to: nobody reads it any more, or there is no room."""


class _Output(FileIO):
    def write(self, content: Any, /) -> int:
        try:
            return super().write(content)
        except OSError as exc:
            raise UnwritableError(exc.errno, exc.strerror) from exc


def telling_apart(output: TextIO) -> TextIO:
    """The same output, whose errors are `UnwritableError`: a closed pipe may be another one, to a database."""
    output.flush()
    raw = _Output(output.fileno(), "w", closefd=False)
    lines = output.isatty()
    return TextIOWrapper(BufferedWriter(raw), output.encoding, output.errors, line_buffering=lines)


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
