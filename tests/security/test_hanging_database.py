"""A serving process ends when it is told to, whatever its database does."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import DBAPIError, OperationalError

from controller.errors import ConfigurationError, RecordingFailed, Unavailable
from controller.inventory import tables
from controller.inventory.database import engines
from controller.inventory.ledger.notes import NoteSigner
from controller.inventory.store import Store, is_away
from controller.inventory.tables import REVISION
from controller.model.deadline import Deadline
from controller.settings import InventorySettings
from tests.support import postgres
from tests.support.assay import serving
from tests.support.inventory import leaf, postgres_database, soon
from tests.support.mistakes import policy
from tests.support.processes import wait_until

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys
from tests.security.test_hanging_database import record_until_told
record_until_told(sys.argv[1], sys.argv[2])
"""


def record_until_told(url: str, folder: str) -> None:
    """A process that records, keeps the ledger and reads, as a serving one does, and closes all of it on a word."""
    from datetime import UTC, datetime

    from controller.inventory.ledger.keeping import LedgerKeeper, open_signer
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


@pytest.mark.guarantee(13)
async def test_guarantee_13_a_writer_that_sleeps_in_its_transaction_keeps_nobody_waiting_for_long(
    server: postgres.Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen with a lock in its hand: PostgreSQL ends its transaction, and the others go on."""
    monkeypatch.setattr(engines, "WRITE_TIMEOUT", 2.0)
    database = postgres_database(server)
    frozen = engines.writing_engine(engines.parse(database.settings.url()))
    state = tables.ledger_state
    with database.open() as store:
        holding = frozen.connect()
        holding.execute(update(state).values(term=state.c.term))
        signer = NoteSigner.of_seed("assay.example/ledger", bytes(range(32)))
        sequencer = store.sequencer(database.settings, signer=signer)
        end = time.monotonic() + 60
        while True:  # each attempt waits for the lock, no longer than a statement may take
            try:
                sequencer.take_over()
                break
            except OperationalError:
                assert time.monotonic() < end
        await store.writer.record(leaf(0), blobs={}, deadline=soon())
        assert sequencer.sequence().size == 1
        with pytest.raises(DBAPIError):  # it wakes, and what it held is gone
            holding.execute(select(state.c.term))
        holding.close()
    frozen.dispose()


def test_a_database_that_is_away_at_the_start_is_waited_for(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(json.dumps(policy("none")))
    with postgres.running() as own:
        url = own.new_database()
        own.stop()
        log = tmp_path / "assay" / "assay.log"

        def come_back() -> None:
            wait_until(lambda: log.exists() and "waiting for the database" in log.read_text(), what="it waits")
            own.start()

        back = threading.Thread(target=come_back)
        back.start()
        with serving(tmp_path / "assay", policies=str(policies), database_url=url, durability="Database") as assay:
            assert assay.get("/readyz")[0] == 200
        back.join()
    assert log.read_text().count("waiting for the database") >= 1


def test_a_webhook_waits_until_somebody_has_migrated_the_database(server: postgres.Postgres, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    (policies / "policy.yaml").write_text(json.dumps(policy("none")))
    url = server.new_database()
    log = tmp_path / "assay" / "assay.log"

    def somebody() -> None:
        wait_until(lambda: log.exists() and "DatabaseNotMigrated" in log.read_text(), what="it waits")
        command = [sys.executable, "-m", "controller", "inventory", "migrate", "--database-url", url]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
        assert done.stdout == f"the database has the tables of this version (revision {REVISION})\n"

    migrating = threading.Thread(target=somebody)
    migrating.start()
    settings = {"policies": str(policies), "database_url": url, "durability": "Database"}
    with serving(tmp_path / "assay", "--webhook", **settings) as assay:
        assert assay.get("/readyz")[0] == 200
    migrating.join()


def test_a_database_that_refuses_who_asks_is_not_waited_for(server: postgres.Postgres) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Store.open(InventorySettings(database_url=server.url("nowhere"), durability="Database"))
    assert not is_away(caught.value)
