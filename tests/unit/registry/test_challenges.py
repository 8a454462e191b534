"""Challenges are parsed as RFC 9110 writes them, and a realm must keep secrets secret."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from controller.errors import Unacceptable
from controller.registry.challenges import BasicChallenge, BearerChallenge, Challenge, parse_challenges

HUB = BearerChallenge(URL("https://auth.docker.io/token"), "registry.docker.io")


def parse(*headers: str, insecure: bool = False) -> Challenge | None:
    return parse_challenges(headers, host="registry.example", insecure=insecure)


@pytest.mark.parametrize(
    "headers",
    [
        ['Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"'],
        ['bearer  Realm = "https://auth.docker.io/token" , SERVICE=registry.docker.io'],
        ['Basic realm="x"', 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'],
        ['Basic realm="x", Bearer realm="https://auth.docker.io/token", service="registry.docker.io"'],
        ['Negotiate, Bearer service="registry.docker.io",realm="https://auth.docker.io/token#fragment"'],
        ['Bearer realm="https://auth.docker.io/tok\\en",service="registry.docker.io",realm="https://evil.example/"'],
    ],
)
def test_a_token_is_preferred_however_it_is_written(headers: list[str]) -> None:
    assert parse(*headers) == HUB


def test_basic_and_nothing() -> None:
    assert parse('Basic realm="x"') == BasicChallenge()
    assert parse("Basic") == BasicChallenge()
    assert parse() is None
    assert parse("Negotiate abc==") is None
    assert parse("", "=", '"') is None


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "auth.example",
        "",
        "ftp://a.example",
        "https://",
        "https://u:p@a.example/",
        "https://a:b/",
    ],
)
def test_a_realm_that_is_no_https_url_is_refused(realm: str) -> None:
    with pytest.raises(Unacceptable, match="ChallengeMalformed") as raised:
        parse(f'Bearer realm="{realm}"')
    assert "auth.example" not in raised.value.message


def test_an_insecure_host_may_name_a_realm_without_tls() -> None:
    assert parse('Bearer realm="http://auth.example/token"', insecure=True) == BearerChallenge(
        URL("http://auth.example/token"), ""
    )


@given(st.lists(st.text(), max_size=3))
def test_any_header_is_a_challenge_or_none_or_refused(headers: list[str]) -> None:
    try:
        found = parse(*headers)
    except Unacceptable:
        return
    assert found is None or isinstance(found, BasicChallenge | BearerChallenge)


@pytest.mark.timeout(10)  # what backtracks takes minutes
def test_a_long_header_does_not_keep_the_loop_busy() -> None:
    for header in (
        'Bearer realm="' + "\\" * 8000,
        "Bearer " + "a=b," * 2000,
        "," * 8000,
        "a " * 4000,
        "a=" * 4000,
        " " * 8000 + "!",
        "a" + " " * 8000,
    ):
        with contextlib.suppress(Unacceptable):
            parse(header)
