"""IP addresses and networks: Kubernetes' own library. No zones, and no IPv4 in IPv6."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from controller.policy.cel.failure import CelError
from controller.policy.cel.meter import Meter
from controller.policy.cel.overloads import SCANS, Library
from controller.policy.cel.schema import BOOL, INT, STRING, opaque
from controller.policy.cel.values import register_class

IP = opaque("net.IP")
CIDR = opaque("net.CIDR")
LIBRARY = Library("net", "IP addresses and networks.", "k8s.io/apiserver pkg/cel/library")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_BITS = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
MAX_TEXT = 64  # characters of an address or network


@dataclass(frozen=True, slots=True)
class Ip:
    """An address."""

    address: _Address

    def __str__(self) -> str:
        return str(self.address)


@dataclass(frozen=True, slots=True)
class Network:
    """An address and the length of its network's prefix; what is behind the prefix is kept."""

    address: _Address
    bits: int

    def __str__(self) -> str:
        return f"{self.address}/{self.bits}"

    def prefix(self, bits: int) -> int:
        """The first bits of the address."""
        return int(self.address) >> (self.address.max_prefixlen - bits)


register_class(Ip, "net.IP")
register_class(Network, "net.CIDR")


def parse_ip(text: str) -> Ip:
    """An address. Raises `CelError`."""
    try:
        if len(text) > MAX_TEXT or "%" in text:
            raise ValueError(text)
        address = ipaddress.ip_address(text)
    except ValueError as exc:
        raise CelError("the string is no IP address") from exc
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise CelError("an IPv4 address in IPv6 is not taken")
    return Ip(address)


def parse_network(text: str) -> Network:
    """A network. Raises `CelError`."""
    address, _, bits = text.rpartition("/") if len(text) <= MAX_TEXT else ("", "", "")
    if not _BITS.fullmatch(bits):
        raise CelError("the string is no network, such as 10.0.0.0/8")
    parsed = parse_ip(address).address
    if int(bits) > parsed.max_prefixlen:
        raise CelError("the prefix of the network is too long")
    return Network(parsed, int(bits))


@LIBRARY.function("ip", STRING, returns=IP, cost=SCANS)
def to_ip(meter: Meter, text: str) -> Ip:
    """The address that a text says."""
    meter.charge(len(text))
    return parse_ip(text)


@LIBRARY.function("isIP", STRING, returns=BOOL, cost=SCANS)
def is_ip(meter: Meter, text: str) -> bool:
    """Whether the text is an address."""
    meter.charge(len(text))
    try:
        parse_ip(text)
    except CelError:
        return False
    return True


@LIBRARY.function("ip.isCanonical", STRING, returns=BOOL, cost=SCANS)
def is_canonical(meter: Meter, text: str) -> bool:
    """Whether the text is how an address is written (RFC 5952); what is no address is an error."""
    meter.charge(len(text))
    return str(parse_ip(text)) == text


@LIBRARY.method("family", IP, returns=INT)
def family(_meter: Meter, ip: Ip) -> int:
    """4 or 6."""
    return ip.address.version


@LIBRARY.method("isUnspecified", IP, returns=BOOL)
def is_unspecified(_meter: Meter, ip: Ip) -> bool:
    """Whether it is 0.0.0.0 or ::."""
    return int(ip.address) == 0


@LIBRARY.method("isLoopback", IP, returns=BOOL)
def is_loopback(_meter: Meter, ip: Ip) -> bool:
    """Whether it is in 127.0.0.0/8, or ::1."""
    return ip.address.is_loopback


@LIBRARY.method("isLinkLocalMulticast", IP, returns=BOOL)
def is_link_local_multicast(_meter: Meter, ip: Ip) -> bool:
    """Whether it is in 224.0.0.0/24, or in ff02::/16 with any flags."""
    number = int(ip.address)
    if ip.address.version == 4:
        return number >> 8 == 0xE00000
    return (number >> 112) & 0xFF0F == 0xFF02


@LIBRARY.method("isLinkLocalUnicast", IP, returns=BOOL)
def is_link_local_unicast(_meter: Meter, ip: Ip) -> bool:
    """Whether it is in 169.254.0.0/16, or in fe80::/10."""
    return ip.address.is_link_local


@LIBRARY.method("isGlobalUnicast", IP, returns=BOOL)
def is_global_unicast(meter: Meter, ip: Ip) -> bool:
    """Whether it is none of the above, no multicast and no broadcast; private addresses are global."""
    special = is_loopback(meter, ip) or is_link_local_unicast(meter, ip) or is_unspecified(meter, ip)
    return not (special or ip.address.is_multicast or str(ip) == "255.255.255.255")


@LIBRARY.function("string", IP, returns=STRING)
@LIBRARY.function("string", CIDR, returns=STRING)
def to_text(_meter: Meter, value: Ip | Network) -> str:
    """As it is written."""
    return str(value)


@LIBRARY.function("cidr", STRING, returns=CIDR, cost=SCANS)
def to_network(meter: Meter, text: str) -> Network:
    """The network that a text says."""
    meter.charge(len(text))
    return parse_network(text)


@LIBRARY.function("isCIDR", STRING, returns=BOOL, cost=SCANS)
def is_network(meter: Meter, text: str) -> bool:
    """Whether the text is a network."""
    meter.charge(len(text))
    try:
        parse_network(text)
    except CelError:
        return False
    return True


@LIBRARY.method("containsIP", CIDR, STRING, returns=BOOL, cost=SCANS)
@LIBRARY.method("containsIP", CIDR, IP, returns=BOOL)
def contains_ip(meter: Meter, network: Network, ip: Ip | str) -> bool:
    """Whether an address is in the network."""
    address = (to_ip(meter, ip) if isinstance(ip, str) else ip).address
    return _contains(network, Network(address, address.max_prefixlen))


@LIBRARY.method("containsCIDR", CIDR, STRING, returns=BOOL, cost=SCANS)
@LIBRARY.method("containsCIDR", CIDR, CIDR, returns=BOOL)
def contains_network(meter: Meter, network: Network, other: Network | str) -> bool:
    """Whether all of another network is in the network."""
    return _contains(network, to_network(meter, other) if isinstance(other, str) else other)


def _contains(network: Network, other: Network) -> bool:
    if network.address.version != other.address.version or network.bits > other.bits:
        return False
    return network.prefix(network.bits) == other.prefix(network.bits)


@LIBRARY.method("ip", CIDR, returns=IP)
def ip_of(_meter: Meter, network: Network) -> Ip:
    """The address, as it was written."""
    return Ip(network.address)


@LIBRARY.method("prefixLength", CIDR, returns=INT)
def prefix_length(_meter: Meter, network: Network) -> int:
    """How many bits the prefix has."""
    return network.bits


@LIBRARY.method("masked", CIDR, returns=CIDR)
def masked(_meter: Meter, network: Network) -> Network:
    """The network with nothing behind its prefix."""
    shift = network.address.max_prefixlen - network.bits
    return Network(type(network.address)(int(network.address) >> shift << shift), network.bits)
