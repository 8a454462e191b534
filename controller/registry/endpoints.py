"""From a registry's name to where and how it is spoken to: URL, scheme and the authorities that vouch for it."""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass

from yarl import URL

from controller.errors import ConfigurationError
from controller.model.reference import DOCKER_HUB, normal_host
from controller.settings import RegistrySettings, quotable

_DOCKER_HUB_ENDPOINT = "registry-1.docker.io"
_ALL_HOSTS = "*"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a registry answers. `name` is what people call it; `insecure` allows plain HTTP, for its realm too."""

    name: str
    base: URL
    insecure: bool


class Endpoints:
    """Names to endpoints, and hosts to TLS contexts, by the settings.

    Plain HTTP is spoken to hosts that `registry_insecure_hosts` names and, with `registry_allow_loopback`, to loopback
    written as such — unless the host has a certificate authority of its own, which settles that it speaks TLS.
    Raises `ConfigurationError` (`SettingInvalid`) for a certificate file that cannot be read.
    """

    def __init__(self, settings: RegistrySettings) -> None:
        self._insecure = frozenset(_key(host, "http") for host in settings.registry_insecure_hosts)
        self._allow_loopback = settings.registry_allow_loopback
        files = dict(_ca_file(entry) for entry in settings.registry_ca_files)
        for_all = files.pop(_ALL_HOSTS, None)
        self._contexts = {host: _context(for_all, file) for host, file in files.items()}
        self._default_context = _context(for_all)

    def of(self, registry: str) -> Endpoint:
        """The endpoint of a registry's normal name (`host[:port]`)."""
        host = _DOCKER_HUB_ENDPOINT if registry == DOCKER_HUB else registry
        insecure = self.may_be_plain(host)
        return Endpoint(name=registry, base=URL(f"{'http' if insecure else 'https'}://{host}/"), insecure=insecure)

    def may_be_plain(self, host: str) -> bool:
        """Whether plain HTTP may be spoken to this `host[:port]`."""
        if _key(host, "https") in self._contexts:
            return False
        return _key(host, "http") in self._insecure or (self._allow_loopback and _is_loopback(host))

    def context(self, url: URL) -> ssl.SSLContext:
        """The TLS context for this URL's host."""
        return self._contexts.get(host_of(url), self._default_context)


def host_of(url: URL) -> str:
    """`host[:port]` of a URL, without the port that its scheme implies; what health and trust are kept by."""
    host = url.host or ""
    host = f"[{host}]" if ":" in host else host.rstrip(".").lower()
    return host if url.is_default_port() else f"{host}:{url.port}"


def same_origin(one: URL, other: URL) -> bool:
    """Whether both URLs lead to the same scheme, host and port (RFC 6454)."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _key(host: str, scheme: str) -> str:
    """A host as `host_of` gives it back from a URL, however it was written."""
    normal = normal_host(host.strip())
    try:
        return host_of(URL(f"{scheme}://{_DOCKER_HUB_ENDPOINT if normal == DOCKER_HUB else normal}/"))
    except ValueError as exc:
        raise ConfigurationError("SettingInvalid", f"{quotable(host)!r} is no registry host") from exc


def _is_loopback(host: str) -> bool:
    name = URL(f"http://{host}/").host or ""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _ca_file(entry: str) -> tuple[str, str]:
    host, equals, file = entry.partition("=")
    if not equals or not host.strip() or not file.strip():
        raise ConfigurationError("SettingInvalid", f"registry_ca_files: {quotable(entry)!r} is not host=FILE")
    return _ALL_HOSTS if host.strip() == _ALL_HOSTS else _key(host, "https"), file.strip()


def _context(*files: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for file in files:
        if file is not None:
            try:
                context.load_verify_locations(cafile=file)
            except OSError as exc:  # ssl.SSLError is one
                raise ConfigurationError(
                    "SettingInvalid", f"registry_ca_files: {file} holds no certificates that can be read"
                ) from exc
    return context
