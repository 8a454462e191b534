"""A credential provider plugin as a node has one: a real executable, which writes down how it was run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

API = "credentialprovider.kubelet.k8s.io/v1"

_SCRIPT = """#!{python} -IS
import json, os, sys
folder = {folder!r}
request = sys.stdin.read()
with open(os.path.join(folder, "runs"), "a") as runs:
    line = {{"request": request, "arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
    runs.write(json.dumps(line) + "\\n")
{then}
"""
_ANSWER = """
with open(os.path.join(folder, "answer"), "rb") as answer:
    sys.stdout.buffer.write(answer.read())
"""


class Plugin:
    """One provider in a configuration of its own. `settings` are those that make a client use it."""

    def __init__(self, folder: Path, *match: str, name: str = "test-provider", **fields: Any) -> None:
        self.folder = folder
        self.name = name
        self.executable = folder / "bin" / name
        self.executable.parent.mkdir(parents=True, exist_ok=True)
        self.behave(_ANSWER)
        entry = {"name": name, "apiVersion": API, "matchImages": list(match), "defaultCacheDuration": "1h"} | fields
        config = {"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [entry]}
        self.config = folder / "config.yaml"
        self.config.write_text(json.dumps(config))  # JSON is YAML
        self.settings = {
            "registry_credential_providers_config": str(self.config),
            "registry_credential_providers_directory": str(self.executable.parent),
        }

    def behave(self, then: str) -> None:
        """From now on it does this (Python) after it has written down its run."""
        self.executable.write_text(_SCRIPT.format(python=sys.executable, folder=str(self.folder), then=then))
        self.executable.chmod(0o700)

    def answer(self, auth: dict[str, tuple[str, str]] | None, *, kind: str = "Registry", **fields: Any) -> None:
        """From now on it answers with these user names and passwords, by prefix."""
        entries = None
        if auth is not None:
            entries = {prefix: {"username": name, "password": word} for prefix, (name, word) in auth.items()}
        value = {"apiVersion": API, "kind": "CredentialProviderResponse", "cacheKeyType": kind, "auth": entries}
        self.write(json.dumps(value | fields).encode())

    def write(self, output: bytes) -> None:
        """From now on it answers with these bytes."""
        (self.folder / "answer").write_bytes(output)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """How it was run, each time."""
        file = self.folder / "runs"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
