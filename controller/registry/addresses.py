"""Which addresses may be reached: the guard against server-side request forgery (guarantee 11).

A host name says nothing about where a connection ends, and what it resolves to may change between a check and its use.
So the address itself is judged, twice: when a name is resolved (what may not be reached is dropped) and once more when
the socket is made, which also catches addresses written as such and those of proxies. Nothing connects past both.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from controller.errors import ConfigurationError, Unacceptable
from controller.settings import RegistrySettings

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# Clouds' metadata services that stand outside the link-local range: credentials lie behind each of them.
_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "100.100.100.200",  # Alibaba Cloud
        "168.63.129.16",  # Azure's wire server
        "192.0.0.192",  # Oracle Cloud
        "fd00:ec2::254",  # Amazon
        "fd20:ce::254",  # Google
    )
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")  # RFC 1122: Linux takes 0.0.0.0 for loopback
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # RFC 6052
_IPV4_COMPATIBLE = ipaddress.ip_network("::/96")  # RFC 4291, deprecated


class AddressRefused(OSError):
    """An address that may not be reached. An OSError, since only those pass through the connection machinery whole."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Denied:
    network: IPNetwork
    port: int | None


class AddressRules:
    """Judges addresses by the settings.

    `denied` names what is never reached beside the fixed ranges, such as the API server's own: an address, a network,
    or `address:port` (`[address]:port`) where only that port is meant.
    Raises `ConfigurationError` (`SettingInvalid`) for what is none of these.
    """

    def __init__(self, settings: RegistrySettings, *, denied: Iterable[str] = ()) -> None:
        self._allow_loopback = settings.registry_allow_loopback
        self._allow_private = settings.registry_allow_private
        self._denied = tuple(_denied(text) for text in (*settings.registry_denied_addresses, *denied))

    def refusal(self, address: str, port: int) -> str | None:
        """Why this address may not be reached (it completes "the address is …"), or None when it may."""
        try:
            ip = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return "not an IP address"
        for candidate in _meant(ip):
            reason = self._refusal(candidate, port)
            if reason is not None:
                return reason
        return None

    def check(self, address: str, port: int) -> None:
        """Raise `AddressRefused` unless the address may be reached."""
        reason = self.refusal(address, port)
        if reason is not None:
            raise AddressRefused(reason)

    def open_socket(self, address_info: tuple[Any, ...]) -> socket.socket:
        """A socket for one address, or `AddressRefused`: the connector's socket factory, which nothing goes past."""
        family, kind, protocol, _, address = address_info
        self.check(str(address[0]), int(address[1]))
        return socket.socket(family=family, type=kind, proto=protocol)

    def _refusal(self, ip: IPAddress, port: int) -> str | None:
        if any(ip in denied.network and denied.port in {None, port} for denied in self._denied):
            return "denied by registry_denied_addresses"
        if ip.is_link_local or ip in _METADATA:
            return "link-local or a metadata service"
        if ip.is_unspecified or (ip.version == 4 and ip in _THIS_NETWORK):
            return "unspecified"
        if ip.is_multicast or (ip.version == 4 and ip.is_reserved):
            return "multicast or reserved"
        if ip.is_loopback:
            return None if self._allow_loopback else "loopback (registry_allow_loopback is off)"
        if not ip.is_global and not self._allow_private:
            return "private (registry_allow_private is off)"
        return None


class GuardedResolver(AbstractResolver):
    """Resolves names and drops every address that may not be reached; a name left without one is refused."""

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The permitted addresses of `host`. Raises `AddressRefused`, or OSError when the name does not resolve."""
        found = await self._resolver.resolve(host, port, family)
        permitted, reason = [], "nowhere: the name has no address"
        for result in found:
            refusal = self._rules.refusal(result["host"], port)
            if refusal is None:
                permitted.append(result)
            else:
                reason = refusal
        if not permitted:
            raise AddressRefused(reason)
        return permitted

    async def close(self) -> None:
        """Nothing is held open."""
        await self._resolver.close()


def refused(error: BaseException) -> AddressRefused | None:
    """The refusal inside an error of the connection machinery, if that is what stopped it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, AddressRefused):
            return seen
        seen = getattr(seen, "os_error", None) or seen.__cause__
    return None


def forbidden(host: str, what: str, refusal: AddressRefused) -> Unacceptable:
    """The error that says so to people. `host` is the one that the reference names."""
    return Unacceptable(
        "AddressForbidden", f"{host} may not be reached for {what}: an address that it leads to is {refusal.reason}"
    )


def _meant(ip: IPAddress) -> tuple[IPAddress, ...]:
    """The address and every IPv4 address that it carries: what is judged is where the packets go."""
    if isinstance(ip, ipaddress.IPv4Address):
        return (ip,)
    if ip.ipv4_mapped is not None:
        return (ip.ipv4_mapped,)
    carried = [ipaddress.IPv4Address(ip.packed[-4:])] if ip in _NAT64 else []
    if ip in _IPV4_COMPATIBLE and int(ip) > 1:
        carried.append(ipaddress.IPv4Address(ip.packed[-4:]))
    if ip.sixtofour is not None:
        carried.append(ip.sixtofour)
    if ip.teredo is not None:
        carried.extend(ip.teredo)
    return (ip, *carried)


def _denied(text: str) -> _Denied:
    try:
        return _Denied(ipaddress.ip_network(text.strip("[]"), strict=False), None)
    except ValueError:
        host, colon, port = text.rpartition(":")
    try:
        if not colon or not 0 < int(port) < 65536:
            raise ValueError(text)
        return _Denied(ipaddress.ip_network(host.strip("[]")), int(port))
    except ValueError as exc:
        raise ConfigurationError(
            "SettingInvalid",
            f"registry_denied_addresses: {text!r} is neither an address, a network nor address:port",
        ) from exc
