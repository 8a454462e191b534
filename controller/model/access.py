"""What a pod may use to reach a registry. Secrets live in these values and nowhere else; none is ever shown."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controller.errors import InputError
from controller.model.reference import Reference, normal_host

MAX_CREDENTIALS = 256  # bounds those of one pull secret; each is compared with each image, for every pod that names it


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and password (or identity token) for the images below `prefix` (`host[:port][/path]`).

    A host may have `*` for a part of a label, as the kubelet reads pull secrets: `*.example.com`. `provider` is the
    credential provider that gave it, empty for a pull secret's.
    """

    prefix: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)
    provider: str = ""

    @property
    def words(self) -> str:
        """What people call it. Of what a provider gave only the provider is named: the rest is its output."""
        return f"the credentials of provider {self.provider}" if self.provider else f"the credentials for {self.prefix}"

    def covers(self, reference: Reference) -> bool:
        """Whether the credential is for this image: same host, and a path prefix at component borders."""
        host, _, path = self.prefix.partition("/")
        below = not path or f"{reference.repository}/".startswith(f"{path}/")
        return below and matches_host(host, reference.registry)


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Everything that one pod may use, in the order in which it is tried. Empty means anonymous."""

    credentials: tuple[Credential, ...] = ()

    def for_reference(self, reference: Reference) -> tuple[Credential, ...]:
        """The credentials that cover this image, the most specific prefix first."""
        covering = [credential for credential in self.credentials if credential.covers(reference)]
        return tuple(sorted(covering, key=lambda credential: len(credential.prefix), reverse=True))

    def scope(self, reference: Reference) -> str:
        """A name for these credentials that is safe to keep: caches of private evidence are keyed by it."""
        covering = self.for_reference(reference)
        if not covering:
            return "anonymous"
        parts = json.dumps([[c.prefix, c.username, c.password, c.identity_token] for c in covering])
        return hashlib.sha256(parts.encode()).hexdigest()


ANONYMOUS = RegistryAccess()


def parse_docker_config(content: bytes) -> tuple[Credential, ...]:
    """The credentials of a `.dockerconfigjson` secret or a `config.json`, without helpers.

    Raises `InputError` (`PullSecretMalformed`, `PullSecretTooLarge`); the message never quotes the content.
    """
    try:
        auths = json.loads(content)["auths"]
        if len(auths) > MAX_CREDENTIALS:
            raise InputError(
                "PullSecretTooLarge", f"a pull secret has {len(auths)} registries (bound: MAX_CREDENTIALS)"
            )
        return tuple(credential for host, entry in auths.items() if (credential := _entry(host, entry)) is not None)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError) as exc:
        raise InputError("PullSecretMalformed", "a pull secret is not a docker config with an `auths` object") from exc


def credential_prefix(written: str) -> str:
    """What the name of an entry in a docker config stands for, in normal form: `host[:port][/path]`."""
    host, _, path = written.removeprefix("https://").removeprefix("http://").rstrip("/").partition("/")
    for version in ("v1", "v2"):  # `https://index.docker.io/v1/` and its like name the API, not a repository
        if path == version or path.startswith(f"{version}/"):
            path = path[len(version) + 1 :]
    return normal_host(host) + (f"/{path}" if path else "")


def matches_host(pattern: str, host: str) -> bool:
    """Whether this is the host (`host[:port]`, both in normal form), `*` standing for any part of one label."""
    return pattern == host or ("*" in pattern and _globs(pattern, host))


def _entry(host: str, entry: Mapping[str, Any]) -> Credential | None:
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    token = entry.get("identitytoken", "")
    if not all(isinstance(text, str) for text in (username, password, token)):
        raise TypeError("credentials are text")
    if not (username or token):
        return None
    return Credential(prefix=credential_prefix(host), username=username, password=password, identity_token=token)


def _globs(pattern: str, host: str) -> bool:
    """Label by label, so that `*.example.com` is no host's but one directly below example.com; the port is literal."""
    (pattern, _, pattern_port), (host, _, port) = pattern.partition(":"), host.partition(":")
    labels, parts = pattern.split("."), host.split(".")
    return (
        pattern_port == port
        and len(labels) == len(parts)
        and all(_globs_label(label, part) for label, part in zip(labels, parts, strict=True))
    )


def _globs_label(pattern: str, label: str) -> bool:
    """Whether `*` for any characters makes the pattern the label.

    Without a regular expression: anybody may write a pull secret, and `*a*a*a…` would keep one busy for ever. What is
    found first serves best, since the next piece has the more left to be found in.
    """
    first, *pieces = pattern.split("*")
    if not pieces:
        return pattern == label
    last = pieces.pop()
    if len(first) + len(last) > len(label) or not (label.startswith(first) and label.endswith(last)):
        return False
    position, end = len(first), len(label) - len(last)
    for piece in pieces:
        found = label.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
