"""Watches how policies and exceptions come and go, beside the snapshot that is made of them: nothing waits for it, and
what fails here fails here alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from controller.cluster.client import ClusterClient
from controller.errors import AssayError
from controller.inventory.records import ResourceVersion
from controller.operator.keeper import Keeper, Picture
from controller.operator.recording import Recording
from controller.operator.resources import Resource
from controller.operator.versions import RECORDED, Chronicle, Version, read, seen_in
from controller.review.ports import Recorder

RETRY = 5.0  # seconds before it is begun anew after it failed, or asked again whether something is gone
TOGETHER = 50  # objects that are read before others have their turn on the loop

log = logging.getLogger(__name__)


class Memory(Protocol):
    """What the inventory knows from before."""

    def resources(self, cluster: str) -> Sequence[ResourceVersion]:
        """Every policy and exception that is not known to be gone. Raises `Unavailable`."""
        ...

    def deletions(self, cluster: str, uids: Collection[str]) -> Mapping[str, int]:
        """How often each of these objects was seen to be deleted. Raises `Unavailable`."""
        ...


@dataclass(frozen=True, slots=True)
class Inventory:
    """Where it is recorded, and what is known from before."""

    cluster: str
    recorder: Recorder
    memory: Memory


class VersionWatch:
    """Follows a keeper's objects. `picture` gives what the last picture made of them, `relist` asks for a new list."""

    def __init__(
        self,
        inventory: Inventory,
        *,
        keeper: Keeper,
        picture: Callable[[], Picture | None],
        client: ClusterClient,
        relist: Callable[[Resource], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._inventory = inventory
        self._keeper = keeper
        self._picture = picture
        self._client = client
        self._relist = relist
        self._clock = clock
        self._look = asyncio.Event()
        self._before: dict[str, int] = {}  # how many lists of a kind were asked for before the inventory had answered
        self._read: dict[str, int] = {}  # the generation in which each object was read last, by its uid

    def look(self) -> None:
        """There is a new picture: every kind was listed whole, and what is gone is gone by such a list."""
        self._look.set()

    async def run(self) -> None:
        """Follow for ever. What was not recorded when this failed is found again: by then the inventory lacks it."""
        while True:
            try:
                await self._follow()
            except Exception as exc:  # whatever it was: policies are enforced all the same
                causes = exc.exceptions if isinstance(exc, ExceptionGroup) else (exc,)
                known = all(isinstance(cause, AssayError) for cause in causes)
                why = "; ".join(map(str, causes))
                log.error("following policies failed, again in %.0f s: %s", RETRY, why, exc_info=None if known else exc)  # noqa: TRY400
            self._look.set()
            await asyncio.sleep(RETRY)

    async def _follow(self) -> None:
        recording = Recording(self._inventory.recorder)
        chronicle = Chronicle(self._inventory.cluster, tell=recording.put, clock=self._clock)
        chronicle.resume(await asyncio.to_thread(self._inventory.memory.resources, self._inventory.cluster))
        self._before = {kind: self._keeper.begun(resource) for kind, resource in RECORDED.items()}
        self._read.clear()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(recording.run(), name="record versions")
            tasks.create_task(self._looks(chronicle), name="look for versions")

    async def _looks(self, chronicle: Chronicle) -> None:
        while True:
            await self._look.wait()
            self._look.clear()
            picture = self._picture()
            if picture is not None:
                await self._see(chronicle, picture)

    async def _see(self, chronicle: Chronicle, picture: Picture) -> None:
        found = seen_in(self._keeper.objects(*RECORDED.values()))
        # What another replica recorded may be newer than a list that was asked for before the inventory was read.
        missed = {version.kind for version in chronicle.missed(found)}
        if missed and found and not any(map(chronicle.knows, found)):
            log.warning(
                "no policy or exception that the inventory knows of the cluster %s is here, where there are others: "
                "does another cluster of that name record in the same database? Each needs its own (cluster_name)",
                self._inventory.cluster,
            )
        unsure = {kind for kind in missed if self._keeper.whole(RECORDED[kind]) <= self._before[kind]}
        for kind in unsure:
            self._relist(RECORDED[kind])
        for kind in sorted(missed - unsure):
            if not await self._is_defined(kind):
                unsure.add(kind)
        versions: list[Version] = []
        for number, (uid, (seen, obj)) in enumerate(found.items(), start=1):
            if self._read.get(uid) != seen.generation and (version := read(seen, obj, picture, now=self._clock())):
                versions.append(version)
            if number % TOGETHER == 0:
                await asyncio.sleep(0)
        cluster, memory = self._inventory.cluster, self._inventory.memory
        new = [version.seen.uid for version in versions if not chronicle.knows(version.seen.uid)]
        lives = await asyncio.to_thread(memory.deletions, cluster, new) if new else {}
        chronicle.follow({uid: seen for uid, (seen, _) in found.items()}, versions, lives=lives, unsure=unsure)
        self._read = {uid: read for uid, read in self._read.items() if uid in found}
        self._read.update((version.seen.uid, version.seen.generation) for version in versions)
        if unsure:
            asyncio.get_running_loop().call_later(RETRY, self._look.set)

    async def _is_defined(self, kind: str) -> bool:
        """Whether the kind's definition is there, and stays: one that is being deleted takes its objects with it, which
        nobody took out, and which go on binding what knows them."""
        try:
            definition = await self._client.get(RECORDED[kind].definition)
        except AssayError as exc:
            log.warning("whether %s are gone is not known, again in %.0f s: %s", RECORDED[kind].plural, RETRY, exc)
            return False
        return not definition["metadata"].get("deletionTimestamp")
