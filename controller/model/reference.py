"""Image references and digests, parsed once at the edge.

Grammar: https://github.com/distribution/reference (`reference.go`), with Docker Hub's short names and the rules of
the design: hosts are lower-cased, default ports dropped, Docker Hub's aliases made one, and `sha256` the only digest.
What a container runtime would read otherwise than Assay does is refused: the image that is judged is the one that runs.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache

from controller.errors import InputError

DOCKER_HUB = "docker.io"
_DOCKER_HUB_ALIASES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_DEFAULT_PORT = "443"
MAX_PORT = 65_535
MAX_REPOSITORY_LENGTH = 255  # bounds the name (host and path) as distribution does
MAX_REFERENCE_LENGTH = 1024  # bounds what is parsed at all
MAX_REMEMBERED = 8192  # bounds the references that are parsed once only: each pod's is asked for several times

_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*")
_HOST_COMPONENT = r"(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])"
_HOST = re.compile(rf"(?:{_HOST_COMPONENT}(?:\.{_HOST_COMPONENT})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}")
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::([0-9]{1,10}))?")
# What a node takes for the id of an image that it already has, instead of pulling anything: containerd looks up
# `sha256:<id>`, and even the beginning of an id, before it reads a name (CRIImageService.LocalResolve).
_IMAGE_ID = re.compile(r"(?:sha256|sha384|sha512|blake3):[^/@]*|[a-f0-9]{64}")


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

        Raises `InputError` (`ReferenceMalformed`, `DigestMalformed`, `ReferenceIsImageId`).
        """
        return _parse(text)

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


@lru_cache(maxsize=MAX_REMEMBERED)
def _parse(text: str) -> Reference:
    if len(text) > MAX_REFERENCE_LENGTH:
        raise _malformed(f"an image reference of {len(text)} characters is too long")
    if _IMAGE_ID.fullmatch(text):
        message = f"{_shown(text)} is the id of an image that a node may hold, not the name of one in a registry"
        raise InputError("ReferenceIsImageId", message)
    rest, at, digest_text = text.partition("@")
    digest = Digest.parse(digest_text) if at else None
    head, slash, last = rest.rpartition("/")
    last, colon, tag_text = last.partition(":")
    if colon and not _TAG.fullmatch(tag_text):
        raise _malformed(f"{_shown(text)} has no valid tag after the colon")
    registry, repository = _split(head + slash + last, text)
    if not _PATH.fullmatch(repository):
        raise _malformed(f"{_shown(text)} is no image reference")
    if len(registry) + 1 + len(repository) > MAX_REPOSITORY_LENGTH:
        raise _malformed(f"{_shown(text)} has a name of more than {MAX_REPOSITORY_LENGTH} characters")
    tag = tag_text if colon else (None if digest else "latest")
    return Reference(text=text, registry=registry, repository=repository, tag=tag, digest=digest)


def normal_host(written: str) -> str:
    """A registry host in the one form that names, patterns and credentials are compared in.

    Lower case; Docker Hub's aliases made one; IPv6 compressed; the port without leading zeros (a client connects to
    `:0443` as to `:443`) and dropped where it is the default one, unless what is left would be read as a repository on
    Docker Hub. Anything that is no host comes back in lower case.
    """
    lowered = written.lower()
    match = _HOST_AND_PORT.fullmatch(lowered)
    if match is None:
        return lowered
    host, port = match[1], match[2]
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1]).compressed}]"
        except ValueError:
            return lowered
    if port is not None:
        port = str(int(port))
    if port is None or (port == _DEFAULT_PORT and (is_host(host) or "*" in host)):
        return DOCKER_HUB if host in _DOCKER_HUB_ALIASES else host
    return f"{host}:{port}"


def is_host(component: str) -> bool:
    """Whether the first component of a name is a registry host and not part of a repository on Docker Hub."""
    return "." in component or ":" in component or component == "localhost"


def _split(name: str, text: str) -> tuple[str, str]:
    """Registry and repository of a name, as distribution's `splitDockerDomain` tells them apart."""
    first, slash, path = name.partition("/")
    if not slash or not (is_host(first) or first != first.lower()):
        return DOCKER_HUB, name if slash else f"library/{name}"
    host = normal_host(first)
    if not (_HOST.fullmatch(first) and is_host(host) and _can_exist(host)):
        # Among them `Acme/app`: its capital letter makes a host of it, which in lower case would be another image's
        # name (`acme/app` is Docker Hub's).
        raise _malformed(f"{_shown(text)} has no valid registry host before the first slash")
    return host, f"library/{path}" if host == DOCKER_HUB and "/" not in path else path


def _can_exist(host: str) -> bool:
    """Whether the port of a normal host is one, and its address, if it is an IPv6 one, too."""
    match = _HOST_AND_PORT.fullmatch(host)
    if match is None or not 1 <= int(match[2] or _DEFAULT_PORT) <= MAX_PORT:
        return False
    try:
        return not match[1].startswith("[") or bool(ipaddress.IPv6Address(match[1][1:-1]))
    except ValueError:
        return False


def _malformed(message: str) -> InputError:
    return InputError("ReferenceMalformed", message)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:200] + "…")
