"""Who may use the commands that read the database where it lies (guarantee 20): whom the operating system lets, or
PostgreSQL. A namespace is a filter there, and no right: that is what the REST interface is for."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from controller.cli import run
from controller.inventory.querying import roles
from tests.support import postgres
from tests.support.inventory import DIGEST, Database, leaf, postgres_database, sighting, soon, sqlite_database
from tests.support.memory import folder_in_memory

NAME = "pod-that-nobody-may-see"
COMMANDS = [
    ("decisions",),
    ("decisions", "--namespace", "shop"),
    ("decisions", "--all", "-o", "jsonl"),
    ("running",),
    ("show", DIGEST),
    ("components", "--all", "-o", "csv"),
    ("packages", "pkg:npm/left-pad"),
    ("sboms",),
    ("refused",),
    ("hold", "list"),
]

Asked = Callable[..., tuple[int, str]]


def fill(database: Database) -> None:
    decided = leaf()
    decided["object"]["name"] = decided["request"]["name"] = NAME

    async def record() -> None:
        with database.open() as opened:
            for value in (decided, sighting("Started", name=NAME)):
                await opened.writer.record(value, blobs={}, deadline=soon())

    asyncio.run(record())


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> Asked:
    """Run `assay inventory` on a database; its exit status and all that it said."""
    monkeypatch.chdir(tmp_path)

    def ask(url: str, *arguments: str) -> tuple[int, str]:
        monkeypatch.setenv("ASSAY_DATABASE_URL", url)
        status = run(["inventory", *arguments])
        out, err = capfdbinary.readouterr()
        return status, (out + err).decode()

    return ask


def by_its_owner(ask: Asked) -> None:
    """Every command answers to whoever may read. (What it imports is imported then: not all may do that.)"""
    for command in COMMANDS:
        status, said = ask(*command)
        assert status == 0, (command, said)
    for command in COMMANDS[:3]:
        assert NAME in ask(*command)[1]


@contextmanager
def somebody_else(*files: Path) -> Iterator[None]:
    """Be another user of this machine; whoever may not become another is as good as one who may not read the files."""
    if os.geteuid() == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
        try:
            yield
        finally:
            os.seteuid(0)
        return
    modes = {file: file.stat().st_mode for file in files}
    try:
        for file in files:
            file.chmod(0)
        yield
    finally:
        for file, mode in modes.items():
            file.chmod(mode)


@pytest.mark.guarantee(20)
def test_guarantee_20_another_user_of_the_machine_reads_nothing_by_any_command(asked: Asked) -> None:
    before = os.umask(0)  # whatever the service was started with
    try:
        with folder_in_memory() as folder:
            folder.chmod(0o755)  # the way there is open
            state = folder / "state"
            database = sqlite_database(state / "assay")
            fill(database)
            url = database.settings.database_url
            by_its_owner(lambda *command: asked(url, *command))
            file = state / "assay" / "inventory.db"
            for directory in (file.parent, state):
                directory.chmod(0o755)  # not even the folder hides it
            with somebody_else(file, *file.parent.glob("inventory.db-*")):
                answers = {command: asked(url, *command) for command in COMMANDS}
    finally:
        os.umask(before)
    for command, (status, said) in answers.items():
        assert status == 2, (command, said)
        assert NAME not in said, command
        assert "you may not read it" in said, (command, said)


@pytest.mark.guarantee(20)
def test_guarantee_20_a_role_of_postgresql_that_was_granted_nothing_reads_nothing_by_any_command(
    server: postgres.Postgres, asked: Asked
) -> None:
    database = postgres_database(server)
    fill(database)
    url = make_url(database.settings.database_url)
    reader, querier, outsider = (f"{name}_{url.database}" for name in ("reader", "querier", "outsider"))
    for statement in roles.statements(reader=reader, querier=querier):
        server.execute(statement, database=url.database or "")
    server.execute(f"CREATE ROLE {outsider} LOGIN")
    try:
        by_its_owner(lambda *command: asked(database.settings.database_url, *command))
        for command in COMMANDS[:3]:
            assert NAME in asked(url.set(username=reader).render_as_string(), *command)[1]
        for role in (outsider, querier):
            for command in COMMANDS:
                status, said = asked(url.set(username=role).render_as_string(), *command)
                assert status == 2, (role, command, said)
                assert NAME not in said, (role, command)
                assert "InsufficientPrivilege" in said, (role, command, said)
                assert "this role may not" in said, (role, command, said)
    finally:
        server.drop(database.settings.database_url)
        for role in (reader, querier, outsider):
            server.execute(f"DROP ROLE {role}")
