"""Starts servers on loopback, waits until they answer, and stops them, each by its own process id."""

from __future__ import annotations

import contextlib
import http.client
import random
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

READY_TIMEOUT = 120  # seconds for a server to answer; idle it takes three, on a busy machine much more
STOP_TIMEOUT = 15  # seconds between asking a server to end and killing it
POLL_INTERVAL = 0.05  # seconds between two looks
LOG_TAIL = 40  # lines of a failed server's log that are shown

# Below the ports that the kernel gives to outgoing connections: one of those could take a port found free here.
FIRST_PORT, LAST_PORT = 20000, 32000


class ServerError(Exception):
    """A server ended early or never answered; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A running program and the file that all its output goes to."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The process id, for tests that stop, freeze or kill it."""
        return self.process.pid

    def log_tail(self) -> str:
        """The last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:])

    def stop(self, *, timeout: float = STOP_TIMEOUT) -> None:
        """Ask the program to end, and kill it after `timeout` seconds. Does nothing when it has ended."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End the program as a crash would: SIGKILL, nothing is flushed or said goodbye to."""
        self.process.kill()
        self.process.wait()


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on."""
    for port in random.sample(range(FIRST_PORT, LAST_PORT), 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise ServerError(f"no free port found between {FIRST_PORT} and {LAST_PORT}")


def start(
    command: Sequence[str | Path],
    *,
    name: str,
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float = READY_TIMEOUT,
) -> Server:
    """Start a server and return when `ready()` first says true. The caller stops it.

    Raises:
        ServerError: it ended first, or was not ready after `timeout` seconds (then it is stopped).
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command],
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(name=name, process=process, log=log)
    try:
        wait_until(ready, what=f"{name} answers", timeout=timeout, server=server)
    except BaseException:
        server.stop()
        raise
    return server


@contextlib.contextmanager
def running(
    command: Sequence[str | Path],
    *,
    name: str,
    log: Path,
    ready: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float = READY_TIMEOUT,
    stop_timeout: float = STOP_TIMEOUT,
) -> Iterator[Server]:
    """`start` a server for the length of a `with` block; at its end it is given `stop_timeout` seconds."""
    server = start(command, name=name, log=log, ready=ready, environment=environment, folder=folder, timeout=timeout)
    try:
        yield server
    finally:
        server.stop(timeout=stop_timeout)


def wait_until(
    condition: Callable[[], bool], *, what: str, timeout: float = READY_TIMEOUT, server: Server | None = None
) -> None:
    """Return as soon as `condition()` is true.

    Raises:
        ServerError: it was not after `timeout` seconds, or `server` ended meanwhile.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if server is not None and (status := server.process.poll()) is not None:
            raise ServerError(f"{server.name} ended with status {status}:\n{server.log_tail()}")
        if time.monotonic() > deadline:
            tail = f":\n{server.log_tail()}" if server is not None else ""
            raise ServerError(f"waited {timeout:.0f} s until {what}, in vain{tail}")
        time.sleep(POLL_INTERVAL)


def answers(url: str, *, context: ssl.SSLContext | None = None, status: int = 200) -> Callable[[], bool]:
    """A readiness check: whether a GET of `url` is answered with `status`."""
    # Without a handler for proxies: what listens on loopback is never behind one.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )  # fmt: skip

    def check() -> bool:
        try:
            with opener.open(url, timeout=5) as response:
                return bool(response.status == status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code == status
        except (OSError, http.client.HTTPException):
            return False

    return check
