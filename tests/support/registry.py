"""Real registries on loopback, and images pushed into them with crane.

Two servers stand for the two ways in which a client finds what refers to an image: `crane registry serve` has no
referrers API, so that only the fallback tag leads there; `referrers-registry` (tests/tools/registry) has it.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Server, answers, free_port, running
from tests.support.tools import hermetic_environment, run_tool, tool

DEFAULT_FILES: Mapping[str, bytes] = {"hello.txt": b"hello\n"}


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry that speaks plain HTTP.

    `host` is `127.0.0.1:<port>`, the first part of each reference; `has_referrers` says whether it has the API.
    """

    host: str
    has_referrers: bool
    server: Server
    home: Path

    def reference(self, repository: str, *, tag: str | None = None, digest: str | None = None) -> str:
        """`host/repository`, with `:tag` and `@digest` where given."""
        suffix = (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
        return f"{self.host}/{repository}{suffix}"

    def crane(self, *arguments: str | Path) -> str:
        """Run crane and return its standard output.

        Raises:
            CommandError: crane failed.
        """
        return run_tool("crane", *arguments, environment=hermetic_environment(self.home))

    def push_image(
        self, repository: str, tag: str, *, files: Mapping[str, bytes] = DEFAULT_FILES, platform: str = "linux/amd64"
    ) -> str:
        """Push an OCI image of one layer and return its digest; equal files and platform make equal digests."""
        reference = self.reference(repository, tag=tag)
        with tempfile.TemporaryDirectory(dir=self.home) as scratch:
            layer = Path(scratch) / "layer.tar"
            layer.write_bytes(_tar(files))
            self.crane("append", "--oci-empty-base", "--new_layer", layer, "--new_tag", reference)
        self.crane("mutate", reference, "--set-platform", platform, "--entrypoint", "/hello", "--tag", reference)
        return self.digest(reference)

    def push_index(
        self, repository: str, tag: str, *, platforms: Sequence[str] = ("linux/amd64", "linux/arm64")
    ) -> str:
        """Push an OCI index of one image a platform and return its digest."""
        reference = self.reference(repository, tag=tag)
        members = []
        for platform in platforms:
            member_tag = f"{tag}-{platform.replace('/', '-')}"
            files = {**DEFAULT_FILES, "platform.txt": platform.encode()}
            digest = self.push_image(repository, member_tag, files=files, platform=platform)
            members += ["--manifest", self.reference(repository, digest=digest)]
        self.crane("index", "append", *members, "--tag", reference)
        return self.digest(reference)

    def tag(self, reference: str, tag: str) -> None:
        """Let `tag`, in the same repository, name what `reference` names."""
        self.crane("tag", reference, tag)

    def digest(self, reference: str) -> str:
        """The digest that the registry gives for a reference."""
        return self.crane("digest", reference).strip()

    def manifest(self, reference: str) -> dict[str, Any]:
        """The manifest that a reference names, parsed."""
        parsed: dict[str, Any] = json.loads(self.crane("manifest", reference))
        return parsed

    def tags(self, repository: str) -> list[str]:
        """Every tag of a repository."""
        return self.crane("ls", self.reference(repository)).split()


@contextlib.contextmanager
def run_registry(folder: Path, *, referrers: bool, port: int | None = None) -> Iterator[Registry]:
    """Run a registry, with or without the referrers API, for the length of a `with` block.

    `folder` holds its blobs, its log (`registry.log`) and crane's home; manifests live in its memory. A `port` is for
    tests that stop a registry and start another at its address.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blobs = folder / "blobs"
    blobs.mkdir(exist_ok=True)
    host = f"127.0.0.1:{port or free_port()}"
    program: list[str | Path] = [tool("referrers-registry")] if referrers else [tool("crane"), "registry", "serve"]
    name = "referrers-registry" if referrers else "crane registry"
    home = folder / "home"
    with running(
        [*program, "--address", host, "--disk", blobs],
        name=name,
        log=folder / "registry.log",
        ready=answers(f"http://{host}/v2/"),
        environment=hermetic_environment(home),
    ) as server:
        yield Registry(host=host, has_referrers=referrers, server=server, home=home)


def _tar(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed tar whose bytes depend on the files alone: no clock, no owner, sorted names."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o644
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
