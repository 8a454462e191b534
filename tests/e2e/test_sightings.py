"""What runs, by a real API server: its pods' statuses are written as a kubelet would, and the inventory follows."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from tests.e2e.conftest import Rig, pod
from tests.support.commands import assay
from tests.support.processes import wait_until

OTHER = "sha256:" + "e1" * 32
START = "2026-11-28T10:00:00Z"


def runs_as(rig: Rig, name: str, namespace: str, image_id: str, *, ended: str = "", identity: str = "1") -> None:
    """Write the status that a kubelet would."""
    container_id = f"containerd://{name}-{identity}"
    state: dict[str, Any] = {"running": {"startedAt": START}}
    if ended:
        times = {"startedAt": START, "finishedAt": ended}
        state = {"terminated": {**times, "reason": "Completed", "exitCode": 0, "containerID": container_id}}
    entry = {
        "name": "c0", "ready": not ended, "restartCount": 0, "image": "misleading", "imageID": image_id,
        "containerID": container_id, "state": state,
    }  # fmt: skip
    status, answer = rig.cluster.request(
        "PATCH",
        f"/api/v1/namespaces/{namespace}/pods/{name}/status",
        body={"status": {"phase": "Running", "containerStatuses": [entry]}},
        content_type="application/merge-patch+json",
    )
    assert status == 200, answer


def runs(rig: Rig, namespace: str) -> list[dict[str, Any]]:
    """What the inventory has of a namespace, the latest first."""
    items: list[dict[str, Any]] = rig.assay.inventory(f"/api/v1/runs?namespace={namespace}&ever=true")["items"]
    return items


def the_run(rig: Rig, namespace: str) -> dict[str, Any]:
    """The one run of a namespace, as soon as there is one."""
    wait_until(lambda: bool(runs(rig, namespace)), what=f"something was seen running in {namespace}")
    (found,) = runs(rig, namespace)
    return found


def test_what_runs_is_recorded_and_held_against_what_was_admitted(rig: Rig) -> None:
    rig.cluster.create_namespace("seen")
    reference, digest = rig.signed("seen")
    repository = reference.rpartition(":")[0]
    rig.cluster.apply(pod("web", "seen", reference))
    runs_as(rig, "web", "seen", f"{repository}@{digest}")
    found = the_run(rig, "seen")
    (decision,) = rig.decisions("seen")
    assert (found["admission"], found["digest"], found["record"]) == ("Admitted", digest, decision["id"])
    assert (found["pod"], found["container"], found["kind"], found["endedAt"]) == ("web", "c0", "container", None)
    assert found["startedAt"] == "2026-11-28T10:00:00.000000Z"
    runs_as(rig, "web", "seen", f"{repository}@{digest}", ended="2026-11-28T10:30:00Z")
    wait_until(lambda: the_run(rig, "seen")["endedAt"] is not None, what="the end of the run was seen")
    assert the_run(rig, "seen")["endedAt"] == "2026-11-28T10:30:00.000000Z"


def test_another_image_than_the_admitted_one_is_drift(rig: Rig) -> None:
    rig.cluster.create_namespace("drifting")
    reference, _ = rig.signed("drifting")
    rig.cluster.apply(pod("web", "drifting", reference))
    runs_as(rig, "web", "drifting", f"{reference.rpartition(':')[0]}@{OTHER}")
    assert the_run(rig, "drifting")["admission"] == "Drifted"


def test_what_assay_was_never_asked_about_is_unadmitted_and_ends_when_the_pod_is_deleted(rig: Rig) -> None:
    rig.cluster.apply(pod("static", "kube-system", "registry.example/agent:1"))  # a namespace that is excluded
    runs_as(rig, "static", "kube-system", f"registry.example/agent@{OTHER}")
    assert the_run(rig, "kube-system")["admission"] == "Unadmitted"
    rig.cluster.kubectl("delete", "pod", "static", "--namespace", "kube-system", "--grace-period=0", "--force")
    wait_until(lambda: the_run(rig, "kube-system")["endedAt"] is not None, what="the end was seen")
    assert the_run(rig, "kube-system")["reason"] == "PodDeleted"


def test_what_ran_on_a_node_that_is_lost_ends_with_its_pod(rig: Rig) -> None:
    """A node's kubelet is silent for good: the control plane alone writes, and leaves the containers as they were."""
    rig.cluster.create_namespace("lost")
    reference, digest = rig.signed("lost")
    rig.cluster.apply(pod("web", "lost", reference))
    runs_as(rig, "web", "lost", f"{reference.rpartition(':')[0]}@{digest}")
    assert the_run(rig, "lost")["endedAt"] is None
    said = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"}
    status, answer = rig.cluster.request(
        "PATCH",
        "/api/v1/namespaces/lost/pods/web/status",
        body={"status": {"phase": "Failed", "conditions": [said]}},
        content_type="application/strategic-merge-patch+json",
    )
    assert (status, answer["status"]["containerStatuses"][0]["state"].keys()) == (200, {"running"})
    wait_until(lambda: the_run(rig, "lost")["endedAt"] is not None, what="the end was seen")
    assert the_run(rig, "lost")["reason"] == "DeletionByPodGC"


