"""Everything that is measured or measures, each a process of its own: Assay, the floor, the registry, the load."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.bench import procfs
from tests.bench.images import TAG, Signer, image_digest
from tests.bench.load import Order
from tests.bench.statistics import Sample, in_a_row
from tests.support import assay, processes
from tests.support.assay import Assay
from tests.support.processes import Server, free_port
from tests.support.tools import hermetic_environment

CHECKOUT = Path(__file__).resolve().parents[2]
PREPARED = 1000  # images that the registry is asked to make ready at once
WORKERS = 2  # worker processes, the product's default


class BenchError(Exception):
    """What was measured is not what was meant to be: a figure of it would be of something else."""


@dataclass(slots=True)
class Target:
    """A server that reviews are sent to."""

    url: str
    ca_file: Path
    pid: int


class Registry:
    """The registry of `tests.bench.registry`, started and stopped at one address."""

    def __init__(self, folder: Path, signer: Signer) -> None:
        self._folder = folder
        self._key = folder / "key.pem"
        self._key.write_bytes(signer.private_pem)
        self._port = free_port()
        self._server: Server | None = None

    @property
    def host(self) -> str:
        """What stands before the first slash of a reference."""
        return f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer."""
        self._server = processes.start(
            [sys.executable, "-m", "tests.bench.registry", str(self._port), self._key],
            name="bench registry",
            log=self._folder / "registry.log",
            ready=processes.answers(f"http://{self.host}/v2/"),
            environment=hermetic_environment(self._folder / "home"),
            folder=CHECKOUT,
        )

    def stop(self) -> None:
        """Answer no more: connections are refused."""
        if self._server is not None:
            self._server.stop()

    def delay(self, seconds: float) -> None:
        """Let each answer take as long from now on."""
        self._ask(f"/-/delay?seconds={seconds}")

    def prepare(self, repositories: Iterable[str]) -> None:
        """Have these images made and signed; nothing is counted."""
        self._ask("/-/prepare", json.dumps(list(repositories)).encode())

    def requests(self) -> dict[str, list[tuple[float, float]]]:
        """The requests since the last look, by repository."""
        found: dict[str, list[tuple[float, float]]] = {}
        for repository, begin, end in json.loads(self._ask("/-/log")):
            found.setdefault(repository, []).append((begin, end))
        return found

    def _ask(self, path: str, body: bytes | None = None) -> bytes:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://{self.host}{path}", data=body, timeout=30) as response:
            content: bytes = response.read()
            return content


class Rig:
    """The running parts. `assay` and `floor` are targets of `measure`."""

    def __init__(
        self, folder: Path, signer: Signer, *, registry: Registry, serving: Assay, floor: Target, load: _Load
    ) -> None:
        self.folder = folder
        self._signer = signer
        self.registry = registry
        self.serving = serving
        self.assay = Target(serving.url, serving.ca_file, serving.server.pid)
        self.floor = floor
        self._load = load

    def reference(self, repository: str, *, digest: bool = False) -> str:
        """An image of the registry, by its tag or by digest."""
        named = f"@{image_digest(repository)}" if digest else f":{TAG}"
        return f"{self.registry.host}/{repository}{named}"

    def fresh(self, repositories: Sequence[str], *, digest: bool = False) -> list[str]:
        """References to images that are ready in the registry and that nobody has asked for."""
        for start in range(0, len(repositories), PREPARED):
            self.registry.prepare(repositories[start : start + PREPARED])
        return [self.reference(repository, digest=digest) for repository in repositories]

    def policies(self) -> list[dict[str, Any]]:
        """The policies that Assay serves under."""
        return policies(self._signer)

    def written(self, name: str, found: Iterable[Mapping[str, Any]]) -> Path:
        """A directory of this name with these policies."""
        directory = self.folder / name
        directory.mkdir()
        (directory / "policies.yaml").write_text(yaml.safe_dump_all(found))
        return directory

    def measure(self, target: Target, images: Sequence[Sequence[str]], **order: Any) -> Sample:
        """Send what the order (see `load.Order`) says.

        Raises `BenchError` when Assay refused a pod: every pod of the benchmark deserves to be let in.
        """
        answer = self._load.carry_out(
            Order(target.url, str(target.ca_file), target.pid, tuple(tuple(i) for i in images), **order)
        )
        if answer["refused"]:
            raise BenchError(f"{answer['refused']} pods were refused: {answer['refusal']}")
        return Sample(tuple(answer["latencies"]), answer["seconds"], answer["cpu"])

    def memory(self, target: Target) -> float:
        """PSS of the target's processes in MiB."""
        return procfs.pss_bytes(target.pid) / 2**20

    def round_trips(self) -> tuple[float, int]:
        """Requests since the last look: the mean number a repository, and the most that waited for one another."""
        by_repository = {name: spans for name, spans in self.registry.requests().items() if name}
        if not by_repository:
            return 0.0, 0
        total = sum(len(spans) for spans in by_repository.values())
        return total / len(by_repository), max(in_a_row(spans) for spans in by_repository.values())


