"""A forward proxy on loopback that writes down what it is asked, and connects wherever the test says."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self


class ScriptedProxy:
    """Speaks CONNECT and absolute-form requests, and leads every connection to `target` (`127.0.0.1:<port>`)."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.heads: list[str] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://proxyuser:proxypass@127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            host, _, port = self._target.rpartition(":")
            away_reader, away_writer = await asyncio.open_connection(host, int(port))
            if head.startswith(b"CONNECT "):
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                away_writer.write(head)
            await asyncio.gather(_pipe(reader, away_writer), _pipe(away_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()
        await writer.wait_closed()
