"""Addresses are judged by where packets go, whatever way they are written."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import ConfigurationError
from controller.registry.addresses import AddressRefused, AddressRules
from controller.settings import RegistrySettings

pytestmark = pytest.mark.guarantee(11)

OPEN = AddressRules(RegistrySettings(registry_allow_loopback=True, registry_allow_private=True))
USUAL = AddressRules(RegistrySettings())
CLOSED = AddressRules(RegistrySettings(registry_allow_private=False))


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::",
        "::169.254.169.254",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "0.1.2.3",
        "::",
        "::ffff:0.0.0.0",
        "224.0.0.1",
        "ff02::1",
        "240.0.0.1",
        "255.255.255.255",
        "fd00:ec2::254",
        "fd20:ce::254",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "not an address",
        "",
    ],
)
def test_some_addresses_are_never_reached_whatever_is_allowed(address: str) -> None:
    assert OPEN.refusal(address, 443) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1"])
def test_loopback_is_reached_only_by_setting(address: str) -> None:
    assert USUAL.refusal(address, 443) is not None
    if not address.startswith("64:"):
        assert OPEN.refusal(address, 443) is None


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"]
)
def test_private_ranges_are_reached_unless_the_setting_is_off(address: str) -> None:
    assert USUAL.refusal(address, 443) is None
    assert CLOSED.refusal(address, 443) is not None


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_are_reached(address: str) -> None:
    assert CLOSED.refusal(address, 443) is None


def test_denied_addresses_networks_and_ports() -> None:
    rules = AddressRules(
        RegistrySettings(registry_denied_addresses=("203.0.113.0/24", "2001:db8::/32")),
        denied=("10.96.0.1:443", "[fd12::1]:443", "10.1.1.1"),
    )
    for address, port, reached in (
        ("203.0.113.9", 1, False),
        ("::ffff:203.0.113.9", 1, False),
        ("2001:db8::5", 1, False),
        ("10.96.0.1", 443, False),
        ("10.96.0.1", 5000, True),
        ("fd12::1", 443, False),
        ("fd12::1", 5000, True),
        ("10.1.1.1", 5000, False),
    ):
        assert (rules.refusal(address, port) is None) is reached, (address, port)


@pytest.mark.parametrize("text", ["registry.example", "10.0.0.1:port", "10.0.0.1:0", "10.0.0.1:65536", "300.0.0.1", ""])
def test_a_denied_address_that_is_none_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="registry_denied_addresses"):
        AddressRules(RegistrySettings(registry_denied_addresses=(text,)))


@given(st.ip_addresses(v=4))
def test_an_address_inside_an_ipv6_one_is_judged_alike(address: ipaddress.IPv4Address) -> None:
    plain = USUAL.refusal(str(address), 443)
    assert USUAL.refusal(f"::ffff:{address}", 443) == plain
    if plain is not None:
        for carrier in (f"64:ff9b::{address}", f"2002:{int(address) >> 16:x}:{int(address) & 0xFFFF:x}::1"):
            assert USUAL.refusal(carrier, 443) is not None


def test_no_socket_is_made_for_a_refused_address() -> None:
    import socket

    with pytest.raises(AddressRefused):
        OPEN.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80)))
    OPEN.open_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))).close()
