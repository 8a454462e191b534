"""Filippo Valsorda's litewitness on loopback: somebody else's program for https://c2sp.org/tlog-witness."""

from __future__ import annotations

import base64
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from controller.inventory.ledger.merkle import EMPTY_ROOT
from controller.inventory.ledger.notes import NoteKey
from tests.support.processes import Server, answers, free_port, running
from tests.support.tools import tool


@dataclass(frozen=True)
class Litewitness:
    """A running one."""

    url: str
    database: Path
    server: Server

    @property
    def key(self) -> str:
        """The verifier key by which its cosignatures are known, as it says itself."""
        said = self.server.log.read_text()
        return said.partition("vkey=")[2].split()[0].strip('"')

    @property
    def setting(self) -> str:
        """How `ledger_witnesses` names it."""
        return f"{self.url}={self.key}"

    def knows(self, log: NoteKey) -> None:
        """Tell it of a ledger, as its operator would: what `witnessctl add-log` and `add-key` write."""
        with self._opened() as connection:
            root = base64.b64encode(EMPTY_ROOT).decode()
            connection.execute("INSERT INTO log (origin, tree_size, tree_hash) VALUES (?, 0, ?)", (log.name, root))
            connection.execute("INSERT INTO key (origin, key) VALUES (?, ?)", (log.name, str(log)))

    def seen(self) -> tuple[int, str]:
        """The one ledger that it knows: size and root (base64) of what it has cosigned last."""
        with self._opened() as connection:
            ((size, root),) = connection.execute("SELECT tree_size, tree_hash FROM log")
            return size, root

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            yield connection


@contextmanager
def litewitness(name: str, seed: bytes) -> Iterator[Litewitness]:
    """Run one that signs with the key of this seed, for the length of the block; it knows no ledger."""
    with tempfile.TemporaryDirectory(prefix="assay-") as text:  # short: a socket's path has 108 bytes
        folder = Path(text)
        socket, database, port = folder / "agent", folder / "witness.db", free_port()
        agent = [tool("witness-agent"), "-socket", socket, "-seed", seed.hex()]
        with running(agent, name="witness-agent", log=folder / "agent.log", ready=socket.is_socket):
            fingerprint = (folder / "agent.log").read_text().strip()
            command = [tool("litewitness"), "-db", database, "-name", name, "-key", fingerprint, "-ssh-agent", socket]
            command += ["-listen", f"127.0.0.1:{port}"]
            log = folder / "witness.log"
            url = f"http://127.0.0.1:{port}"
            with running(command, name="litewitness", log=log, ready=answers(f"{url}/")) as server:
                yield Litewitness(url, database, server)