class _Load:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def carry_out(self, order: Order) -> Mapping[str, Any]:
        """Raises `BenchError` if the load generator failed; it says why on standard error."""
        if self._process.stdin is None or self._process.stdout is None:
            raise AssertionError("the load generator is spoken to by pipes")
        self._process.stdin.write(json.dumps(dataclasses.asdict(order)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the load generator ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def rig(folder: Path) -> Iterator[Rig]:
    """Start everything; stop everything when the block ends."""
    signer = Signer()
    (folder / "policies").mkdir()
    (folder / "policies" / "policies.yaml").write_text(yaml.safe_dump_all(policies(signer)))
    with contextlib.ExitStack() as stack:
        registry = Registry(folder, signer)
        registry.start()
        stack.callback(registry.stop)
        serving = stack.enter_context(serve(folder / "assay", folder / "policies"))
        floor, load = stack.enter_context(_floor(serving)), stack.enter_context(_loading())
        yield Rig(folder, signer, registry=registry, serving=serving, floor=floor, load=load)


@contextlib.contextmanager
def serve(folder: Path, directory: Path) -> Iterator[Assay]:
    """Assay with its default settings on a new SQLite inventory, all roles in one process."""
    with assay.serving(folder, policies=str(directory), worker_processes=str(WORKERS)) as serving:
        yield serving


@contextlib.contextmanager
def _floor(serving: Assay) -> Iterator[Target]:
    port = free_port()
    certificates = serving.folder / "certificates"

    def ready() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    with processes.running(
        [sys.executable, "-m", "tests.bench.floor", str(port), certificates / "tls.crt", certificates / "tls.key"],
        name="floor",
        log=serving.folder / "floor.log",
        ready=ready,
        environment=serving.environment,
        folder=CHECKOUT,
    ) as server:
        yield Target(f"https://127.0.0.1:{port}", serving.ca_file, server.pid)


@contextlib.contextmanager
def _loading() -> Iterator[_Load]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=CHECKOUT,
    ) as process:
        try:
            yield _Load(process)
        finally:
            process.terminate()


def policies(signer: Signer) -> list[dict[str, Any]]:
    """One policy a kind of repository: signature alone; and a rule that reads the request; and a rule over an SBOM."""
    log4j = "sboms.find('pkg:maven/org.apache.logging.log4j/log4j-core', '<2.17.1')"
    by_hand = "request.userInfo.username.startsWith('system:')"
    signed = {"signatures": {"authorities": ["release"]}}
    return [
        _policy("signed", signer, signed),
        _policy(
            "ruled", signer, {**signed, "validations": [{"expression": by_hand, "message": "not by a controller"}]}
        ),
        _policy(
            "sbom",
            signer,
            {
                "attestations": [{"name": "sbom", "type": "SBOM", "authorities": ["release"]}],
                "variables": [{"name": "bad", "expression": log4j}],
                "validations": [{"expression": "size(variables.bad) == 0", "message": "has Log4Shell"}],
            },
        ),
    ]


def _policy(name: str, signer: Signer, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "assay.dev/v1alpha1",
        "kind": "ClusterEvidencePolicy",
        "metadata": {"name": name},
        "spec": {
            "match": {"images": [f"*/{name}/**"]},
            "authorities": [
                {"name": "release", "key": {"pem": signer.public_pem}, "transparencyLog": "Optional"},
            ],
            **spec,
        },
    }
