"""A serving process ends when it is told to, whatever its database does."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.errors import RecordingFailed, Unavailable
from controller.model.deadline import Deadline
from tests.support import postgres
from tests.support.inventory import leaf, postgres_database, soon

PROGRAM = """
import sys
from tests.security.test_hanging_database import record_until_told
record_until_told(sys.argv[1], sys.argv[2])
"""


def record_until_told(url: str, folder: str) -> None:
    """A process that records, keeps the ledger and reads, as a serving one does, and closes all of it on a word."""
    from datetime import UTC, datetime

    from controller.inventory.keeping import LedgerKeeper, open_signer
    from controller.inventory.store import Store
    from controller.settings import InventorySettings

    settings = InventorySettings(database_url=url, spool_directory=f"{folder}/spool")
    store = Store.open(settings)
    keeper = LedgerKeeper(
        store.sequencer(settings, signer=open_signer("x", key_file="", directory=Path(folder))),
        store.ledger,
        directory=Path(folder),
        interval=0.1,
        clock=lambda: datetime.now(UTC),
    )

    async def work() -> None:
        await store.writer.record(leaf(0), blobs={}, deadline=soon())
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # the database hangs now
        try:
            await store.writer.record(leaf(1), blobs={}, deadline=Deadline.after(1))
        except RecordingFailed as exc:
            print(exc.code, flush=True)

        print(await asyncio.to_thread(read), flush=True)

    def read() -> str:
        try:
            store.queries.decisions()
        except Unavailable as exc:
            return exc.code
        return "read"

    asyncio.run(work())
    keeper.close()
    store.close()
    print("closed", flush=True)


class Hole:
    """A way to a server on which, from one moment on, nothing comes through any more."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def swallow(self) -> None:
        self._open.clear()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            for one, other in ((client, server), (server, client)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while content := one.recv(65536):
                if not self._open.is_set():
                    time.sleep(3600)
                other.sendall(content)
        except OSError:
            pass
        other.close()


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Postgres]:
    with postgres.running() as running:
        yield running


def test_a_process_ends_within_seconds_though_its_database_hangs(server: postgres.Postgres, tmp_path: Path) -> None:
    url = postgres_database(server).settings.url()
    folder = url.partition("host=")[2]
    hole = Hole(f"{folder}/.s.PGSQL.5432")
    name = url.partition("@/")[2].partition("?")[0]
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        f"postgresql+psycopg://postgres@127.0.0.1:{hole.port}/{name}",
        str(tmp_path),
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            hole.swallow()
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "RecordingTimeout\n"
            assert process.stdout.readline() == "DatabaseUnavailable\n"
            assert process.wait(60) == 0
            assert process.stdout.read() == "closed\n"
        finally:
            process.send_signal(signal.SIGKILL)
