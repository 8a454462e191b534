"""What runs: from the kubelet's word to facts, each once, whatever is missed in between."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from controller import telemetry
from controller.errors import RecordingFailed
from controller.inventory.recording.projecting import project
from controller.model.image import ContainerKind
from controller.model.sighting import SeenPod
from controller.operator.recording import AT_ONCE, Recording
from controller.operator.runs import digest_of, pod_of
from controller.operator.sightings import Follower, OpenRun

DIGEST = "sha256:" + "a1" * 32
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
START = "2026-11-28T11:00:00Z"
LATER = "2026-11-28T11:30:00Z"


def status(identity: str = "containerd://1", *, ended: str = "", last: str = "", **more: Any) -> dict[str, Any]:
    """A ContainerStatus as a kubelet writes it."""
    state: dict[str, Any] = {"running": {"startedAt": START}}
    if ended:
        state = {"terminated": {"startedAt": START, "finishedAt": ended, "reason": "Error", "containerID": identity}}
    found = {"name": "app", "containerID": identity, "imageID": f"ghcr.io/acme/app@{DIGEST}", "state": state, **more}
    if last:
        gone = {"startedAt": START, "finishedAt": LATER, "reason": "OOMKilled", "containerID": last}
        found["lastState"] = {"terminated": gone}
    return found


def pod(*statuses: dict[str, Any], uid: str = "u1", **more: Any) -> dict[str, Any]:
    """A Pod with these statuses of its one container."""
    return {
        "metadata": {
            "namespace": "shop",
            "name": "web-1",
            "uid": uid,
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": True}],
        },
        "spec": {
            "nodeName": "worker",
            "serviceAccountName": "web",
            "containers": [{"name": "app", "image": "ghcr.io/acme/app:1"}],
        },
        "status": {"containerStatuses": list(statuses), **more},
    }


def seen(*statuses: dict[str, Any], **more: Any) -> SeenPod:
    found = pod_of(pod(*statuses, **more))
    assert found is not None
    return found


class World:
    """A follower, and what it told."""

    def __init__(self) -> None:
        self.leaves: list[dict[str, Any]] = []
        self.follower = Follower("local", tell=self.leaves.append, clock=lambda: NOW)

    def change(self, pod: SeenPod | None) -> list[tuple[str, ...]]:
        """What a change of the pod was told as."""
        before = len(self.leaves)
        self.follower.changed(("shop", "web-1"), pod)
        return self.told(self.leaves[before:])

    def told(self, leaves: list[dict[str, Any]]) -> list[tuple[str, ...]]:
        for leaf in leaves:
            project(leaf)  # each is a leaf that the inventory reads
        return [
            (leaf["verdict"], leaf["run"]["id"], leaf["run"]["reason"])
            if "run" in leaf
            else ("Gap", *leaf["gap"].values())
            for leaf in leaves
        ]


@pytest.mark.parametrize(
    ("image_id", "expected"),
    [
        (f"ghcr.io/acme/app@{DIGEST}", ("ghcr.io/acme/app", DIGEST)),
        (f"docker-pullable://ghcr.io/acme/app@{DIGEST}", ("ghcr.io/acme/app", DIGEST)),
        (f"localhost:5000/app@{DIGEST}", ("localhost:5000/app", DIGEST)),
        (DIGEST, ("", "")),  # a configuration's digest, as for an imported image
        (f"docker://{DIGEST}", ("", "")),
        ("", ("", "")),
        ("ghcr.io/acme/app@sha512:" + "a" * 128, ("", "")),
        (f"ghcr.io/acme/app@{DIGEST}0", ("", "")),
    ],
)
def test_the_digest_is_that_of_the_manifest_that_was_pulled_or_none(image_id: str, expected: tuple[str, str]) -> None:
    assert digest_of(image_id) == expected


def test_a_pod_is_kept_with_what_ran_in_it() -> None:
    found = seen(status("containerd://2", last="containerd://1"))
    assert (found.namespace, found.name, found.uid, found.node, found.owner) == (
        "shop", "web-1", "u1", "worker", "ReplicaSet/web",
    )  # fmt: skip
    before, now = found.runs
    assert (before.id, before.reason, before.ended_at) == ("containerd://1", "OOMKilled", datetime.fromisoformat(LATER))
    assert (now.id, now.image, now.digest, now.ended_at) == ("containerd://2", "ghcr.io/acme/app:1", DIGEST, None)


def test_every_kind_of_container_is_seen_and_one_that_waits_is_not() -> None:
    obj = pod(status())
    obj["spec"]["initContainers"] = [{"name": "app", "image": "init:1"}]
    obj["status"]["initContainerStatuses"] = [status("containerd://i", ended=LATER)]
    obj["status"]["ephemeralContainerStatuses"] = [status("containerd://e")]
    obj["status"]["containerStatuses"].append({"name": "slow", "state": {"waiting": {"reason": "ImagePullBackOff"}}})
    found = pod_of(obj)
    assert found is not None
    assert [(run.kind, run.id) for run in found.runs] == [
        (ContainerKind.INIT, "containerd://i"),
        (ContainerKind.REGULAR, "containerd://1"),
        (ContainerKind.EPHEMERAL, "containerd://e"),
    ]


@pytest.mark.parametrize("obj", [{}, {"metadata": {"name": "x"}}, {"metadata": None}, pod({"state": 1})])
def test_what_is_no_pod_is_not_kept_and_stops_nothing(obj: Any) -> None:
    assert pod_of(obj) is None


def test_a_run_is_told_once_when_it_starts_and_once_when_it_ends() -> None:
    world = World()
    assert world.change(seen(status())) == [("Started", "containerd://1", "")]
    assert world.change(seen(status())) == []
    assert world.change(seen(status(ended=LATER))) == [("Ended", "containerd://1", "Error")]
    assert world.change(seen(status(ended=LATER))) == []
    assert world.change(None) == []
    assert world.leaves[1]["run"]["endedAt"] == "2026-11-28T11:30:00.000000Z"


def test_a_restart_is_another_run_and_ends_the_one_before() -> None:
    world = World()
    world.change(seen(status()))
    assert world.change(seen(status("containerd://2", last="containerd://1"))) == [
        ("Ended", "containerd://1", "OOMKilled"),
        ("Started", "containerd://2", ""),
    ]
    # Two restarts between two looks: the kubelet has forgotten the run in between, and the first has gone.
    assert world.change(seen(status("containerd://4", last="containerd://3"))) == [
        ("Ended", "containerd://2", "Replaced"),
        ("Started", "containerd://3", ""),
        ("Ended", "containerd://3", "OOMKilled"),
        ("Started", "containerd://4", ""),
    ]


def test_a_pod_that_vanishes_takes_its_runs_with_it() -> None:
    world = World()
    world.change(seen(status()))
    assert world.change(None) == [("Ended", "containerd://1", "PodDeleted")]
    world = World()
    world.change(seen(status(), reason="Evicted"))
    assert world.change(None) == [("Ended", "containerd://1", "Evicted")]


@pytest.mark.parametrize(
    "after",
    [
        # https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/kubelet/status/status_manager.go (TerminatePod)
        pod({"name": "app", "containerID": "containerd://1", "state": {"terminated": {"exitCode": 137}}}),
        pod({"name": "app", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}),
        pod(phase="Failed", reason="Evicted"),  # a kubelet that evicts may leave no container's status at all
        pod(phase="Succeeded"),
    ],
)
def test_a_run_that_is_no_longer_told_of_has_ended_without_a_time_of_its_own(after: dict[str, Any]) -> None:
    world = World()
    world.change(seen(status()))
    found = pod_of(after)
    assert found is not None
    ((what, run, _),) = world.change(found)
    assert (what, run) == ("Ended", "containerd://1")
    assert world.leaves[-1]["run"]["endedAt"] == "2026-11-28T12:00:00.000000Z"
    assert world.leaves[-1]["run"]["digest"] == DIGEST
    assert world.change(found) == []


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"phase": "Failed", "reason": "NodeLost"}, "NodeLost"),
        # https://github.com/kubernetes/kubernetes/blob/v1.34.0/pkg/controller/podgc/gc_controller.go (gcOrphaned)
        (
            {
                "phase": "Failed",
                "conditions": [
                    {"type": "Ready", "status": "False", "reason": "PodFailed"},
                    {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByPodGC"},
                ],
            },
            "DeletionByPodGC",
        ),
        ({"phase": "Failed"}, "NoLongerRunning"),
        ({"phase": "Succeeded"}, "NoLongerRunning"),
    ],
)
def test_a_pod_that_is_over_runs_nothing_though_its_containers_status_still_says_running(
    said: dict[str, Any], reason: str
) -> None:
    """What the control plane leaves of a pod whose node is lost: no kubelet is there to write that anything ended."""
    world = World()
    world.change(seen(status()))
    over = seen(status(), **said)
    assert world.change(over) == [("Ended", "containerd://1", reason)]
    assert world.leaves[-1]["run"]["endedAt"] == "2026-11-28T12:00:00.000000Z"
    assert world.change(over) == []
    assert world.change(None) == []
    # Met for the first time, it is told that it ran at all.
    assert World().change(over) == [("Started", "containerd://1", ""), ("Ended", "containerd://1", reason)]


def test_what_was_over_before_this_process_began_ends_when_it_is_listed() -> None:
    world = World()
    before = seen(status())
    world.follower.resume([OpenRun(before, before.runs[0])])
    over = seen(status(), phase="Failed", reason="NodeLost")
    world.follower.listed({("shop", "web-1"): over}, unwatched_since=None)
    assert world.told(world.leaves) == [("Ended", "containerd://1", "NodeLost")]


def test_what_runs_on_a_node_that_is_silent_runs_until_its_pod_is_gone() -> None:
    """The kubelet may be cut off, and its containers run on: nobody knows before the pod is deleted by force."""
    world = World()
    world.change(seen(status()))
    assert world.change(seen(status(), phase="Running", reason="NodeLost")) == []
    assert world.change(None) == [("Ended", "containerd://1", "NodeLost")]
    world = World()
    world.change(seen(status()))
    evicted = [{"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager"}]
    assert world.change(seen(status(), phase="Running", conditions=evicted)) == []
    assert world.change(None) == [("Ended", "containerd://1", "DeletionByTaintManager")]


def test_a_disruption_that_was_called_off_is_no_reason() -> None:
    world = World()
    off = [{"type": "DisruptionTarget", "status": "False", "reason": "PreemptionByScheduler"}]
    world.change(seen(status(), conditions=off))
    assert world.change(None) == [("Ended", "containerd://1", "PodDeleted")]


def test_a_status_that_is_not_there_yet_ends_nothing() -> None:
    world = World()
    world.change(seen(status()))
    assert world.change(seen()) == []


def test_the_image_of_a_run_is_the_one_it_began_with() -> None:
    """A container whose image was changed in place: its status has the new image beside the old run's end."""
    world = World()
    world.change(seen(status()))
    world.change(seen(status("containerd://2", last="containerd://1", imageID=f"ghcr.io/acme/app@sha256:{'b' * 64}")))
    ended, started = world.leaves[-2:]
    assert (ended["verdict"], ended["run"]["id"], ended["run"]["digest"]) == ("Ended", "containerd://1", DIGEST)
    assert (started["verdict"], started["run"]["digest"]) == ("Started", f"sha256:{'b' * 64}")


