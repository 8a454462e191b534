"""uvicorn as a part of Assay: started and stopped by the composition root, with TLS that can be renewed in place.

The composition root serves the inventory with it too, without TLS, on loopback.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from controller.errors import ConfigurationError

STOP_GRACE = 10  # seconds in which reviews under way may end
# Seconds that a connection may be idle: longer than the API server keeps one (90), so that it is the one that closes,
# and no review is sent into a connection that is just being closed.
KEEP_ALIVE = 120
MAX_HEAD_BYTES = 64 * 1024  # bounds a request's line, headers and trailers; the API server's take a hundredth of it
MAX_FRAMING = 8  # bytes of chunked framing for one byte of body; a body in chunks of one byte takes five
CLIENT = "assay_client"  # in a request's `state`: the names of its TLS client; None for one that was not verified
HEAD_SECONDS = 10.0  # bounds the time in which they come: whoever reaches the port could else hold connections for ever


class _Bounded(HttpToolsProtocol):
    """One connection. uvicorn takes heads of any length, in any time, and keeps all that came in memory."""

    _beside = 0  # bytes received for this request beside its body and what that may take
    _late: asyncio.TimerHandle | None = None
    _client: frozenset[str] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in the base class
        super().connection_made(transport)
        self._client = _names(transport.get_extra_info("peercert"))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CLIENT] = self._client
        self._await_head()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._beside -= len(body) * (1 + MAX_FRAMING)
        super().on_body(body)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._beside += len(data)
        if self._beside > MAX_HEAD_BYTES:
            self.transport.abort()

    def _await_head(self) -> None:
        self._head_came()
        self._beside = 0
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_came(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


class _Embedded(uvicorn.Server):
    """Signals belong to the composition root, not to one of its servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Server:
    """One listening server on the running event loop: HTTPS when it is given a certificate.

    With a `client_ca` (PEM) a client may show a certificate, which must be by one of these CAs; whether it must show
    one is the application's matter, by `CLIENT`, since probes have none.
    """

    def __init__(
        self,
        app: FastAPI,
        *,
        host: str,
        port: int,
        certificate: Path | None = None,
        key: Path | None = None,
        client_ca: Path | None = None,
    ) -> None:
        self._certificate, self._key, self._client_ca = certificate, key, client_ca
        if client_ca is not None:
            _trust(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), client_ca)
        self._listener = _listen(host, port)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            ssl_certfile=certificate,
            ssl_keyfile=key,
            ssl_ca_certs=None if client_ca is None else str(client_ca),
            ssl_cert_reqs=ssl.CERT_NONE if client_ca is None else ssl.CERT_OPTIONAL,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=STOP_GRACE,
            http=_Bounded,
        )
        self._server = _Embedded(config)
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        port: int = self._listener.getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen. Returns when connections are accepted.

        Raises `ConfigurationError` (`CertificateUnreadable`, `ServerNotStarted`).
        """
        self._task = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        while not self._server.started:
            if self._task.done():
                self._translate(self._task.exception())
                raise ConfigurationError("ServerNotStarted", "the server stopped while it was being started")
            await asyncio.sleep(0.01)

    async def serve(self) -> None:
        """Wait until the server stops."""
        if self._task is not None:
            await asyncio.shield(self._task)

    def renew(self) -> None:
        """Use the certificate files as they are now, for connections made from now on.

        A client CA that was added is trusted from now on, too; one that was taken away, until the process ends.
        Raises `ConfigurationError` (`CertificateUnreadable`, `ClientCAUnreadable`); what is in use stays in use then.
        """
        context = self._server.config.ssl
        if context is not None and self._client_ca is not None:
            _trust(context, self._client_ca)
        if context is not None and self._certificate is not None:
            try:
                ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(self._certificate, self._key)
                context.load_cert_chain(self._certificate, self._key)
            except OSError as exc:
                self._translate(exc)

    async def stop(self) -> None:
        """Take no more connections, let reviews under way end, and return."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    def _translate(self, error: BaseException | None) -> None:
        if isinstance(error, OSError):
            files = f"{self._certificate} and {self._key}"
            message = f"{files} are no certificate and its key: {error.strerror or type(error).__name__}"
            raise ConfigurationError("CertificateUnreadable", message) from error
        if error is not None:
            raise error


def _trust(context: ssl.SSLContext, client_ca: Path) -> None:
    try:
        context.load_verify_locations(client_ca)
    except OSError as exc:
        message = f"{client_ca} has no certificates of CAs: {exc.strerror or type(exc).__name__}"
        raise ConfigurationError("ClientCAUnreadable", message) from exc


def _names(certificate: Mapping[str, Any] | None) -> frozenset[str] | None:
    """The common name and the alternative names of a client's certificate; the TLS library gives only verified ones."""
    if not certificate:
        return None
    subject = {value for part in certificate.get("subject", ()) for name, value in part if name == "commonName"}
    return frozenset(subject | {value for _, value in certificate.get("subjectAltName", ())})


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as exc:
        listener.close()
        why = getattr(exc, "strerror", None) or str(exc)
        raise ConfigurationError("AddressUnavailable", f"cannot listen on {host}:{port}: {why}") from exc
    return listener
