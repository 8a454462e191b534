"""Watches what runs, in a thread and loop of its own: neither policies nor reviews wait for a cluster full of pods.

Of each pod a few words are kept, so that tens of thousands fit; every start and end of a container is handed to the
inventory, and kept until it has it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Protocol

from controller.cluster.client import ClusterClient
from controller.cluster.watch import Key, Mirror
from controller.errors import AssayError
from controller.inventory.records import RunRecord
from controller.model.image import ContainerKind
from controller.model.sighting import Run, SeenPod
from controller.operator.recording import Recording
from controller.operator.runs import pod_of
from controller.operator.sightings import Follower, OpenRun
from controller.review.ports import Recorder
from controller.settings import ClusterSettings

PODS = "/api/v1/pods"
WINDOW = 60.0  # seconds after which the server ends a watch and it is resumed
RETRY = 5.0  # seconds before the watch is begun anew after it failed

log = logging.getLogger(__name__)


class Memory(Protocol):
    """What the inventory knows from before."""

    def open_runs(self, cluster: str) -> Sequence[RunRecord]:
        """Every run that is not known to have ended. Raises `Unavailable`."""
        ...

    def last_watched(self, cluster: str) -> datetime | None:
        """When something was last seen; None if never. Raises `Unavailable`."""
        ...


class PodWatch:
    """Watches the pods of one cluster until it is stopped."""

    def __init__(self, settings: ClusterSettings, *, cluster: str, recorder: Recorder, memory: Memory) -> None:
        self._settings = settings
        self._cluster = cluster
        self._recorder = recorder
        self._memory = memory
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="assay-pods", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """End, waiting at most `timeout` seconds. What was not recorded yet is found again by the next list."""
        self._stopping.set()
        loop, work = self._loop, self._work
        if loop is not None and work is not None and not loop.is_closed():
            loop.call_soon_threadsafe(work.cancel)
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._main())
            except asyncio.CancelledError:
                return
            except AssayError as exc:
                log.error("watching pods failed, again in %.0f s: %s", RETRY, exc)  # noqa: TRY400 - the cause is in it
            except Exception:
                log.exception("watching pods failed, again in %.0f s", RETRY)
            self._stopping.wait(RETRY)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = asyncio.current_task()
        if self._stopping.is_set():
            return
        recording = Recording(self._recorder)
        follower = Follower(self._cluster, tell=recording.put, clock=lambda: datetime.now(UTC))
        known = await asyncio.to_thread(self._memory.open_runs, self._cluster)
        follower.resume(open_run(record) for record in known)
        before = await asyncio.to_thread(self._memory.last_watched, self._cluster)

        def listed(pods: Mapping[Key, SeenPod], last_sign: float | None) -> None:
            silent = timedelta(seconds=time.monotonic() - last_sign) if last_sign is not None else None
            since = datetime.now(UTC) - silent if silent is not None else before
            follower.listed(pods, unwatched_since=since)

        client = await ClusterClient.connect(self._settings)
        try:
            mirror = Mirror(
                client, PODS, project=pod_of, changed=_nothing, window=WINDOW, listed=listed, told=follower.changed
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(recording.run(), name="record sightings")
                tasks.create_task(mirror.run(), name="mirror pods")
        finally:
            await client.close()


def open_run(record: RunRecord) -> OpenRun:
    """A run as the inventory has it."""
    pod = SeenPod(
        namespace=record.namespace,
        name=record.pod,
        uid=record.pod_uid,
        node=record.node,
        service_account=record.service_account,
        owner=record.owner,
    )
    run = Run(
        kind=ContainerKind(record.kind),
        container=record.container,
        id=record.run,
        image=record.reference,
        image_id=record.image_id,
        repository="",
        digest=record.digest or "",
        started_at=record.started_at,
    )
    return OpenRun(pod, run)


def _nothing() -> None:
    """Each change is told by itself."""
