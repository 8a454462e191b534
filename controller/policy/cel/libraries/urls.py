"""URLs, taken apart as Go's `net/url` does it: Kubernetes' own library."""

from __future__ import annotations

import re
from dataclasses import dataclass

from controller.policy.cel.failure import CelError
from controller.policy.cel.libraries.addresses import parse_ip
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import SCANS, Library
from controller.policy.cel.schema import BOOL, STRING, list_of, map_of, opaque
from controller.policy.cel.values import register_class

URL = opaque("kubernetes.URL")
LIBRARY = Library("url", "URLs; a relative one is none.", "k8s.io/apiserver pkg/cel/library")

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):(.*)", re.ASCII | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT = re.compile(r"(?::[0-9]*)?", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*", re.ASCII)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_IN_PATH = _UNRESERVED | frozenset(b"$&+,/:;=@")  # what a path needs not escape
_TAKEN_IN_PATH = _IN_PATH | frozenset(b"!'()*[]%")  # what may stand in one without being escaped all the same
_IN_HOST = _UNRESERVED | frozenset(b"!$&'()*+,;=:[]<>\"")
MAX_TEXT = 16_384  # characters of a URL


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in its parts."""

    scheme: str
    opaque: str
    user: str
    host: str
    path: str
    """Escaped."""
    query: str
    fragment: str

    def __str__(self) -> str:
        scheme = f"{self.scheme}:" if self.scheme else ""
        user = f"{self.user}@" if self.user else ""
        authority = f"//{user}{self.host}" if self.host or user else ""
        query = f"?{self.query}" if self.query else ""
        fragment = f"#{self.fragment}" if self.fragment else ""
        return f"{scheme}{self.opaque or authority + self.path}{query}{fragment}"


register_class(Url, "kubernetes.URL")


def parse(text: str) -> Url:
    """An absolute URL, or an absolute path. Raises `CelError`."""
    _split(text)  # a fragment is no part of what must be one (Go: ParseRequestURI, then Parse)
    before, _, fragment = text.partition("#")
    _unescaped(fragment)
    parts = _split(before)
    return Url(**(parts | {"fragment": fragment}))


def _split(text: str) -> dict[str, str]:
    if not text or len(text) > MAX_TEXT or _CONTROL.search(text):
        raise CelError("the string is no URL")
    parts = dict.fromkeys(("scheme", "opaque", "user", "host", "path", "query", "fragment"), "")
    if text == "*":
        return parts | {"path": "*"}
    found = _SCHEME.fullmatch(text)
    if found is None and text.startswith(":"):
        raise CelError("the string is no URL: no scheme before the colon")
    scheme, rest = (found[1].lower(), found[2]) if found is not None else ("", text)
    rest, _, query = rest.partition("?")
    parts |= {"scheme": scheme, "query": query}
    if not rest.startswith("/"):
        if not scheme:
            raise CelError("the string is no absolute URL")
        return parts | {"opaque": rest}
    if scheme and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        user, _, host = authority.rpartition("@")
        if not _USER.fullmatch(user):
            raise CelError("the string is no URL: its user is malformed")
        _unescaped(user)
        parts |= {"user": user, "host": _host(host)}
        rest = slash + path
    return parts | {"path": _path(rest)}


def _host(host: str) -> str:
    if host.startswith("["):
        address, bracket, port = host[1:].rpartition("]")
        if not bracket or not _PORT.fullmatch(port):
            raise CelError("the string is no URL: its host is malformed")
        address, _, zone = address.partition("%25")
        if ":" not in address:
            raise CelError("the string is no URL: its host is malformed")
        if not address.lower().startswith("::ffff:"):
            parse_ip(address)
        return f"[{address}{'%' if zone else ''}{_unescaped(zone).decode(errors='replace')}]{port}"
    if "[" in host:
        raise CelError("the string is no URL: its host is malformed")
    colon = host.rfind(":")
    if colon >= 0 and not _PORT.fullmatch(host[colon:]):
        raise CelError("the string is no URL: its port is malformed")
    for found in _ESCAPE.finditer(host.encode(errors="surrogatepass")):
        if found[1] is not None and int(found[1], 16) < 0x80 and found[1] != b"25":
            raise CelError("the string is no URL: its host is malformed")
    if any(byte < 0x80 and byte not in _IN_HOST and byte != ord("%") for byte in host.encode(errors="surrogatepass")):
        raise CelError("the string is no URL: its host is malformed")
    return _unescaped(host).decode(errors="replace")


def _path(text: str) -> str:
    raw = text.encode(errors="surrogatepass")
    plain = _unescaped(text)
    escaped = "".join(chr(byte) if byte in _IN_PATH else f"%{byte:02X}" for byte in plain)
    return text if escaped != text and all(byte in _TAKEN_IN_PATH for byte in raw) else escaped


def _unescaped(text: str) -> bytes:
    def one(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            raise CelError("the string is no URL: % is not followed by two digits")
        return bytes([int(found[1], 16)])

    return _ESCAPE.sub(one, text.encode(errors="surrogatepass"))


@LIBRARY.function("url", STRING, returns=URL, cost=SCANS)
def to_url(meter: Meter, text: str) -> Url:
    """The URL that a text says."""
    meter.charge(8 * len(text))
    return parse(text)


@LIBRARY.function("isURL", STRING, returns=BOOL, cost=SCANS)
def is_url(meter: Meter, text: str) -> bool:
    """Whether the text is a URL."""
    meter.charge(8 * len(text))
    try:
        _split(text)
    except CelError:
        return False
    return True


@LIBRARY.method("getScheme", URL, returns=STRING)
def scheme_of(_meter: Meter, url: Url) -> str:
    """The scheme, in lower case; empty if there is none."""
    return url.scheme


@LIBRARY.method("getHost", URL, returns=STRING)
def host_of(_meter: Meter, url: Url) -> str:
    """Host and port, with the brackets of an IPv6 address."""
    return url.host


@LIBRARY.method("getHostname", URL, returns=STRING)
def hostname_of(_meter: Meter, url: Url) -> str:
    """The host without port and brackets."""
    host = url.host.rpartition(":")[0] if _port(url.host) is not None else url.host
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


@LIBRARY.method("getPort", URL, returns=STRING)
def port_of(_meter: Meter, url: Url) -> str:
    """The port; empty if there is none."""
    return _port(url.host) or ""


def _port(host: str) -> str | None:
    before, colon, port = host.rpartition(":")
    inside = before.startswith("[") and not before.endswith("]")
    return port if colon and not inside and _PORT.fullmatch(f":{port}") else None


@LIBRARY.method("getEscapedPath", URL, returns=STRING)
def path_of(_meter: Meter, url: Url) -> str:
    """The path, escaped where it has to be."""
    return url.path


@LIBRARY.method("getQuery", URL, returns=map_of(list_of(STRING)), cost=SCANS)
def query_of(meter: Meter, url: Url) -> dict[str, list[str]]:
    """The values of each parameter of the query, unescaped; malformed ones are left out."""
    meter.charge(8 * len(url.query))
    found: dict[str, list[str]] = {}
    for pair in url.query.split("&"):
        name, _, value = pair.partition("=")
        if not pair or ";" in pair:
            continue
        try:
            key = _unescaped(name.replace("+", " ")).decode(errors="replace")
            found.setdefault(key, []).append(_unescaped(value.replace("+", " ")).decode(errors="replace"))
        except CelError:
            continue
    return found
