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
from controller.model.reference import Reference


@dataclass(frozen=True, slots=True)
class Credential:
    """A user name and password (or identity token) for the images below `prefix` (`host[:port][/path]`)."""

    prefix: str
    username: str = field(repr=False)
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)

    def covers(self, reference: Reference) -> bool:
        """Whether the credential is for this image: same host, and a path prefix at component borders."""
        return reference.name == self.prefix or reference.name.startswith(self.prefix + "/")


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
        parts = "\0".join(f"{c.prefix}\0{c.username}\0{c.password}\0{c.identity_token}" for c in covering)
        return hashlib.sha256(parts.encode()).hexdigest()[:16]


ANONYMOUS = RegistryAccess()


def parse_docker_config(content: bytes) -> tuple[Credential, ...]:
    """The credentials of a `.dockerconfigjson` secret or a `config.json`, without helpers.

    Raises `InputError` (`PullSecretMalformed`); the message never quotes the content.
    """
    try:
        auths = json.loads(content)["auths"]
        return tuple(credential for host, entry in auths.items() if (credential := _entry(host, entry)) is not None)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error, RecursionError) as exc:
        raise InputError("PullSecretMalformed", "a pull secret is not a docker config with an `auths` object") from exc


def _entry(host: str, entry: Mapping[str, Any]) -> Credential | None:
    prefix = host.removeprefix("https://").removeprefix("http://").rstrip("/")
    for suffix in ("/v1", "/v2"):
        prefix = prefix.removesuffix(suffix)
    host_part, slash, path = prefix.partition("/")
    host_part = host_part.lower().removesuffix(":443")
    if host_part in {"index.docker.io", "registry-1.docker.io"}:
        host_part = "docker.io"
    username, password = entry.get("username", ""), entry.get("password", "")
    if entry.get("auth"):
        username, _, password = base64.b64decode(entry["auth"], validate=True).decode().partition(":")
    token = entry.get("identitytoken", "")
    if not (username or token):
        return None
    return Credential(prefix=host_part + slash + path, username=username, password=password, identity_token=token)
