"""Runs the command line as people do: the program itself, as a process, in an environment of its own."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.fixtures import CHECKOUT
from tests.support.tools import hermetic_environment

ENDS_WITHIN = 120  # seconds for one command: a bound on a stuck test, never what is tested
MODULE = (sys.executable, "-m", "controller")
SCRIPTS = Path(sys.executable).parent  # where `assay` and `kubectl-assay` are installed


def assay(
    *arguments: str | Path,
    folder: Path,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
    program: Sequence[str | Path] = MODULE,
) -> subprocess.CompletedProcess[str]:
    """Run `assay` with these arguments to its end. `folder` is its home."""
    return subprocess.run(
        [*map(str, program), *map(str, arguments)],
        cwd=CHECKOUT, env=hermetic_environment(folder / "home", **(environment or {})),
        input=stdin, capture_output=True, text=True, timeout=ENDS_WITHIN, check=False,
    )  # fmt: skip


def assay_on_a_terminal(
    *arguments: str | Path, folder: Path, environment: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run `assay` with its output on a terminal; returns its exit status and what the terminal got."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*MODULE, *map(str, arguments)],
        cwd=CHECKOUT, env=hermetic_environment(folder / "home", **(environment or {})),
        stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # how Linux says that the other side is closed
        pass
    finally:
        os.close(ours)
    return process.wait(ENDS_WITHIN), shown.decode()