@pytest.mark.parametrize("when", ["0000-01-01T00:00:00Z", "0900-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "soon"])
def test_a_time_that_cannot_be_hides_neither_the_pod_nor_its_other_runs(when: str) -> None:
    world = World()
    world.change(seen(status()))
    strange = {"name": "sidecar", "containerID": "containerd://7", "state": {"running": {"startedAt": when}}}
    assert world.change(seen(status(), strange)) == []
    assert world.change(seen(status(ended=when), strange)) == [("Ended", "containerd://1", "Error")]


def test_another_pod_of_the_same_name_is_another_pod() -> None:
    world = World()
    world.change(seen(status()))
    assert world.change(seen(status("containerd://9"), uid="u2")) == [
        ("Ended", "containerd://1", "PodDeleted"),
        ("Started", "containerd://9", ""),
    ]


def test_the_same_fact_has_the_same_id_whoever_tells_it() -> None:
    one, other = World(), World()
    one.change(seen(status()))
    other.change(seen(status()))
    assert one.leaves[0]["id"] == other.leaves[0]["id"]
    assert one.leaves[0]["salt"] != other.leaves[0]["salt"]
    one.change(seen(status(ended=LATER)))
    assert one.leaves[1]["id"] != one.leaves[0]["id"]


def test_after_a_restart_what_has_gone_meanwhile_is_told_with_the_gap() -> None:
    world = World()
    gone, stays = seen(status("containerd://1"), uid="u1"), seen(status("containerd://2"), uid="u2")
    world.follower.resume([OpenRun(gone, gone.runs[0]), OpenRun(stays, stays.runs[0])])
    since = NOW - timedelta(minutes=5)
    world.follower.listed({("shop", "web-2"): stays}, unwatched_since=since)
    assert world.told(world.leaves) == [
        ("Gap", "2026-11-28T11:55:00.000000Z", "2026-11-28T12:00:00.000000Z"),
        ("Ended", "containerd://1", "GoneWhileUnwatched"),
    ]
    assert world.change(None) == []


def test_a_list_is_no_gap_where_there_was_none() -> None:
    world = World()
    world.follower.listed({("shop", "web-1"): seen(status())}, unwatched_since=None)
    assert world.told(world.leaves) == [("Started", "containerd://1", "")]
    world.follower.listed({}, unwatched_since=None)
    assert world.told(world.leaves[1:]) == [("Ended", "containerd://1", "PodDeleted")]


def test_twenty_thousand_pods_are_followed_in_a_few_megabytes() -> None:
    import tracemalloc

    world = World()
    world.follower = Follower("local", tell=lambda _leaf: None, clock=lambda: NOW)
    tracemalloc.start()
    for number in range(20_000):
        found = pod_of(pod(status(f"containerd://{number:064}"), uid=f"{number:036}"))
        world.follower.changed(("shop", f"web-{number}"), found)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 80 * 1024 * 1024


async def test_a_fact_that_can_never_be_recorded_is_counted_and_holds_up_no_other() -> None:
    recorded: list[str] = []

    class Recorder:
        async def record(self, leaf: Any, *, blobs: Any, deadline: Any) -> None:
            assert blobs == {}
            assert deadline.remaining() > 0
            if leaf["id"].startswith("bad"):
                raise RecordingFailed("DatabaseRefused", "not that one")
            recorded.append(leaf["id"])

    lost = telemetry.SIGHTINGS_LOST._value.get()
    recording = Recording(Recorder())
    for number in range(AT_ONCE):
        recording.put({"id": f"bad{number}", "verdict": "Started"})
    recording.put({"id": "good", "verdict": "Started"})
    work = asyncio.create_task(recording.run())
    async with asyncio.timeout(10):
        while not recorded:
            assert not work.done()
            await asyncio.sleep(0.01)
    work.cancel()
    assert telemetry.SIGHTINGS_LOST._value.get() == lost + AT_ONCE
