"""Follows what runs: each run of each container is recorded once when it started and once when it ended.

Nothing here decides. A pod that vanishes takes its runs with it; one that vanished while nobody watched is told as
such, and the time in which nobody watched is recorded as a gap of its own: what is not known is not made up.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from controller.model.sighting import Run, SeenPod
from controller.review.leaf import timestamp

SCHEMA = "assay.dev/sighting/v1alpha1"
DELETED, UNSEEN, REPLACED, LOST = "PodDeleted", "GoneWhileUnwatched", "Replaced", "NoLongerRunning"

Key = tuple[str, str]
RunKey = tuple[str, str, str, str]
"""(pod uid, container kind, container, run id)."""


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run that the inventory knows to have begun, and not to have ended."""

    pod: SeenPod
    run: Run


class Follower:
    """Turns pods, as they change, into facts. Pure but for what `tell` does with a leaf."""

    def __init__(self, cluster: str, *, tell: Callable[[dict[str, Any]], None], clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._tell = tell
        self._clock = clock
        self._pods: dict[Key, SeenPod] = {}
        self._open: dict[str, dict[RunKey, OpenRun]] = {}  # by the pod's uid

    def resume(self, runs: Iterable[OpenRun]) -> None:
        """What the inventory knows to run, from before this process began."""
        for known in runs:
            self._begin(known)

    def listed(self, pods: Mapping[Key, SeenPod], *, unwatched_since: datetime | None) -> None:
        """All pods that there are. What is not among them has gone; nobody watched since then, if that is given."""
        now = self._clock()
        if unwatched_since is not None:
            self._fact("Gap", None, since=unwatched_since, until=now)
        there = {pod.uid for pod in pods.values()}
        for uid in self._open.keys() - there:
            self._end_all(uid, UNSEEN if unwatched_since is not None else DELETED)
        self._pods = {place: pod for place, pod in self._pods.items() if pod.uid in there}
        for place, pod in pods.items():
            self.changed(place, pod)

    def changed(self, place: Key, pod: SeenPod | None) -> None:
        """A pod is there, or no longer."""
        before = self._pods.pop(place, None)
        if before is not None and (pod is None or pod.uid != before.uid):
            self._end_all(before.uid, before.reason or DELETED)
            before = None
        if pod is None:
            return
        self._pods[place] = pod
        shown = {_key(pod, run) for run in pod.runs}
        for key in [key for key in self._open.get(pod.uid, ()) if key not in shown]:
            # The kubelet keeps one state before the present one: of two restarts at once the first run just vanishes.
            if key[1:3] in {k[1:3] for k in shown}:
                self._end(key, self._clock(), REPLACED)
            elif key[1:3] in pod.idle:
                self._end(key, self._clock(), pod.reason or LOST)
        for run in pod.runs:
            if before is None or run not in before.runs:
                self._see(OpenRun(pod, run))
        if pod.over:  # whatever its containers' status says: with a lost node goes who would write that they ended
            self._end_all(pod.uid, pod.reason or LOST)

    def _see(self, seen: OpenRun) -> None:
        key = _key(seen.pod, seen.run)
        if key not in self._open.get(seen.pod.uid, ()):
            begun = replace(seen, run=replace(seen.run, ended_at=None, reason=""))
            self._fact("Started", begun, at=seen.run.started_at)
            self._begin(seen)  # once: a container's status has its present image, beside a run that had another
        if seen.run.ended_at is not None:
            self._end(key, seen.run.ended_at, seen.run.reason)

    def _begin(self, known: OpenRun) -> None:
        self._open.setdefault(known.pod.uid, {})[_key(known.pod, known.run)] = known

    def _end_all(self, uid: str, reason: str) -> None:
        for key in list(self._open.get(uid, ())):
            self._end(key, self._clock(), reason)

    def _end(self, key: RunKey, at: datetime, reason: str) -> None:
        known = self._open[key[0]].pop(key)
        if not self._open[key[0]]:
            del self._open[key[0]]
        self._fact("Ended", replace(known, run=replace(known.run, ended_at=at, reason=reason)), at=at)

    def _fact(self, what: str, seen: OpenRun | None, **times: datetime) -> None:
        told = {name: timestamp(moment) for name, moment in times.items()}
        parts = [self._cluster, what, *(_key(seen.pod, seen.run) if seen is not None else told.values())]
        identity = str(uuid.UUID(bytes=hashlib.sha256("\n".join(parts).encode()).digest()[:16], version=5))
        leaf: dict[str, Any] = {
            "schema": SCHEMA,
            "id": identity,
            "salt": secrets.token_hex(16),
            "decisionKey": f"sighting:{identity}",
            "verdict": what,
            "decidedAt": told.get("at") or told["until"],
            "cluster": self._cluster,
            "blobs": [],
        }
        self._tell(leaf | ({"gap": told} if seen is None else {"pod": _pod(seen.pod), "run": _run(seen.run)}))


def _pod(pod: SeenPod) -> dict[str, Any]:
    return {
        "namespace": pod.namespace,
        "name": pod.name,
        "uid": pod.uid,
        "node": pod.node,
        "serviceAccount": pod.service_account,
        "owner": pod.owner,
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "kind": str(run.kind),
        "container": run.container,
        "id": run.id,
        "image": run.image,
        "imageId": run.image_id,
        "repository": run.repository,
        "digest": run.digest or None,
        "startedAt": timestamp(run.started_at),
        "endedAt": timestamp(run.ended_at) if run.ended_at is not None else None,
        "reason": run.reason,
    }


def _key(pod: SeenPod, run: Run) -> RunKey:
    return pod.uid, str(run.kind), run.container, run.id
