"""HTTPS_PROXY, HTTP_PROXY and NO_PROXY, read as the container world reads them.

Python's own reading of NO_PROXY knows no networks (`10.0.0.0/8`), and clusters are configured with those. The rules
here are the ones of Go's `golang.org/x/net/http/httpproxy`, by which kubelet and container runtimes decide.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp
from yarl import URL

from controller.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy to go through; `authorization` is the value of its Proxy-Authorization header, or empty."""

    url: URL
    authorization: str = field(default="", repr=False)


class ProxyRules:
    """Which proxy leads to a URL, if any. Raises `ConfigurationError` (`SettingInvalid`) for an unusable proxy."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        def read(name: str) -> str:
            return (environment.get(name) or environment.get(name.lower()) or "").strip()

        self._proxies = {"https": _proxy("HTTPS_PROXY", read("HTTPS_PROXY"))}
        # A CGI-like server takes HTTP_PROXY from a request header (CVE-2016-5385): there it is not believed.
        if "REQUEST_METHOD" not in environment:
            self._proxies["http"] = _proxy("HTTP_PROXY", read("HTTP_PROXY"))
        self._exceptions = tuple(part.strip().lower() for part in read("NO_PROXY").split(",") if part.strip())

    def for_url(self, url: URL) -> Proxy | None:
        """The proxy for this URL; None means directly. Loopback is never proxied."""
        proxy = self._proxies.get(url.scheme)
        if proxy is None or self._bypassed((url.host or "").lower().rstrip("."), url.port or 0):
            return None
        return proxy

    def _bypassed(self, host: str, port: int) -> bool:
        ip = None
        try:
            ip = ipaddress.ip_address(host)
        except ValueError:
            if host == "localhost":
                return True
        if ip is not None and ip.is_loopback:
            return True
        return any(_covers(exception, host, port, ip) for exception in self._exceptions)


def _covers(exception: str, host: str, port: int, ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    if exception == "*":
        return True
    try:
        network = ipaddress.ip_network(exception.strip("[]"), strict=False)
    except ValueError:
        pass
    else:
        return ip is not None and ip in network
    name, colon, port_text = exception.rpartition(":")
    if colon and port_text.isdecimal():
        if int(port_text) != port:
            return False
        exception = name.strip("[]")
    if ip is not None:
        return exception == host
    exception = exception.removeprefix("*")
    if exception.startswith("."):
        return host.endswith(exception)
    return host == exception or host.endswith("." + exception)


def _proxy(name: str, text: str) -> Proxy | None:
    if not text:
        return None
    try:
        url = URL(text if "://" in text else f"http://{text}")
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(name)
        authorization = aiohttp.encode_basic_auth(url.user, url.password or "") if url.user else ""
    except ValueError as exc:
        raise ConfigurationError("SettingInvalid", f"{name} is no http or https URL of a proxy") from exc
    return Proxy(url=url.with_user(None), authorization=authorization)
