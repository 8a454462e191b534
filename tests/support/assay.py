"""Runs the real program, `assay serve`, beside a test: as a process of its own, over TLS, on free ports."""

from __future__ import annotations

import contextlib
import json
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import Server, free_port, start
from tests.support.tools import hermetic_environment

ANSWER_TIMEOUT = 60  # seconds for one answer


@dataclass(slots=True)
class Assay:
    """A serving process. `folder` outlives it: another one started there goes on with its inventory."""

    folder: Path
    server: Server
    webhook_port: int
    inventory_port: int
    environment: Mapping[str, str]
    _started: Callable[[], Server]

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """It is stopped for the length of a block, and started again as it was; ready when the block has ended."""
        self.server.stop()
        try:
            yield
        finally:
            self.server = self._started()

    @property
    def url(self) -> str:
        """Where the webhook listens."""
        return f"https://127.0.0.1:{self.webhook_port}"

    @property
    def ca_file(self) -> Path:
        """The CA of its certificate."""
        return self.folder / "certificates" / "ca.crt"

    def post(self, path: str, body: Any, *, content_type: str = "application/json") -> tuple[int, Any]:
        """POST to the webhook; bytes are sent as they are. Returns status and parsed answer (or text)."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=content, headers={"Content-Type": content_type})
        return _answer(request, ssl.create_default_context(cafile=str(self.ca_file)))

    def get(self, path: str) -> tuple[int, Any]:
        """GET from the webhook."""
        return _answer(urllib.request.Request(self.url + path), ssl.create_default_context(cafile=str(self.ca_file)))

    def inventory(self, path: str) -> Any:
        """GET from the inventory; raises LookupError unless it answers 200."""
        status, answer = _answer(urllib.request.Request(f"http://127.0.0.1:{self.inventory_port}{path}"), None)
        if status != 200:
            raise LookupError(f"GET {path}: {status} {answer}")
        return answer

    def decisions(self, **where: str) -> list[dict[str, Any]]:
        """Everything that the inventory has, newest first, whatever the number of pages."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            query = "&".join(f"{name}={value}" for name, value in {**where, "limit": "500"}.items())
            page = self.inventory(f"/api/v1/decisions?{query}{f'&cursor={cursor}' if cursor else ''}")
            found += page["items"]
            cursor = page["cursor"] or ""
            if not cursor:
                return found

    def decision(self, identity: str) -> dict[str, Any]:
        """One decision's leaf."""
        leaf: dict[str, Any] = self.inventory(f"/api/v1/decisions/{identity}")["leaf"]
        return leaf


@contextlib.contextmanager
def serving(folder: Path, *roles: str, webhook_port: int | None = None, **settings: str) -> Iterator[Assay]:
    """Run `assay serve` with settings (by name, as text) on free ports; ready when the block begins.

    `roles` are its flags, `--webhook` among them; none: all of them.
    """
    port, inventory_port = webhook_port or free_port(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    chosen = {
        "webhook_host": "127.0.0.1",
        "webhook_port": str(port),
        "webhook_certificate_directory": str(folder / "certificates"),
        "ledger_directory": str(folder / "ledger"),
        "inventory_port": str(inventory_port),
        "database_url": f"sqlite:///{folder / 'inventory.db'}",
        "registry_allow_loopback": "true",
        "worker_processes": "1",
        "log_format": "json",
        **settings,
    }
    environment = hermetic_environment(
        folder / "home", **{f"ASSAY_{name.upper()}": value for name, value in chosen.items()}
    )
    command = [sys.executable, "-m", "controller", "serve", *roles]
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE  # asked for its readiness alone

    def ready() -> bool:
        try:
            return _answer(urllib.request.Request(f"https://127.0.0.1:{port}/readyz"), unchecked)[0] == 200
        except OSError:
            return False

    def started() -> Server:
        log, checkout = folder / "assay.log", Path(__file__).resolve().parents[2]
        return start(command, name="assay", log=log, ready=ready, environment=environment, folder=checkout)

    assay = Assay(folder, started(), port, inventory_port, environment, started)
    try:
        yield assay
    finally:
        assay.server.stop()


def _answer(request: urllib.request.Request, context: ssl.SSLContext | None) -> tuple[int, Any]:
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if context is not None:
        handlers.append(urllib.request.HTTPSHandler(context=context))
    opener = urllib.request.build_opener(*handlers)
    try:
        with opener.open(request, timeout=ANSWER_TIMEOUT) as response:
            return response.status, _parsed(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _parsed(error.read())


def _parsed(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return content.decode(errors="replace")
