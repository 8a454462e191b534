"""How the test tools are found and built: a wrong program under a right name would make every other test a lie."""

from __future__ import annotations

import fcntl
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.tools import build
from tests.tools.build import OnPath, Tool, ToolError

COSIGN = OnPath(probe=("version",), oldest=(3, 1), below=(4,))


def program(path: Path, says: str) -> Path:
    """A program that prints `says`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and nothing on PATH but what a test puts into `<tmp>/bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("ASSAY_TOOLS_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """A tool of its own: a Go module without dependencies, built by the machine's Go into an empty cache."""
    monkeypatch.setenv("ASSAY_TOOLS_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(build, "HERE", tmp_path)
    sources = tmp_path / "hello"
    sources.mkdir()
    (sources / "go.mod").write_text("module example.test/hello\n\ngo 1.21\n")
    (sources / "main.go").write_text('package main\n\nvar version = "devel"\n\nfunc main() { println(version) }\n')
    return Tool(name="hello", module="hello", package=".", set="default", stamp={"main.version": "v7"})


@pytest.mark.parametrize(
    ("says", "accepted"),
    [
        ("GitVersion:    v3.1.3", True),
        ("v3.1", True),
        ("v3.9.0-rc.1", True),
        ("GitVersion: v3.0.6", False),
        ("cosign 2.5.0", False),
        ("v4.0.0", False),
        ("devel", False),
    ],
)
def test_a_program_on_path_counts_only_in_an_accepted_version(tmp_path: Path, says: str, accepted: bool) -> None:
    assert COSIGN.accepts(program(tmp_path / "cosign", says)) is accepted


def test_a_program_that_cannot_run_does_not_count(tmp_path: Path) -> None:
    broken = tmp_path / "cosign"
    broken.write_text("not a program")
    broken.chmod(0o755)
    assert not COSIGN.accepts(broken)


@pytest.mark.usefixtures("empty")
def test_a_missing_tool_names_the_command_that_builds_it() -> None:
    with pytest.raises(ToolError, match='cosign is not built: run "make tools"'):
        build.locate("cosign")


@pytest.mark.usefixtures("empty")
def test_an_unknown_tool_is_refused_by_name() -> None:
    with pytest.raises(ToolError, match="there is no tool 'cosing'"):
        build.locate("cosing")


def test_a_machine_that_has_a_tool_builds_nothing(empty: Path) -> None:
    own = program(empty / "bin/cosign", "v3.1.3")
    build.build([build.table()["cosign"]])  # there is no Go on PATH: a build would fail
    assert build.locate("cosign") == own


def test_kubebuilder_assets_come_before_all_else(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(empty / "bin/etcd", "etcd Version: 3.6.8")
    chosen = program(empty / "assets/etcd", "whatever the user chose")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(empty / "assets"))
    assert build.locate("etcd") == chosen


def test_a_build_is_stamped_cached_and_not_done_twice(module: Tool, capfd: pytest.CaptureFixture[str]) -> None:
    build.build([module])
    said = subprocess.run([module.cached], capture_output=True, text=True, timeout=10, check=True)
    assert said.stderr.strip() == "v7"
    assert "hello: done" in capfd.readouterr().err
    assert [entry.name for entry in module.cached.parent.iterdir()] == ["hello"]
    build.build([module])
    assert capfd.readouterr().err == ""


def test_changed_sources_are_built_anew(module: Tool) -> None:
    before = module.cached
    (module.sources / "main.go").write_text("package main\n\nfunc main() {}\n")
    assert module.cached != before
    restamped = Tool(name="hello", module="hello", package=".", set="default", stamp={"main.version": "v8"})
    assert restamped.cached != module.cached


def test_a_failed_build_shows_why_and_leaves_nothing(module: Tool) -> None:
    (module.sources / "main.go").write_text("package main\n\nfunc main() { undefinedName() }\n")
    with pytest.raises(ToolError, match="undefined: undefinedName"):
        build.build([module])
    assert list(module.cached.parent.iterdir()) == []


def test_a_go_that_is_too_old_is_not_used(module: Tool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path / "bin/go", "go1.20.1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(build, "CHECKOUT", tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ToolError, match=r'no Go 1\.21 or newer.*run "make setup"'):
        build.build([module])


def test_a_second_run_waits_for_the_first(module: Tool, capfd: pytest.CaptureFixture[str]) -> None:
    build.cache().mkdir(parents=True)
    with (build.cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=build.build, args=[[module]])
        second.start()
        said = ""
        while "waiting for it" not in said:  # bounded by pytest's own timeout
            said += capfd.readouterr().err
            time.sleep(0.01)
        program(module.cached, "made by the first run")
        fcntl.flock(lock, fcntl.LOCK_UN)
        second.join()
    assert "building" not in capfd.readouterr().err.replace("is building", "")
    assert "made by the first run" in module.cached.read_text()


def test_every_tool_is_pinned_by_its_module() -> None:
    for tool in build.table().values():
        pinned = (tool.sources / "go.mod").read_text()
        assert (tool.sources / "go.sum").stat().st_size > 0
        assert tool.package.startswith(".") or any(
            line.strip().removeprefix("tool ").strip() == tool.package for line in pinned.splitlines()
        ), f"{tool.name}: {tool.package} is no tool of its go.mod"
