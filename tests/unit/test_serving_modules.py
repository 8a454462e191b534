"""What a serving process does not hold in memory: modules for what happens elsewhere, or hardly ever."""

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


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The modules of a process that could serve."""
    program = "import sys, controller.cli.serve; print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(run.stdout.split())


@pytest.mark.parametrize("module", ELSEWHERE)
def test_a_serving_process_imports_nothing_that_it_does_not_need(module: str, imported: set[str]) -> None:
    assert "controller.serving" in imported
    assert module not in imported, ELSEWHERE[module]


def test_migrations_are_loaded_where_there_is_something_to_migrate(tmp_path: Path) -> None:
    program = (
        "import sys; from controller.inventory.store import Store; from controller.settings import InventorySettings\n"
        "with Store.open(InventorySettings(database_url=sys.argv[1])): print('alembic' in sys.modules)"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path / 'inventory.db'}"]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True, timeout=120) for _ in range(2)]
    assert [run.stdout.strip() for run in runs] == ["True", "False"]
