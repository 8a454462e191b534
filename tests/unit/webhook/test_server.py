"""The HTTPS server: real sockets, real TLS, renewed in place, stopped in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from controller import certificates
from controller.errors import ConfigurationError
from controller.settings import WebhookSettings
from controller.webhook.app import create_app
from controller.webhook.server import Server
from tests.support.clients import client
from tests.support.review import World, digest, pod, review

NAMES = ("localhost", "127.0.0.1")
APP = f"ghcr.io/acme/app@{digest('ghcr.io/acme/app')}"
API_SERVER_KEEPS_IDLE = 90  # seconds; IdleConnTimeout of k8s.io/apimachinery's default transport


def make(folder: Path) -> tuple[Path, Path, bytes]:
    """Certificate, key and CA."""
    made = certificates.in_directory(folder, names=NAMES)
    return folder / certificates.SERVING_CERTIFICATE, folder / certificates.SERVING_KEY, made.ca_bundle()


@asynccontextmanager
async def serving(
    folder: Path, world: World, *, client_ca: Path | None = None, client_names: tuple[str, ...] = ()
) -> AsyncIterator[tuple[Server, bytes]]:
    certificate, key, bundle = make(folder)
    pipeline = world.pipeline()
    settings = WebhookSettings(
        webhook_max_body_bytes=100_000,
        webhook_client_ca_file=str(client_ca or ""),
        webhook_client_names=client_names,
    )
    app = create_app(settings, pipeline=pipeline, readiness=world)
    server = Server(app, host="127.0.0.1", port=0, certificate=certificate, key=key, client_ca=client_ca)
    await server.start()
    try:
        yield server, bundle
    finally:
        await server.stop()
        await pipeline.close()


def trusting(bundle: bytes) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=bundle.decode())


async def exchange(
    server: Server, bundle: bytes, request: bytes, *, client: tuple[Path, Path] | None = None
) -> tuple[int, bytes]:
    """Send bytes, read one answer. `client` is the certificate and key that the client has."""
    context = trusting(bundle)
    if client is not None:
        context.load_cert_chain(*client)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context, server_hostname="localhost")
    try:
        writer.write(request)
        await writer.drain()
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        return int(head.split()[1]), await reader.readexactly(length)
    finally:
        writer.close()
        await writer.wait_closed()


def posted(body: bytes, *headers: str) -> bytes:
    lines = ["POST /validate?timeout=10s HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    if not any(header.lower().startswith("transfer-encoding") for header in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_a_review_through_tls_is_answered(tmp_path: Path) -> None:
    world = World()
    async with serving(tmp_path, world) as (server, bundle):
        status, body = await exchange(server, bundle, posted(json.dumps(review(pod(APP))).encode()))
    assert (status, json.loads(body)["response"]["allowed"]) == (200, True)
    assert len(world.records) == 1


async def test_a_chunked_body_is_read_and_bounded(tmp_path: Path) -> None:
    def chunked(body: bytes) -> bytes:
        return posted(f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n", "Transfer-Encoding: chunked")

    async with serving(tmp_path, World()) as (server, bundle):
        status, body = await exchange(server, bundle, chunked(json.dumps(review(pod(APP))).encode()))
        assert json.loads(body)["response"]["allowed"] is True
        status, body = await exchange(server, bundle, chunked(b" " * 200_000))
    assert (status, body.split(b":")[0]) == (413, b"BodyTooLarge")


@pytest.mark.parametrize(
    "rubbish", [b"GARBAGE\r\n\r\n", b"\x16\x03\x01\x00\x00\r\n\r\n", b"POST /validate HTTP/9.9\r\n\r\n"]
)
async def test_what_is_no_http_is_400(rubbish: bytes, tmp_path: Path) -> None:
    async with serving(tmp_path, World()) as (server, bundle):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=trusting(bundle), server_hostname="localhost"
        )
        writer.write(rubbish)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 4")
    assert b'"allowed": true' not in answer


async def test_plain_http_gets_no_answer(tmp_path: Path) -> None:
    async with serving(tmp_path, World()) as (server, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(posted(json.dumps(review(pod(APP))).encode()))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()


async def test_a_certificate_renewed_in_place_serves_the_connections_that_follow(tmp_path: Path) -> None:
    folder, other = tmp_path / "a", tmp_path / "b"
    async with serving(folder, World()) as (server, before):
        _, _, after = make(other)
        for file in other.iterdir():
            shutil.copy(file, folder / file.name)
        body = posted(json.dumps(review(pod(APP))).encode())
        assert (await exchange(server, before, body))[0] == 200
        server.renew()
        assert (await exchange(server, after, body))[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            await exchange(server, before, body)


async def test_a_renewal_that_cannot_be_read_leaves_the_certificate_in_use(tmp_path: Path) -> None:
    """A new certificate beside a key that is not its own must not be half taken over."""
    folder, other = tmp_path / "a", tmp_path / "b"
    make(other)
    async with serving(folder, World()) as (server, bundle):
        shutil.copy(other / certificates.SERVING_CERTIFICATE, folder / certificates.SERVING_CERTIFICATE)
        with pytest.raises(ConfigurationError, match="CertificateUnreadable"):
            server.renew()
        assert (await exchange(server, bundle, posted(json.dumps(review(pod(APP))).encode())))[0] == 200


@pytest.mark.guarantee(13)
async def test_stopping_lets_a_review_under_way_be_answered_and_takes_no_more(tmp_path: Path) -> None:
    world, gate, reached = World(), asyncio.Event(), asyncio.Event()

    async def slow() -> None:
        reached.set()
        await gate.wait()

    world.fail["record"] = slow
    async with serving(tmp_path, world) as (server, bundle):
        port, body = server.port, posted(json.dumps(review(pod(APP))).encode(), "Connection: close")
        asked = asyncio.create_task(exchange(server, bundle, body))
        await reached.wait()
        stopping = asyncio.create_task(server.stop())
        await asyncio.sleep(0)
        gate.set()
        status, answer = await asked
        await stopping
        assert (status, json.loads(answer)["response"]["allowed"]) == (200, True)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)


def server_with(certificate: Path, key: Path, *, host: str = "127.0.0.1", port: int = 0) -> Server:
    world = World()
    app = create_app(WebhookSettings(), pipeline=world.pipeline(), readiness=world)
    return Server(app, host=host, port=port, certificate=certificate, key=key)


@pytest.mark.parametrize("content", [None, b"", b"not a certificate"])
async def test_a_certificate_that_cannot_be_read_stops_the_start(content: bytes | None, tmp_path: Path) -> None:
    certificate, key, _ = make(tmp_path)
    if content is None:
        certificate.unlink()
    else:
        certificate.write_bytes(content)
    server = server_with(certificate, key)
    with pytest.raises(ConfigurationError, match="CertificateUnreadable"):
        await server.start()
    server._listener.close()


async def test_an_address_that_cannot_be_listened_on_is_an_error_that_names_it(tmp_path: Path) -> None:
    certificate, key, _ = make(tmp_path)
    async with serving(tmp_path, World()) as (server, _):
        cases: list[dict[str, Any]] = [
            {"port": server.port},
            {"port": 70_000},
            {"host": "192.0.2.1"},
            {"host": "no such host"},
        ]
        for case in cases:
            with pytest.raises(ConfigurationError, match="AddressUnavailable"):
                server_with(certificate, key, **case)


async def test_connections_are_kept_longer_than_the_api_server_keeps_them(tmp_path: Path) -> None:
    """Else a review is now and then sent into a connection that the server is just closing, and its pod is refused."""
    async with serving(tmp_path, World()) as (server, _):
        assert server._server.config.timeout_keep_alive > API_SERVER_KEEPS_IDLE


@pytest.mark.parametrize(
    "endless",
    [
        [b"POST /validate HTTP/1.1\r\nHost: localhost\r\n", b"X-Filler: " + b"x" * 1000 + b"\r\n"],
        [b"POST /validate HTTP/1.1\r\nHost: localhost\r\nX-Filler: ", b"x" * 1000],
        [b"POST /", b"x" * 1000],
        [
            posted(b"", "Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n",
            b"X-Filler: " + b"x" * 1000 + b"\r\n",
        ],
    ],
    ids=["headers", "one header", "path", "trailers"],
)
async def test_guarantee_10_a_request_that_never_comes_to_its_body_is_ended(
    tmp_path: Path, endless: list[bytes]
) -> None:
    async with serving(tmp_path, World()) as (server, bundle):
        _, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=trusting(bundle), server_hostname="localhost"
        )

        async def send(first: bytes, more: bytes) -> None:
            writer.write(first)
            for _ in range(100_000):  # 100 MB: far past every bound
                writer.write(more)
                await writer.drain()

        with pytest.raises(ConnectionError):
            await send(*endless)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        assert (await exchange(server, bundle, posted(json.dumps(review(pod(APP))).encode())))[0] == 200


@pytest.mark.parametrize("first", [b"", b"POST /validate HTTP/1.1\r\nHost: localhost\r\n"], ids=["nothing", "half"])
async def test_guarantee_10_a_connection_that_asks_nothing_is_ended(
    tmp_path: Path, first: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.webhook.server.HEAD_SECONDS", 0.2)
    async with serving(tmp_path, World()) as (server, bundle):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", server.port, ssl=trusting(bundle), server_hostname="localhost"
        )
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


REVIEW = json.dumps(review(pod(APP))).encode()


@pytest.mark.parametrize("path", ["/validate", "/mutate"])
async def test_with_a_client_ca_only_a_client_that_it_verified_is_reviewed_for(path: str, tmp_path: Path) -> None:
    known = client(tmp_path / "known", common_name="api")
    world = World()
    asked = posted(REVIEW).replace(b"/validate", path.encode())
    async with serving(tmp_path / "server", world, client_ca=tmp_path / "known" / "ca.crt") as (server, bundle):
        status, body = await exchange(server, bundle, asked)
        assert (status, b"ClientUnknown" in body) == (403, True)
        assert (world.calls, world.records) == ([], [])
        assert (await exchange(server, bundle, asked, client=known))[0] == 200
    assert world.calls != []


async def test_a_client_of_another_ca_gets_no_answer(tmp_path: Path) -> None:
    client(tmp_path / "known", common_name="api")
    forged = client(tmp_path / "forged", common_name="api")
    world = World()
    async with serving(tmp_path / "server", world, client_ca=tmp_path / "known" / "ca.crt") as (server, bundle):
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await exchange(server, bundle, posted(REVIEW), client=forged)
    assert world.calls == []


async def test_with_client_names_a_client_needs_one_of_them_as_its_cn_or_san(tmp_path: Path) -> None:
    by_cn = client(tmp_path / "cn", common_name="api")
    by_san = client(tmp_path / "san", dns="api.example", authority=tmp_path / "cn")
    other = client(tmp_path / "other", common_name="kubelet", authority=tmp_path / "cn")
    nameless = client(tmp_path / "nameless", authority=tmp_path / "cn")
    world, ca = World(), tmp_path / "cn" / "ca.crt"
    async with serving(tmp_path / "s", world, client_ca=ca, client_names=("api", "api.example")) as (server, bundle):
        for refused in (other, nameless):
            status, body = await exchange(server, bundle, posted(REVIEW), client=refused)
            assert (status, b"ClientForbidden" in body) == (403, True)
        assert world.calls == []
        for allowed in (by_cn, by_san):
            assert (await exchange(server, bundle, posted(REVIEW), client=allowed))[0] == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_with_a_client_ca_probes_need_no_certificate(path: str, tmp_path: Path) -> None:
    client(tmp_path / "known", common_name="api")
    async with serving(tmp_path / "server", World(), client_ca=tmp_path / "known" / "ca.crt") as (server, bundle):
        asked = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        assert (await exchange(server, bundle, asked))[0] == 200


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_a_client_ca_that_cannot_be_read_stops_the_start(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_bytes(content)
    with pytest.raises(ConfigurationError, match="ClientCAUnreadable"):
        async with serving(tmp_path / "server", World(), client_ca=tmp_path / "ca.crt"):
            pass


async def test_a_client_ca_that_was_added_is_trusted_after_a_renewal(tmp_path: Path) -> None:
    client(tmp_path / "old", common_name="api")
    new = client(tmp_path / "new", common_name="api")
    file = tmp_path / "both.crt"
    shutil.copy(tmp_path / "old" / "ca.crt", file)
    async with serving(tmp_path / "server", World(), client_ca=file) as (server, bundle):
        file.write_bytes(file.read_bytes() + (tmp_path / "new" / "ca.crt").read_bytes())
        server.renew()
        assert (await exchange(server, bundle, posted(REVIEW), client=new))[0] == 200
