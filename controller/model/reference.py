"""Image references and digests, parsed once at the edge.

Grammar: https://github.com/distribution/reference (`reference.go`), with Docker Hub's short names and the rules of
the design: hosts are lower-cased, default ports dropped, Docker Hub's aliases made one, and `sha256` the only digest.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from controller.errors import InputError

DOCKER_HUB = "docker.io"
_DOCKER_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_DEFAULT_PORTS = (":443",)
MAX_REPOSITORY_LENGTH = 255  # bounds the name (host and path) as distribution does
MAX_REFERENCE_LENGTH = 1024  # bounds what is parsed at all

_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*")
_HOST_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_HOST_COMPONENT}(?:\.{_HOST_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The SHA-256 of some content, written `sha256:<64 lower-case hex digits>`."""

    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>`.

        Raises `InputError` (`DigestMalformed`) for anything else; other algorithms are refused by design.
        """
        if not _DIGEST.fullmatch(text):
            raise InputError("DigestMalformed", f"{_shown(text)} is no digest: expected sha256:<64 hex digits>")
        return cls(text.removeprefix("sha256:"))

    @classmethod
    def of(cls, content: bytes) -> Digest:
        """The digest of these bytes."""
        return cls(hashlib.sha256(content).hexdigest())

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, slots=True)
class Reference:
    """Where an image is said to be. `text` is what the user wrote; the rest is normal form.

    `registry` is the host with its port unless that is the default one; `tag` is set (to `latest`) whenever neither tag
    nor digest was written, as a container runtime does.
    """

    text: str
    registry: str
    repository: str
    tag: str | None
    digest: Digest | None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference as a container runtime would.

        Raises `InputError` (`ReferenceMalformed`, `DigestMalformed`).
        """
        if len(text) > MAX_REFERENCE_LENGTH:
            raise InputError("ReferenceMalformed", f"an image reference of {len(text)} characters is too long")
        rest, at, digest_text = text.partition("@")
        digest = Digest.parse(digest_text) if at else None
        head, slash, last = rest.rpartition("/")
        last, colon, tag_text = last.partition(":")
        name = head + slash + last
        if colon and not _TAG.fullmatch(tag_text):
            raise InputError("ReferenceMalformed", f"{_shown(text)} has no valid tag after the colon")
        registry, repository = _split(name)
        if not _HOST.fullmatch(registry) or not _PATH.fullmatch(repository):
            raise InputError("ReferenceMalformed", f"{_shown(text)} is no image reference")
        if len(registry) + 1 + len(repository) > MAX_REPOSITORY_LENGTH:
            raise InputError("ReferenceMalformed", f"{_shown(text)} has a name of more than 255 characters")
        tag = tag_text if colon else (None if digest else "latest")
        return cls(text=text, registry=registry, repository=repository, tag=tag, digest=digest)

    @property
    def name(self) -> str:
        """`registry/repository`: what policies' patterns see."""
        return f"{self.registry}/{self.repository}"

    def pinned(self, digest: Digest) -> str:
        """`registry/repository[:tag]@digest`: the one reference that mutation writes into a pod."""
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}@{digest}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.name}{tag}" + (f"@{self.digest}" if self.digest else "")


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    host, path = (first.lower(), rest) if slash and looks_like_host else (DOCKER_HUB, name)
    for port in _DEFAULT_PORTS:
        host = host.removesuffix(port)
    if host in _DOCKER_HUB_ALIASES:
        return DOCKER_HUB, path if "/" in path else f"library/{path}"
    return host, path


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
