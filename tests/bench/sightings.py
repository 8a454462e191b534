"""`python -m tests.bench.sightings`: how long a change of a pod's status takes until it is a row of the inventory, by a
real API server, and what watching many pods costs.

Pods are made without webhooks. Then their statuses are written as a kubelet would, each time with another container, so
many times a second. Measured from before the request is sent until the time that its row bears, which is given right
before the group's commit. Machines differ: nothing here is asserted.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import sqlite3
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.bench import procfs
from tests.e2e.conftest import render_chart
from tests.support.assay import Assay, serving
from tests.support.kubernetes import ADMIN, ApiServer
from tests.support.processes import wait_until

NAMESPACE = "seen"
MAKERS = 4  # connections that make pods
WRITERS = 4  # connections that write statuses
PATIENCE = 120.0  # seconds after which a change counts as lost
SETTLE = 5.0  # seconds between the last pod and the measuring of memory


class Client:
    """One kept connection to the API server."""

    def __init__(self, cluster: ApiServer) -> None:
        parts = urlsplit(cluster.url)
        context = ssl.create_default_context(cafile=str(cluster.ca_file))
        self._connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, context=context, timeout=60)

    def send(self, method: str, path: str, body: Any, kind: str = "application/json") -> None:
        """Send a request. Raises `SystemExit` if it is refused."""
        headers = {"Authorization": f"Bearer {ADMIN.token}", "Content-Type": kind}
        self._connection.request(method, path, json.dumps(body), headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 300:
            raise SystemExit(f"{method} {path}: {answer.status} {content[:300]!r}")


def pod_of(number: int) -> dict[str, Any]:
    """A pod of about the size of real ones."""
    environment = [{"name": f"SETTING_{i}", "value": "x" * 60} for i in range(20)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"pod-{number}", "labels": {"app": f"app-{number % 200}", "tier": "web"}},
        "spec": {
            "nodeName": f"node-{number % 100}",
            "containers": [{"name": "c0", "image": f"registry.example/app-{number % 200}:1", "env": environment}],
        },
    }


def status_of(number: int, turn: int) -> dict[str, Any]:
    """What a kubelet writes of a container that was started anew."""
    digest = f"sha256:{number % 200:064x}"
    entry = {
        "name": "c0",
        "ready": True,
        "restartCount": turn,
        "image": f"registry.example/app-{number % 200}:1",
        "imageID": f"registry.example/app-{number % 200}@{digest}",
        "containerID": f"containerd://{number}-{turn}",
        "state": {"running": {"startedAt": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}},
    }
    return {"status": {"phase": "Running", "containerStatuses": [entry]}}


def each(clients: int, cluster: ApiServer, count: int, work: Callable[[Client, int], None]) -> None:
    """Do the work for each number, on so many connections."""
    local = threading.local()

    def one(number: int) -> None:
        if not hasattr(local, "client"):
            local.client = Client(cluster)
        work(local.client, number)

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(one, range(count)))


def change(cluster: ApiServer, *, pods: int, rate: float, seconds: float) -> dict[str, float]:
    """Write statuses at this rate. Returns when each was sent (Unix time), by the run's name."""
    sent: dict[str, float] = {}
    began = time.monotonic()

    def write(client: Client, number: int) -> None:
        pod, turn = number % pods, number // pods
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        sent[f"containerd://{pod}-{turn}"] = time.time()
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/pod-{pod}/status"
        client.send("PATCH", path, status_of(pod, turn), "application/merge-patch+json")

    each(WRITERS, cluster, int(rate * seconds), write)
    return sent


def recorded(assay: Assay) -> dict[str, float]:
    """When each run was recorded (Unix time), by its name."""
    with contextlib.closing(sqlite3.connect(f"file:{assay.folder / 'inventory.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT canonical, recorded_at FROM leaf WHERE verdict = 'Started'").fetchall()
    return {json.loads(leaf)["run"]["id"]: datetime.fromisoformat(at).timestamp() for leaf, at in rows}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.sightings", description=__doc__)
    parser.add_argument("--pods", type=int, default=20_000)
    parser.add_argument("--rate", type=float, default=100.0, help="changes a second")
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="assay-bench-") as name,
        ApiServer(Path(name) / "cluster") as cluster,
    ):
        definitions = [o for o in render_chart() if o["kind"] == "CustomResourceDefinition"]
        cluster.apply(*definitions)
        for definition in definitions:
            cluster.kubectl("wait", "--for=condition=Established", f"crd/{definition['metadata']['name']}")
        cluster.create_namespace("assay-system")
        cluster.create_namespace(NAMESPACE)
        path = f"/api/v1/namespaces/{NAMESPACE}/pods"
        settings = {"kubeconfig": str(cluster.kubeconfig), "webhook_configuration": "", "webhook_names": "127.0.0.1"}
        with serving(Path(name) / "assay", **settings) as assay:
            before = procfs.pss_bytes(assay.server.pid) / 2**20
            began = time.monotonic()
            each(MAKERS, cluster, arguments.pods, lambda client, number: client.send("POST", path, pod_of(number)))
            print(f"{arguments.pods} pods made, {arguments.pods / (time.monotonic() - began):.0f} a second", flush=True)
            time.sleep(SETTLE)
            known = procfs.pss_bytes(assay.server.pid) / 2**20
            cpu, began = procfs.cpu_seconds(assay.server.pid), time.monotonic()
            sent = change(cluster, pods=arguments.pods, rate=arguments.rate, seconds=arguments.seconds)
            took, cpu = time.monotonic() - began, procfs.cpu_seconds(assay.server.pid) - cpu
            wait_until(lambda: sent.keys() <= recorded(assay).keys(), what="every change is recorded", timeout=PATIENCE)
            after = procfs.pss_bytes(assay.server.pid) / 2**20
            rows = recorded(assay)
    latencies = sorted(rows[run] - at for run, at in sent.items())
    late = latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))]
    print(
        f"{len(sent)} changes of {arguments.pods} pods at {len(sent) / took:.0f} a second: recorded after"
        f" p50 {statistics.median(latencies):.3f} s, p99 {late:.3f} s, at most {latencies[-1]:.3f} s;"
        f" {1000 * cpu / len(sent):.1f} ms CPU each"
    )
    print(f"memory (PSS): {before:.0f} MiB without pods, {known:.0f} MiB with them, {after:.0f} MiB after the changes")


if __name__ == "__main__":
    main()
