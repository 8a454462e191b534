"""No server-side request forgery (guarantee 11): no address is reached that may not be, by whatever way it is named."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from controller.errors import AccessDenied, Unacceptable
from controller.model.access import ANONYMOUS, Credential, RegistryAccess
from tests.contract.registry_servers.certificates import Authority
from tests.contract.registry_servers.clients import client, ref, soon
from tests.contract.registry_servers.proxies import ScriptedProxy
from tests.contract.registry_servers.scripted import Answer, Around, ScriptedRegistry, Users

pytestmark = pytest.mark.guarantee(11)

APP = "acme/app"
METADATA = "169.254.169.254"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Names that resolve as the test says; the resolver under test asks the same function as ever."""
    table: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolve(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if host not in table:
            return real(host, port, *arguments, **options)
        found = []
        for address in table[host]:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            where = (address, port, 0, 0) if ":" in address else (address, port)
            found.append((family, socket.SOCK_STREAM, 6, "", where))
        return found

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return table


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address to which a connection was tried."""
    tried: list[str] = []
    real = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

    async def connect(loop: Any, sock: socket.socket, address: Any) -> None:
        tried.append(address[0])
        await real(loop, sock, address)

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", connect)
    return tried


@pytest.mark.parametrize(
    "host",
    [
        METADATA,
        "[fe80::1]:5000",
        "0.0.0.0:5000",
        "[::]:5000",
        "224.0.0.1:5000",
        "255.255.255.255:5000",
        "[::ffff:a9fe:a9fe]:5000",
        "[64:ff9b::a9fe:a9fe]:5000",
        "[2002:a9fe:a9fe::1]:5000",
        "[fd00:ec2::254]:5000",
        "100.100.100.200:5000",
    ],
)
async def test_an_address_in_the_reference_is_judged(host: str, connected: list[str]) -> None:
    async with client(registry_allow_loopback=True) as registry:
        with pytest.raises(Unacceptable) as raised:
            await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    assert raised.value.code == "AddressForbidden"
    assert connected == []


async def test_an_address_in_a_spelling_of_old_is_no_way_around(connected: list[str]) -> None:
    for host in ("127.1:5000", "2130706433.:5000", "0x7f.0.0.1:5000", "017700000001.:5000"):
        async with client(registry_allow_loopback=False) as registry:
            with pytest.raises(Exception, match=r"AddressForbidden|Malformed|RegistryUnavailable"):
                await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    assert connected == []


async def test_a_name_is_judged_by_what_it_resolves_to(names: dict[str, list[str]], connected: list[str]) -> None:
    for address in (METADATA, "0.0.0.1", "fe80::1", "::", "127.0.0.1", "::1", "::ffff:127.0.0.1"):
        names["registry.example"] = [address]
        async with client(registry_allow_loopback=False) as registry:
            with pytest.raises(Unacceptable) as raised:
                await registry.resolve(ref(f"registry.example/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert raised.value.code == "AddressForbidden", address
    assert connected == []


async def test_of_a_names_addresses_only_the_permitted_are_tried(
    names: dict[str, list[str]], connected: list[str]
) -> None:
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        names["registry.example"] = [METADATA, "127.0.0.1", "fe80::1"]
        host = f"registry.example:{server.port}"
        async with client(registry_allow_loopback=True, registry_insecure_hosts=(host,)) as registry:
            await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    assert set(connected) == {"127.0.0.1"}


async def _closing(request: web.BaseRequest, standard: Answer) -> web.Response:
    answer = await standard(request)
    answer.force_close()
    return answer


async def test_a_name_that_leads_elsewhere_later_is_judged_again(
    names: dict[str, list[str]], connected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the second answer is the bad one, and the first connection cannot be used again."""
    monkeypatch.setattr("controller.registry.transport.DNS_SECONDS", 0)
    async with ScriptedRegistry() as server:
        server.put_image(APP, "1.0")
        server.around = _closing
        names["registry.example"] = ["127.0.0.1"]
        host = f"registry.example:{server.port}"
        async with client(registry_allow_loopback=True, registry_insecure_hosts=(host,)) as registry:
            await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
            names["registry.example"] = [METADATA]
            with pytest.raises(Unacceptable, match="AddressForbidden"):
                await registry.resolve(ref(f"{host}/{APP}:2.0"), access=ANONYMOUS, deadline=soon())
    assert set(connected) == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({"registry_allow_loopback": False}, "127.0.0.1:1"),
        ({"registry_allow_private": False}, "10.0.0.1:1"),
        ({"registry_allow_private": False}, "[fd12::1]:1"),
        ({"registry_allow_private": False}, "100.64.0.1:1"),
        ({"registry_denied_addresses": ("203.0.113.0/24",)}, "203.0.113.7:1"),
        ({"denied": ("10.96.0.1",)}, "10.96.0.1:1"),
        ({"denied": ("10.96.0.1:443",)}, "10.96.0.1"),
        ({"denied": ("[fd12::1]:6443",)}, "[fd12::1]:6443"),
    ],
)
async def test_the_settings_deny(settings: dict[str, Any], address: str, connected: list[str]) -> None:
    async with client(**settings) as registry:
        with pytest.raises(Unacceptable, match="AddressForbidden"):
            await registry.resolve(ref(f"{address}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    assert connected == []


async def test_a_denied_port_leaves_the_others_of_its_address() -> None:
    async with ScriptedRegistry() as server, client(denied=("127.0.0.1:6443",)) as registry:
        server.put_image(APP, "1.0")
        await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())


@pytest.mark.parametrize("target", [f"https://{METADATA}/latest/meta-data", "https://[fe80::1]/", "https://0.0.0.0/"])
async def test_a_redirect_to_a_forbidden_address_is_refused(target: str, connected: list[str]) -> None:
    async with ScriptedRegistry() as server, client() as registry:
        server.status(f"/v2/{APP}/manifests/1.0", 307, Location=target)
        with pytest.raises(Unacceptable, match="AddressForbidden") as raised:
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert "meta-data" not in str(raised.value)
    assert set(connected) == {"127.0.0.1"}


async def test_a_token_realm_at_a_forbidden_address_is_refused(connected: list[str]) -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"})) as server, client() as registry:
        server.realm = f"http://{METADATA}/token"
        with pytest.raises(Unacceptable, match="AddressForbidden"):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    assert set(connected) == {"127.0.0.1"}


async def test_a_token_realm_without_tls_gets_nothing_unless_the_host_is_insecure(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.server_context("127.0.0.1")
    users = Users({"dev": "right"})
    async with ScriptedRegistry(users=users) as plain, ScriptedRegistry(users=users, tls=tls) as server:
        server.put_image(APP, "1.0")
        server.realm = f"{plain.url}/token"
        access = RegistryAccess((Credential(prefix=server.host, username="dev", password="right"),))
        async with client(registry_ca_files=(f"{server.host}={authority.file}",)) as registry:
            with pytest.raises(Unacceptable, match="ChallengeMalformed"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
        assert plain.requests == []


def _moved(url: str) -> Around:
    """Whoever may read is sent to the same path elsewhere."""

    async def moved(request: web.BaseRequest, standard: Answer) -> web.Response:
        answer = await standard(request)
        if answer.status == 401 or not request.path.startswith("/v2/"):
            return answer
        return web.Response(status=307, headers={"Location": url + request.path})

    return moved


async def test_credentials_do_not_follow_a_redirect_to_another_host() -> None:
    for bearer in (True, False):
        users = Users({"dev": "right"}, bearer=bearer)
        async with ScriptedRegistry(users=users) as server, ScriptedRegistry() as other, client() as registry:
            other.put_image(APP, "1.0")
            server.around = _moved(other.url)
            access = RegistryAccess((Credential(prefix=server.host, username="dev", password="right"),))
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
            assert [sorted(seen.headers.keys() & {"Authorization", "Cookie"}) for seen in other.requests] == [[]]
            assert any("Authorization" in seen.headers for seen in server.requests)


async def test_credentials_do_not_come_back_after_a_detour() -> None:
    users = Users({"dev": "right"}, bearer=False)
    async with ScriptedRegistry(users=users) as server, ScriptedRegistry() as other, client() as registry:
        server.around = _moved(other.url)
        back = f"/v2/{APP}/manifests/back"
        server.status(back, 401)
        other.status(f"/v2/{APP}/manifests/1.0", 302, Location=server.url + back)
        access = RegistryAccess((Credential(prefix=server.host, username="dev", password="right"),))
        with pytest.raises(AccessDenied):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
        assert ["Authorization" in seen.headers for seen in server.seen(APP)] == [False, True, False]
        assert server.requests[-1].path == back


async def test_a_challenge_of_another_host_gets_no_credentials() -> None:
    """A redirect to a host that asks for a password: it is not the one that the credentials are for."""
    async with (
        ScriptedRegistry() as server,
        ScriptedRegistry(users=Users({"dev": "right"}, bearer=False)) as other,
        client() as registry,
    ):
        server.status(f"/v2/{APP}/manifests/1.0", 307, Location=f"{other.url}/v2/{APP}/manifests/1.0")
        access = RegistryAccess((Credential(prefix=server.host, username="dev", password="right"),))
        with pytest.raises(AccessDenied):
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
        assert [seen.headers.get("Authorization") for seen in other.requests] == [None]


@pytest.mark.parametrize(
    "location",
    ["http://registry.example/x", "ftp://registry.example/x", "https://user:pw@registry.example/x", "https://"],
)
async def test_a_redirect_that_gives_up_tls_or_carries_credentials_is_refused(location: str) -> None:
    async with ScriptedRegistry() as server, client() as registry:
        server.status(f"/v2/{APP}/manifests/1.0", 307, Location=location)
        with pytest.raises(Unacceptable) as raised:
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert raised.value.code == "RedirectRefused"
        assert "registry.example" not in raised.value.message


async def test_a_token_realm_that_redirects_gets_no_second_request() -> None:
    async with ScriptedRegistry(users=Users({"dev": "right"})) as server, ScriptedRegistry() as other:
        server.status("/token", 307, Location=f"{other.url}/token")
        access = RegistryAccess((Credential(prefix=server.host, username="dev", password="right"),))
        async with client() as registry:
            with pytest.raises(Unacceptable, match="RedirectRefused"):
                await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=access, deadline=soon())
        assert other.requests == []


async def test_pages_do_not_lead_to_another_place() -> None:
    async with ScriptedRegistry() as server, ScriptedRegistry() as other, client() as registry:
        digest = server.put_image(APP, "1.0")
        image = await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        for link in (f"{other.url}/v2/{APP}/referrers/{digest}?n=2", "/v2/other/secret/referrers/x", "//", ""):

            async def page(_: web.BaseRequest, link: str = link) -> web.Response:
                index = b'{"schemaVersion": 2, "manifests": []}'
                headers = {"Content-Type": "application/vnd.oci.image.index.v1+json", "Link": f'<{link}x>; rel="next"'}
                return web.Response(body=index, headers=headers)

            server.answer(f"/v2/{APP}/referrers/{digest}", page)
            evidence = await registry.discover(image, access=ANONYMOUS, deadline=soon())
            assert [problem.code for problem in evidence.problems] == ["PaginationRefused"]
        assert other.requests == []


# Proxies


async def test_a_proxy_is_used_and_only_it_gets_its_password(tmp_path: Path, names: dict[str, list[str]]) -> None:
    names["registry.example"] = ["203.0.113.1"]
    authority = Authority(tmp_path)
    tls = authority.server_context("registry.example")
    async with ScriptedRegistry(tls=tls, users=Users({"dev": "right"}, bearer=False)) as server:
        server.put_image(APP, "1.0")
        access = RegistryAccess((Credential(prefix="registry.example", username="dev", password="right"),))
        async with (
            ScriptedProxy(server.host) as proxy,
            client(
                environment={"HTTPS_PROXY": proxy.url}, registry_ca_files=(f"registry.example={authority.file}",)
            ) as registry,
        ):
            await registry.resolve(ref(f"registry.example/{APP}:1.0"), access=access, deadline=soon())
        assert proxy.heads[0].startswith("CONNECT registry.example:443 ")
        assert "Proxy-Authorization: Basic cHJveHl1c2VyOnByb3h5cGFzcw==" in proxy.heads[0]
        assert "\r\nAuthorization" not in "".join(proxy.heads)
        assert not any("Proxy-Authorization" in seen.headers for seen in server.requests)


async def test_a_proxy_at_a_forbidden_address_is_refused(connected: list[str]) -> None:
    for proxy in (f"http://{METADATA}:3128", "http://0.0.0.0:3128"):
        async with client(environment={"HTTPS_PROXY": proxy}) as registry:
            with pytest.raises(Unacceptable, match="AddressForbidden"):
                await registry.resolve(ref(f"203.0.113.1/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
    assert connected == []


async def test_a_proxy_is_not_asked_for_forbidden_addresses(names: dict[str, list[str]]) -> None:
    names["registry.example"] = [METADATA]
    async with ScriptedRegistry() as server, ScriptedProxy(server.host) as proxy:
        async with client(environment={"HTTPS_PROXY": proxy.url}) as registry:
            for host in (METADATA, "registry.example", "[fe80::1]:443"):
                with pytest.raises(Unacceptable, match="AddressForbidden"):
                    await registry.resolve(ref(f"{host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert proxy.heads == []


async def test_no_proxy_is_obeyed() -> None:
    async with ScriptedRegistry() as server, ScriptedProxy(server.host) as proxy:
        server.put_image(APP, "1.0")
        environment = {"HTTP_PROXY": proxy.url, "HTTPS_PROXY": proxy.url, "NO_PROXY": "127.0.0.0/8"}
        async with client(environment=environment) as registry:
            await registry.resolve(ref(f"{server.host}/{APP}:1.0"), access=ANONYMOUS, deadline=soon())
        assert proxy.heads == []