def test_a_restart_leaves_a_gap_and_ends_what_went_meanwhile(rig: Rig) -> None:
    began = datetime.now(UTC)
    rig.cluster.create_namespace("restarted")
    reference, digest = rig.signed("restarted")
    for name in ("goes", "stays"):
        rig.cluster.apply(pod(name, "restarted", reference))
        runs_as(rig, name, "restarted", f"{reference.rpartition(':')[0]}@{digest}")
    wait_until(lambda: len(runs(rig, "restarted")) == 2, what="both were seen running")

    def told() -> dict[str, tuple[bool, str]]:
        return {run["pod"]: (run["endedAt"] is None, run["reason"]) for run in runs(rig, "restarted")}

    watched = datetime.now(UTC)
    assert told() == {"goes": (True, ""), "stays": (True, "")}
    with rig.assay.away():
        rig.cluster.kubectl("delete", "pod", "goes", "--namespace", "restarted", "--grace-period=0", "--force")
        gone = datetime.now(UTC)
    wait_until(lambda: told()["goes"] != (True, ""), what="the pod was missed")
    assert told() == {"goes": (False, "GoneWhileUnwatched"), "stays": (True, "")}
    (gap,) = rig.assay.inventory(f"/api/v1/runs?namespace=restarted&asOf={gone:%Y-%m-%dT%H:%M:%S.%fZ}")["gaps"]
    since, until = (datetime.fromisoformat(gap[name]) for name in ("since", "until"))
    # From when something was seen last, which was a pod of this test, or what came after it.
    assert began < since <= watched < gone < until <= datetime.now(UTC)


def test_people_read_what_runs(rig: Rig) -> None:
    rig.cluster.create_namespace("read")
    reference, digest = rig.signed("read")
    rig.cluster.apply(pod("web", "read", reference))
    runs_as(rig, "web", "read", f"{reference.rpartition(':')[0]}@{digest}")
    (signer,) = the_run(rig, "read")["signers"]
    assert (signer["key"][:7], signer["statements"]) == ("sha256:", ["signature"])
    settings = {name: value for name, value in rig.assay.environment.items() if name == "ASSAY_DATABASE_URL"}
    answer = assay("inventory", "running", "-n", "read", folder=rig.assay.folder, environment=settings)
    assert answer.returncode == 0, answer.stderr
    heading, line = answer.stdout.splitlines()
    columns = ["STARTED", "ENDED", "ADMISSION", "CLUSTER", "POD", "CONTAINER", "IMAGE", "DIGEST", "SIGNED", "BY"]
    assert heading.split() == columns
    assert line.split() == [
        "2026-11-28",
        "10:00:00",
        "Admitted",
        the_run(rig, "read")["cluster"],
        "read/web",
        "c0",
        f"{reference}@{digest[:19]}…",
        digest[:19],
        signer["key"][:19],
    ]
    unsigned = assay("inventory", "running", "-n", "read", "--unsigned", folder=rig.assay.folder, environment=settings)
    assert (unsigned.returncode, unsigned.stdout, "no runs found" in unsigned.stderr) == (0, "", True)
    before = assay(
        "inventory",
        "running",
        "-n",
        "read",
        "--as-of",
        "2026-11-28T09:59:59",
        folder=rig.assay.folder,
        environment=settings,
    )
    assert (before.returncode, before.stdout, "no runs found" in before.stderr) == (0, "", True)


RATE, CHANGES, PODS = 100, 500, 20  # changes a second, changes, pods; the design has 2 s for each to be recorded
WITHIN = 20.0  # seconds, ten times that


def test_every_change_of_a_hundred_a_second_is_recorded_in_time(rig: Rig) -> None:
    rig.cluster.create_namespace("busy")
    reference, digest = rig.signed("busy")
    rig.cluster.apply(*(pod(f"web-{number}", "busy", reference) for number in range(PODS)))
    began = time.monotonic()
    sent: dict[str, datetime] = {}

    def change(number: int) -> None:
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))
        name, identity = f"web-{number % PODS}", str(number // PODS)
        sent[f"containerd://{name}-{identity}"] = datetime.now(UTC)
        runs_as(rig, name, "busy", f"{reference.rpartition(':')[0]}@{digest}", identity=identity)

    with ThreadPoolExecutor(8) as writers:
        list(writers.map(change, range(CHANGES)))

    def recorded() -> dict[str, datetime]:
        with contextlib.closing(sqlite3.connect(f"file:{rig.assay.folder / 'inventory.db'}?mode=ro", uri=True)) as base:
            rows = base.execute("SELECT canonical, recorded_at FROM leaf WHERE verdict = 'Started'").fetchall()
        return {json.loads(leaf)["run"]["id"]: datetime.fromisoformat(at) for leaf, at in rows}

    # A container that lived for less than the API server takes to tell of it is seen in the status of the next alone.
    last = {f"containerd://web-{number}-{CHANGES // PODS - 1}" for number in range(PODS)}
    wait_until(lambda: last <= recorded().keys(), what="the last change of each pod was recorded")
    found = recorded()
    assert len(sent.keys() & found.keys()) == CHANGES, f"{len(sent.keys() - found.keys())} changes were not recorded"
    assert max((found[run] - at).total_seconds() for run, at in sent.items()) < WITHIN
