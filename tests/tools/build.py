"""Builds the real programs that the tests run, once, into a cache outside the checkout.

A test that talks to an imitation proves nothing, and a test that downloads a binary trusts whoever serves it that day.
So each program is built from a Go module beside this file, whose go.sum fixes every source, and kept under the hash of
that module: a changed version builds anew, an unchanged one costs a look at the disk. `tools.toml` says what is built.

Only the standard library, so that any Python 3.11 can run it before the project is installed::

    python tests/tools/build.py                     # what the tests need
    python tests/tools/build.py --fixtures          # what only the recording of fixtures needs
    python tests/tools/build.py crane cosign        # these
    python tests/tools/build.py --print cosign      # where it is

A program is looked for in the folder that KUBEBUILDER_ASSETS names, in the cache, and on PATH (when its version is one
the tests are written for), in that order; only what is nowhere is built.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent

BUILDS_AT_ONCE = 2  # one Go build keeps two cores busy most of the time; three are slower than one after the other
BUILD_TIMEOUT = 1800  # seconds for one program; the slowest takes six minutes on two cores
PROBE_TIMEOUT = 10  # seconds for a program on PATH to say its version
STILL_BUILDING_EVERY = 60  # seconds between two signs of life of one build
LOG_TAIL = 30  # lines of a failed build's output that are shown

_print_lock = threading.Lock()


class ToolError(Exception):
    """A program cannot be found or built; the text says what to do."""


@dataclass(frozen=True, slots=True)
class OnPath:
    """Which version of a program of this name on PATH is accepted: oldest <= version < below."""

    probe: tuple[str, ...]
    oldest: tuple[int, ...]
    below: tuple[int, ...]

    def accepts(self, executable: Path) -> bool:
        """Whether `executable` says that it is of an accepted version; one that cannot say is not."""
        try:
            said = subprocess.run(
                [executable, *self.probe], capture_output=True, text=True, timeout=PROBE_TIMEOUT, check=False
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        found = re.search(r"\bv?(\d+(?:\.\d+)+)", said.stdout + said.stderr)
        return found is not None and self.oldest <= _version(found[1]) < self.below


@dataclass(frozen=True, slots=True)
class Tool:
    """One program: where its sources are and how it is built (the fields are explained in tools.toml)."""

    name: str
    module: str
    package: str
    set: str
    stamp: dict[str, str] = field(default_factory=dict)
    path: OnPath | None = None
    assets: bool = False

    @property
    def sources(self) -> Path:
        """The folder of the Go module."""
        return HERE / self.module

    @property
    def ldflags(self) -> str:
        """The linker's flags: no symbol tables, and the version where the program does not know it itself."""
        return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in sorted(self.stamp.items()))])

    @property
    def cached(self) -> Path:
        """Where the built program lies, or will lie: under the hash of all that decides what it is."""
        digest = hashlib.sha256()
        for part in (platform.system(), platform.machine(), self.package, self.ldflags):
            digest.update(part.encode() + b"\0")
        for file in sorted(path for path in self.sources.rglob("*") if path.suffix in {".go", ".mod", ".sum"}):
            digest.update(file.relative_to(self.sources).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return cache() / f"{self.module}-{digest.hexdigest()[:16]}" / self.name


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def cache() -> Path:
    """The folder of built programs: ASSAY_TOOLS_DIR, else `assay/tools` in the user's cache folder."""
    if chosen := os.environ.get("ASSAY_TOOLS_DIR"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "assay" / "tools"


def table() -> dict[str, Tool]:
    """Every program of tools.toml by name, in the file's order."""
    entries = tomllib.loads((HERE / "tools.toml").read_text())
    tools = {}
    for name, entry in entries.items():
        on_path = entry.pop("path", None)
        accepted = on_path and OnPath(tuple(on_path["probe"]), _version(on_path["oldest"]), _version(on_path["below"]))
        tools[name] = Tool(name=name, path=accepted, **entry)
    return tools


def find(tool: Tool) -> Path | None:
    """The program if it is there already (KUBEBUILDER_ASSETS, cache, PATH), else None."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if tool.assets and assets and os.access(chosen := Path(assets).absolute() / tool.name, os.X_OK):
        return chosen
    if os.access(cached := tool.cached, os.X_OK):
        return cached
    if tool.path and (on_path := shutil.which(tool.name)) and tool.path.accepts(Path(on_path)):
        return Path(on_path)
    return None


def locate(name: str) -> Path:
    """The path of the program called `name`.

    Raises:
        ToolError: there is no such program, or it is not built yet; the message names the command that builds it.
    """
    tool = table().get(name)
    if tool is None:
        raise ToolError(f"there is no tool {name!r}; tools.toml has {', '.join(table())}")
    path = find(tool)
    if path is None:
        target = "make tools" if tool.set == "default" else "make tools-fixtures"
        raise ToolError(f'the tool {name} is not built: run "{target}"')
    return path


def find_go(modules: Sequence[Path]) -> Path:
    """A `go` that is new enough for `modules`: the machine's own, else the one of the development environment.

    Raises:
        ToolError: there is none.
    """
    needed = max(_go_needed(module) for module in modules)
    for candidate in (shutil.which("go"), CHECKOUT / ".venv/bin/go", Path(sys.executable).parent / "go"):
        if candidate and Path(candidate).exists() and _go_version(Path(candidate)) >= needed:
            return Path(candidate)
    wanted = ".".join(map(str, needed))
    raise ToolError(f'no Go {wanted} or newer, neither on PATH nor in .venv: run "make setup", which brings one')


def _go_needed(module: Path) -> tuple[int, ...]:
    stated = re.search(r"^go (\d+(?:\.\d+)+)$", (module / "go.mod").read_text(), re.MULTILINE)
    return _version(stated[1]) if stated else (1,)


def _go_version(go: Path) -> tuple[int, ...]:
    try:
        said = subprocess.run([go, "env", "GOVERSION"], env=_go_environment(), capture_output=True, text=True,
                              timeout=PROBE_TIMEOUT, check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.match(r"go(\d+(?:\.\d+)+)", said.stdout)
    return _version(found[1]) if found else ()


def _go_environment() -> dict[str, str]:
    # local: go must never fetch another toolchain by itself. CGO off: no C compiler is needed, and none is asked.
    return {**os.environ, "GOTOOLCHAIN": "local", "GOWORK": "off", "CGO_ENABLED": "0"}


def build(tools: Sequence[Tool]) -> None:
    """Build what is missing of `tools`, two modules at a time, with a line of progress for each start and end.

    Raises:
        ToolError: one or more cannot be built; the other modules' are built all the same.
    """
    missing = [tool for tool in tools if find(tool) is None]
    if not missing:
        return
    go = find_go([tool.sources for tool in missing])
    with _locked():
        missing = [tool for tool in missing if find(tool) is None]  # the run that we waited for may have built them
        _say(f"{len(missing)} to build with {go} into {cache()}: {', '.join(tool.name for tool in missing)}")
        families: dict[str, list[Tool]] = {}
        for tool in missing:
            families.setdefault(tool.module, []).append(tool)
        pool = concurrent.futures.ThreadPoolExecutor(BUILDS_AT_ONCE)
        try:
            running = [pool.submit(_build_family, go, family) for family in families.values()]
            failures = [str(error) for future in running if (error := future.exception())]
        finally:
            pool.shutdown(cancel_futures=True)  # interrupted: what has not begun does not begin
    if failures:
        raise ToolError("\n".join(failures))


def _build_family(go: Path, family: Sequence[Tool]) -> None:
    for tool in family:
        _build_one(go, tool)


def _build_one(go: Path, tool: Tool) -> None:
    started = time.monotonic()
    _say(f"{tool.name}: building")
    target = tool.cached
    target.parent.mkdir(parents=True, exist_ok=True)
    for leftover in target.parent.glob(f".{tool.name}-*"):  # of a run that was killed
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(prefix=f".{tool.name}-", dir=target.parent) as scratch:
        built, log = Path(scratch) / tool.name, Path(scratch) / "log"
        command = [str(go), "build", "-mod=readonly", "-trimpath", "-buildvcs=false"]
        command += ["-ldflags", tool.ldflags, "-o", str(built), tool.package]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, cwd=tool.sources, env=_go_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
            try:
                status = _wait(process, tool.name, started)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        if status != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL:])
            raise ToolError(f"{tool.name}: `go build` ended with status {status}\n{tail}")
        built.replace(target)  # whole or not at all: a killed build leaves nothing that looks built
    _say(f"{tool.name}: done in {time.monotonic() - started:.0f} s")


def _wait(process: subprocess.Popen[bytes], name: str, started: float) -> int:
    while True:
        try:
            return process.wait(timeout=STILL_BUILDING_EVERY)
        except subprocess.TimeoutExpired:
            elapsed = time.monotonic() - started
            if elapsed > BUILD_TIMEOUT:
                raise ToolError(f"{name}: not built after {elapsed:.0f} s, given up") from None
            _say(f"{name}: still building, {elapsed:.0f} s")


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Hold the cache against another run, waiting for it to end."""
    cache().mkdir(parents=True, exist_ok=True)
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another run is building; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    with _print_lock:
        print(f"tools: {text}", file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status is 0 when everything asked for is there."""
    parser = argparse.ArgumentParser(description="Build the real programs that the tests run.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="build only these (default: all that the tests need)")
    parser.add_argument("--fixtures", action="store_true", help="build what only the recording of fixtures needs")
    parser.add_argument("--print", metavar="NAME", dest="shown", help="print where a program is; build nothing")
    parser.add_argument("--list", action="store_true", help="print every program and where it is; build nothing")
    options = parser.parse_args(arguments)
    tools = table()
    if unknown := [name for name in options.names if name not in tools]:
        parser.error(f"no such tool: {', '.join(unknown)} (tools.toml has {', '.join(tools)})")
    try:
        if options.shown:
            print(locate(options.shown))
        elif options.list:
            for tool in tools.values():
                print(f"{tool.name:24} {tool.set:10} {find(tool) or 'not built'}")
        else:
            wanted = "fixtures" if options.fixtures else "default"
            names = options.names or [tool.name for tool in tools.values() if tool.set == wanted]
            build([tools[name] for name in names])
    except ToolError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was built stays", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
