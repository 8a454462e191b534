"""A TUF repository on loopback over HTTPS: metadata made and signed by python-tuf, answers that a test may change."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, TargetFile, Targets, Timestamp

from controller.model.policy import TufRepository
from tests.contract.registry_servers.certificates import Authority

ROLES = ("root", "timestamp", "snapshot", "targets")
TARGET = "trusted_root.json"


@dataclass
class Repository:
    """What a repository serves, by path. `publish` makes a new version of everything but the root.

    `override` maps a path to (status, headers, body) that is answered instead; `asked` are the paths in order.
    """

    signers: dict[str, CryptoSigner] = field(
        default_factory=lambda: {role: CryptoSigner.generate_ed25519() for role in ROLES}
    )
    version: int = 0
    root_version: int = 1
    files: dict[str, bytes] = field(default_factory=dict)
    override: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    before: Callable[[str], object] = lambda _path: None

    def __post_init__(self) -> None:
        self.pinned = self._root()

    def publish(self, content: bytes, *, expires: datetime | None = None, target: str = TARGET, **wrong: Any) -> None:
        """Publish a document. `wrong`: `signer` (signs targets instead), `served` (is served instead of it)."""
        self.version += 1
        until = expires or datetime.now(UTC).replace(microsecond=0) + timedelta(days=7)
        file = TargetFile.from_data(target, content, ["sha256"])
        targets = Targets(version=self.version, expires=until, targets={target: file})
        signed = self._signed(targets, wrong.get("signer", self.signers["targets"]))
        self.files[f"/{self.version}.targets.json"] = signed
        meta = MetaFile.from_data(self.version, signed, ["sha256"])
        snapshot = self._signed(
            Snapshot(version=self.version, expires=until, meta={"targets.json": meta}), self.signers["snapshot"]
        )
        self.files[f"/{self.version}.snapshot.json"] = snapshot
        stamp = Timestamp(
            version=self.version, expires=until, snapshot_meta=MetaFile.from_data(self.version, snapshot, ["sha256"])
        )
        self.files["/timestamp.json"] = self._signed(stamp, self.signers["timestamp"])
        folder, _, name = target.rpartition("/")
        path = (
            f"/targets/{folder}/{file.hashes['sha256']}.{name}"
            if folder
            else f"/targets/{file.hashes['sha256']}.{name}"
        )
        self.files[path] = wrong.get("served", content)

    def rotate_root(self, *, signer: CryptoSigner | None = None) -> None:
        """Publish a next root with a new timestamp key, signed by the root key (or by another)."""
        self.root_version += 1
        self.signers["timestamp"] = CryptoSigner.generate_ed25519()
        self.files[f"/{self.root_version}.root.json"] = self._root(signer)

    def _root(self, signer: CryptoSigner | None = None) -> bytes:
        root = Root(
            version=self.root_version,
            expires=datetime.now(UTC).replace(microsecond=0) + timedelta(days=365),
            consistent_snapshot=True,
        )
        for role, held in self.signers.items():
            root.add_key(held.public_key, role)
        return self._signed(root, signer or self.signers["root"])

    @staticmethod
    def _signed(role: Any, signer: CryptoSigner) -> bytes:
        metadata: Metadata[Any] = Metadata(role)
        metadata.sign(signer)
        return metadata.to_bytes()


@dataclass(frozen=True)
class Served:
    """Where a repository is served; `ca_file` holds the certificate authority of its server."""

    url: str
    ca_file: Path
    repository: Repository
    authority: Authority

    def described(self, **more: Any) -> TufRepository:
        """The repository as a TrustRoot would name it."""
        return TufRepository(self.url, self.repository.pinned.decode(), **more)

    def spec(self, **more: Any) -> dict[str, Any]:
        """The `tuf` of a TrustRoot."""
        return {"url": self.url, "root": json.dumps(json.loads(self.repository.pinned)), **more}


@contextmanager
def serving(repository: Repository, folder: Path) -> Iterator[Served]:
    """Serve the repository on a free port of loopback until the block ends."""
    authority = Authority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repository.asked.append(self.path)
            repository.before(self.path)
            found = repository.files.get(self.path)
            status, headers, body = repository.override.get(
                self.path, (404, {}, b"not here") if found is None else (200, {}, found)
            )
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):  # a client that heard enough
                self.wfile.write(body)

        def log_message(self, *_args: Any) -> None:
            """Say nothing: tests ask `asked`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = authority.server_context("127.0.0.1").wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield Served(f"https://127.0.0.1:{server.server_port}", authority.file, repository, authority)
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def dripping(served: Served, part: str) -> Iterator[str]:
    """A server in the same name that sends a byte at a time without end: in TLS, in its headers or in a body."""
    context, done = served.authority.server_context("127.0.0.1"), threading.Event()

    def drip(connection: socket.socket) -> None:
        sent, byte = connection, b"x"
        try:
            if part == "handshake":
                # A record of a handshake message that is as long as a record may be, and never whole.
                byte = b"\x00"
                sent.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc")
            else:
                sent = context.wrap_socket(connection, server_side=True)
                sent.sendall(b"HTTP/1.1 200 OK\r\nx: " + (b"" if part == "headers" else b"y\r\n\r\n"))
            while not done.wait(0.05):
                sent.sendall(byte)
        except OSError:  # a client that heard enough
            pass
        finally:
            sent.close()
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def accept() -> None:
            with contextlib.suppress(OSError):
                while not done.is_set():
                    drip(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"https://127.0.0.1:{port}"
        finally:
            done.set()
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()  # ends `accept`
            thread.join()
