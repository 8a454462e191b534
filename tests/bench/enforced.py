"""`python -m tests.bench.enforced`: how long a change of a policy takes until it binds, by a real API server.

From the API server's answer to the change until a pod is answered by it. The policy asks for a digest that the pod does
not name, so no registry is asked. Machines differ: nothing here is asserted.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.e2e.conftest import ASSAY, apply_chart, pod, trusted
from tests.support.assay import serving
from tests.support.kubernetes import ApiServer
from tests.support.mistakes import policy
from tests.support.processes import free_port

NAME, POLICY = "enforced", "/apis/assay.dev/v1alpha1/clusterevidencepolicies/enforced"
PODS = "/api/v1/namespaces/default/pods?dryRun=All"
PATIENCE = 60.0  # seconds after which a change counts as lost


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.enforced", description=__doc__)
    parser.add_argument("--changes", type=int, default=50)
    changes = parser.parse_args().changes
    port = free_port()
    with (
        tempfile.TemporaryDirectory(prefix="assay-bench-") as name,
        ApiServer(Path(name) / "cluster", users=[ASSAY]) as cluster,
    ):
        cluster.create_namespace("assay-system")
        apply_chart(cluster, port)
        kubeconfig = str(cluster.kubeconfig_for(ASSAY))
        with serving(Path(name) / "assay", webhook_port=port, kubeconfig=kubeconfig, webhook_names="127.0.0.1"):
            trusted(cluster)
            cluster.apply(policy(NAME, match={"images": ["other.example/**"]}, digest="Require"))
            taken = sorted(_change(cluster, denied=number % 2 == 0) for number in range(changes))
    last = taken[-1]
    median, late = statistics.median(taken), taken[int(0.95 * (len(taken) - 1))]
    print(f"a change of policy binds: p50 {median:.3f} s, p95 {late:.3f} s, at most {last:.3f} s ({changes} changes)")


def _change(cluster: ApiServer, *, denied: bool) -> float:
    """Make the policy match the pod, or no longer, and return the seconds until that is the verdict."""
    images = ["enforced.example/**"] if denied else ["other.example/**"]
    body: dict[str, Any] = {"spec": {"match": {"images": images}}}
    status, answer = cluster.request("PATCH", POLICY, body=body, content_type="application/merge-patch+json")
    if status != 200:
        raise SystemExit(f"the policy could not be changed: {answer['message']}")
    began = time.perf_counter()
    while (cluster.request("POST", PODS, body=pod(NAME, "default", "enforced.example/app:1"))[0] == 403) is not denied:
        if time.perf_counter() - began > PATIENCE:
            raise SystemExit(f"the change was not enforced within {PATIENCE:g} s")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
