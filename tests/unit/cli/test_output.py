"""Where output goes wrong: nobody reads on, or there is no room for it. Neither is the answer of a command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controller.cli import EXIT_ERROR, EXIT_INTERRUPTED, EXIT_UNREAD, EXIT_USAGE, render
from tests.support.inventory import sqlite_database

ROOT = Path(__file__).parents[3]


def told(*words: str, stdout: int, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "controller", *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )


def test_a_command_whose_output_nobody_reads_ends_with_no_status_of_an_answer(tmp_path: Path) -> None:
    for words in (["--version"], ["inventory", "decisions", "-o", "csv"]):
        read, write = os.pipe()
        os.close(read)
        done = told(*words, stdout=write, ASSAY_DATABASE_URL=sqlite_database(tmp_path).settings.database_url)
        os.close(write)
        assert (done.returncode, done.stderr) == (EXIT_UNREAD, b""), words


def test_a_command_that_is_started_without_an_output_ends_as_it_would_with_one(tmp_path: Path) -> None:
    url = sqlite_database(tmp_path).settings.database_url
    for words, status in (
        (["--version"], 0),
        (["inventory", "decisions", "-o", "csv"], 0),
        (["nothing"], EXIT_USAGE),
    ):
        done = subprocess.run(
            ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "controller", *words],
            cwd=ROOT,
            env={**os.environ, "ASSAY_DATABASE_URL": url or ""},
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        assert done.returncode == status, (words, done.stderr)
        assert b"Traceback" not in done.stderr, words


def test_no_strangers_text_moves_the_terminal_or_begins_a_line_of_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    render.table(("POD", "SIGNED BY"), [("shop/api", "\x1b[2Jnobody\nshop/api  admin\u202e"), ("größe", "日本")])
    assert capsys.readouterr().out.splitlines() == [
        "POD       SIGNED BY",
        "shop/api  ?[2Jnobody?shop/api  admin?",
        "größe     日本",
    ]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_output_that_finds_no_room_is_told_in_one_line() -> None:
    with Path("/dev/full").open("wb") as full:
        done = told("--version", stdout=full.fileno())
    assert done.returncode == EXIT_ERROR
    assert done.stderr == b"assay: OutputUnwritable: the output is not whole: No space left on device\n"


@pytest.mark.parametrize("error", ["BrokenPipeError(errno.EPIPE, 'Broken pipe')", "OSError(errno.ENOSPC, 'No room')"])
def test_what_goes_wrong_elsewhere_is_not_taken_for_the_output_and_is_no_finding(error: str) -> None:
    """A pipe to a database breaks as one to a pager does: the answer is not there, and somebody waits for it."""
    code = f"""
import errno, sys
from controller import cli

def broken(_):
    print("half an answer")
    raise {error}

cli._run = broken
sys.exit(cli.run([]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (EXIT_ERROR, b"half an answer\n")
    assert done.stderr.startswith(b"assay: SystemRefused: ")
    assert b"Traceback" not in done.stderr


def test_an_interrupted_command_ends_without_a_traceback(tmp_path: Path) -> None:
    code = """
import signal
import sys
from controller import cli
from controller.cli import query

signal.signal(signal.SIGINT, signal.default_int_handler)  # else what a shell runs in the background never hears of it

def waiting(source, read=query._read):
    print("it waits for its question, which never comes", flush=True)
    return read(source)

query._read = waiting
sys.exit(cli.run(["query", "-f", "-"]))
"""
    running = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "ASSAY_DATABASE_URL": sqlite_database(tmp_path).settings.database_url or ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert running.stdout is not None
    assert running.stdout.readline().startswith(b"it waits")
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=60)
    assert (running.returncode, err.strip()) == (EXIT_INTERRUPTED, b"")


def test_a_shell_may_ask_what_follows() -> None:
    asked = {"_ASSAY_COMPLETE": "bash_complete", "COMP_WORDS": "assay inventory pa", "COMP_CWORD": "2"}
    assert b"packages" in told(stdout=subprocess.PIPE, **asked).stdout


def test_progress_is_for_a_terminal_alone_and_leaves_nothing_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(render, "PROGRESS", 0.0)
    with render.progress() as say:
        say("10 records")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with render.progress() as say:
        say("10 records")
        say("20 records")
    assert "10 records …\r\033[K20 records …\r\033[K" in (err := capsys.readouterr().err)
    assert err.endswith("\r\033[K")
