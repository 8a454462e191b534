"""Finds the real programs; a test that lacks one fails with the command that builds it, and is never skipped."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.tools.build import ToolError, locate

__all__ = ["CommandError", "ToolError", "hermetic_environment", "run_tool", "tool"]

TIMEOUT = 60  # seconds for one command; the slowest, a signature, takes two on a busy machine


class CommandError(Exception):
    """A program ended with a status other than 0; the text holds its command line and what it said."""

    def __init__(self, command: Sequence[str], completed: subprocess.CompletedProcess[str]) -> None:
        self.status = completed.returncode
        self.stdout = completed.stdout
        self.stderr = completed.stderr
        said = (completed.stderr or completed.stdout).strip()
        super().__init__(f"{' '.join(command)} ended with status {self.status}: {said}")


def tool(name: str) -> Path:
    """The path of the program called `name` (see tests/tools/tools.toml).

    Raises:
        ToolError: it is not built; the message says `make tools`.
    """
    return locate(name)


def run_tool(
    name: str,
    *arguments: str | Path,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    folder: Path | None = None,
    timeout: float = TIMEOUT,
) -> str:
    """Run a program to its end and return what it wrote to standard output.

    Raises:
        ToolError: the program is not built.
        CommandError: it failed.
        subprocess.TimeoutExpired: it did not end in `timeout` seconds.
    """
    command = [str(tool(name)), *map(str, arguments)]
    completed = subprocess.run(
        command, env=environment, input=stdin or "", cwd=folder, capture_output=True, text=True, timeout=timeout,
        check=False,
    )  # fmt: skip
    if completed.returncode != 0:
        raise CommandError([name, *command[1:]], completed)
    return completed.stdout


def hermetic_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment in which no program sees this user's kubeconfig, registry logins, trust roots or proxies."""
    home.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "DOCKER_CONFIG": str(home / ".docker"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "XDG_CONFIG_HOME": str(home / ".config"),
        **more,
    }
