"""The proxy variables mean what they mean to kubelet and container runtimes."""

from __future__ import annotations

import pytest
from yarl import URL

from controller.errors import ConfigurationError
from controller.registry.proxies import ProxyRules

PROXY = "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("no_proxy", "url", "proxied"),
    [
        ("", "https://ghcr.io/", True),
        ("*", "https://ghcr.io/", False),
        ("ghcr.io", "https://ghcr.io/", False),
        ("ghcr.io", "https://GHCR.IO./", False),
        ("ghcr.io", "https://sub.ghcr.io/", False),
        ("ghcr.io", "https://notghcr.io/", True),
        (".ghcr.io", "https://ghcr.io/", True),
        (".ghcr.io", "https://sub.ghcr.io/", False),
        ("*.ghcr.io", "https://sub.ghcr.io/", False),
        ("ghcr.io:5000", "https://ghcr.io/", True),
        ("ghcr.io:5000", "https://ghcr.io:5000/", False),
        ("10.0.0.0/8", "https://10.9.9.9/", False),
        ("10.0.0.0/8", "https://11.9.9.9/", True),
        ("10.0.0.0/8", "https://ten.example/", True),
        ("192.0.2.7", "https://192.0.2.7/", False),
        ("192.0.2.7:443", "https://192.0.2.7:444/", True),
        ("fd00::/8", "https://[fd00::1]/", False),
        (" a.example , ghcr.io ,", "https://ghcr.io/", False),
        ("", "https://localhost/", False),
        ("", "https://127.0.0.1:5000/", False),
        ("", "https://[::1]/", False),
    ],
)
def test_no_proxy(no_proxy: str, url: str, proxied: bool) -> None:
    for names in (("HTTPS_PROXY", "NO_PROXY"), ("https_proxy", "no_proxy")):
        rules = ProxyRules(dict(zip(names, (PROXY, no_proxy), strict=True)))
        assert (rules.for_url(URL(url)) is not None) is proxied


def test_each_scheme_has_its_proxy() -> None:
    rules = ProxyRules({"HTTPS_PROXY": PROXY, "HTTP_PROXY": "other.example"})
    https, http = rules.for_url(URL("https://ghcr.io/")), rules.for_url(URL("http://ghcr.io/"))
    assert https is not None
    assert http is not None
    assert (str(https.url), str(http.url)) == (f"{PROXY}", "http://other.example")
    assert ProxyRules({"HTTPS_PROXY": PROXY}).for_url(URL("http://ghcr.io/")) is None


def test_http_proxy_is_not_believed_where_a_request_could_set_it() -> None:
    """CVE-2016-5385."""
    assert ProxyRules({"HTTP_PROXY": PROXY, "REQUEST_METHOD": "GET"}).for_url(URL("http://ghcr.io/")) is None


def test_a_proxys_password_is_kept_out_of_its_url_and_of_what_is_shown() -> None:
    proxy = ProxyRules({"HTTPS_PROXY": "http://me:hush@proxy.example"}).for_url(URL("https://ghcr.io/"))
    assert proxy is not None
    assert proxy.authorization == "Basic bWU6aHVzaA=="
    assert "hush" not in repr(proxy)
    assert "bWU6" not in repr(proxy)


@pytest.mark.parametrize("text", ["socks5://proxy.example", "http://", "http://proxy.example:port"])
def test_a_proxy_that_cannot_be_used_is_an_error(text: str) -> None:
    with pytest.raises(ConfigurationError, match="HTTPS_PROXY"):
        ProxyRules({"HTTPS_PROXY": text})
