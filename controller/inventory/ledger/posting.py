"""One POST to one address that was judged: what the ledger needs to speak to a witness, and no more.

No redirects, no proxies, no retries. The address itself is judged as the socket is made (guarantee 11).
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from controller import __version__

CheckAddress = Callable[[str, int], None]
"""(address, port): raises `OSError` where it may not be reached."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, the media type, and the first bytes of the body."""

    status: int
    media_type: str
    body: bytes


def post(url: str, body: bytes, *, check: CheckAddress, timeout: float, limit: int) -> Answer:
    """POST, and read at most `limit` bytes of the answer, within about `timeout` seconds.

    Raises `OSError` (unreachable, or forbidden), `ValueError` for an answer that is too long or no HTTP.
    """
    parts = urlsplit(url)
    end = time.monotonic() + timeout
    connection = _Connection(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80), timeout)
    try:
        connection.sock = _connected(connection.host, connection.port, end, check)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            connection.sock = context.wrap_socket(connection.sock, server_hostname=connection.host)
        headers = {"User-Agent": f"assay/{__version__}", "Content-Type": "text/plain; charset=utf-8"}
        connection.request("POST", parts.path, body, headers)
        response = connection.getresponse()
        content = b""
        while len(content) <= limit and (chunk := response.read1(limit + 1 - len(content))):
            content += chunk
            if connection.sock is not None:
                connection.sock.settimeout(_left(end))
    except http.client.HTTPException as exc:
        raise ValueError(f"the answer is no HTTP ({type(exc).__name__})") from exc
    finally:
        connection.close()
    if len(content) > limit:
        raise ValueError(f"the answer has more than {limit} bytes")
    return Answer(response.status, response.headers.get_content_type(), content)


class _Connection(http.client.HTTPConnection):
    """Its socket is made elsewhere, to a judged address: one that is lost is not made again."""

    def __init__(self, host: str, port: int, timeout: float) -> None:
        super().__init__(host, port, timeout=timeout)
        self.auto_open = 0


def _connected(host: str, port: int, end: float, check: CheckAddress) -> socket.socket:
    """A connection to the first permitted address that answers. Raises `OSError`."""
    last: OSError = OSError("the name has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            check(str(address[0]), port)
            made = socket.socket(family, kind, protocol)
        except OSError as exc:
            last = exc
            continue
        try:
            made.settimeout(_left(end))
            made.connect(address)
            return made
        except OSError as exc:
            made.close()
            last = exc
    raise last


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("it did not answer in time")
    return left
