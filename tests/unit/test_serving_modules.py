"""What a serving process does not hold in memory, and a command does not wait for: modules of other work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ELSEWHERE = {
    "controller.verification": "it verifies in its workers",
    "sigstore": "16 MiB with all that it needs; only verification knows it",
    "controller.workers.assessment": "it judges in its workers",
    "controller.workers.preload": "it is for the fork server",
    "alembic": "migrations run once",
    "psycopg": "there is no server where the inventory is a file",
    "kopf": "without a cluster there is nothing to watch",
    "kubernetes": "without a cluster there is nothing to ask",
    "requests": "aiohttp is what asks",
}
SERVING = {
    "fastapi": "nothing is served: it takes a third of the time until there is an answer",
    "starlette": "the same",
    "uvicorn": "the same",
    "controller.verification": "nothing is verified",
    "controller.cluster": "the database is asked, not the cluster",
    "controller.workers": "nothing is judged",
    "opentelemetry": "nothing is traced",
    "alembic": "a reader migrates nothing",
}


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The modules of a process that could serve."""
    return _imported_by("controller.cli.serve")


@pytest.fixture(scope="module")
def imported_to_read() -> set[str]:
    """The modules of a command that answers a question."""
    return _imported_by("controller.cli.inventory.running")


def _imported_by(module: str) -> set[str]:
    program = f"import sys, {module}; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ELSEWHERE)
def test_a_serving_process_imports_nothing_that_it_does_not_need(module: str, imported: set[str]) -> None:
    assert "controller.serving" in imported
    assert module not in imported, ELSEWHERE[module]


@pytest.mark.parametrize("module", SERVING)
def test_a_command_that_reads_imports_nothing_that_only_serving_needs(module: str, imported_to_read: set[str]) -> None:
    assert "controller.inventory.store" in imported_to_read
    assert module not in imported_to_read, SERVING[module]


def test_migrations_are_loaded_where_there_is_something_to_migrate(tmp_path: Path) -> None:
    program = (
        "import sys; from controller.inventory.store import Store; from controller.settings import InventorySettings\n"
        "with Store.open(InventorySettings(database_url=sys.argv[1])): print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'inventory.db'}"]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, timeout=120) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == ["True", "False"]
