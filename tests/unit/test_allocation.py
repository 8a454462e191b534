"""Memory that was freed in large pieces is given back, in the serving process and in its workers."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from controller.cli import serve
from controller.model.deadline import Deadline
from controller.settings import DocumentSettings, PolicySettings, WorkerSettings
from controller.workers import WorkerPool
from controller.workers.allocation import economise
from tests.support.fragmenting import LARGE, PIECES, kept

LITTLE = 8 * LARGE  # with the small pieces that stay, and what the interpreter takes for itself
SOON = 60.0  # seconds; a bound on a stuck test, never what is tested


def held(*arguments: str, **environment: str) -> int:
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.fragmenting", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=SOON,
    )
    return int(run.stdout)


def test_what_was_freed_in_large_pieces_is_given_back() -> None:
    assert held() > PIECES * LARGE / 2, "the C library gives it back by itself: no need for rules"
    assert held("economise") < LITTLE


async def test_a_worker_gives_back_what_was_freed_in_large_pieces() -> None:
    async with WorkerPool(WorkerSettings(worker_processes=1), DocumentSettings(), PolicySettings()) as pool:
        assert await pool.run(kept, lambda: b"", Deadline.after(SOON)) < LITTLE


def test_the_serving_process_sets_the_rules_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def set_and_stop() -> None:
        raise SystemExit(75)

    monkeypatch.setattr(serve, "economise", set_and_stop)
    assert CliRunner().invoke(serve.serve, ["--webhook"]).exit_code == 75


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"])
def test_rules_of_who_runs_the_program_stand(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert not economise()
