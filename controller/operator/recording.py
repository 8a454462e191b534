"""Facts that the operator saw, on their way into the inventory: nobody who watches waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from controller import telemetry
from controller.errors import AssayError
from controller.model.deadline import Deadline
from controller.model.reference import Digest
from controller.review.ports import Recorder

MAX_WAITING = 200_000  # facts that wait to be recorded while the inventory cannot: past it the oldest make room
AT_ONCE = 64  # facts recorded side by side: one group commit
RETRY = 2.0  # seconds before facts are tried again that could not be recorded
TIMEOUT = 30.0  # seconds for one record
HOPELESS = frozenset({"LeafMalformed", "LeafConflict", "RecordTooLarge", "DatabaseRefused"})  # the same at any time
NO_BLOBS: Mapping[Digest, bytes] = MappingProxyType({})

log = logging.getLogger(__name__)

_Fact = tuple[dict[str, Any], Mapping[Digest, bytes]]


class Recording:
    """Records facts in their order, until each is durable. Belongs to one event loop."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._waiting: deque[_Fact] = deque()
        self._some = asyncio.Event()

    def put(self, leaf: dict[str, Any], blobs: Mapping[Digest, bytes] = NO_BLOBS) -> None:
        """Take a fact, and the raw bytes that it names. Past `MAX_WAITING` the oldest is lost, and counted."""
        if len(self._waiting) >= MAX_WAITING:
            self._waiting.popleft()
            telemetry.SIGHTINGS_LOST.inc()
        self._waiting.append((leaf, blobs))
        self._some.set()

    async def run(self) -> None:
        """Record until cancelled."""
        while True:
            await self._some.wait()
            group = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
            if not self._waiting:
                self._some.clear()
            answers = await asyncio.gather(*map(self._record, group), return_exceptions=True)
            failed: list[_Fact] = []
            error: BaseException | None = None
            for fact, answer in zip(group, answers, strict=True):
                if isinstance(answer, AssayError) and answer.code in HOPELESS:
                    telemetry.SIGHTINGS_LOST.inc()
                    log.error("fact %s is none that can be recorded: %s", fact[0]["id"], answer)
                elif isinstance(answer, BaseException):
                    failed.append(fact)
                    error = answer
            for fact in reversed(failed):
                self._waiting.appendleft(fact)
            if error is not None:
                if not isinstance(error, AssayError):
                    raise error
                log.warning("%d facts could not be recorded, again in %.0f s: %s", len(failed), RETRY, error)
                self._some.set()
                await asyncio.sleep(RETRY)

    async def _record(self, fact: _Fact) -> None:
        leaf, blobs = fact
        await self._recorder.record(leaf, blobs=blobs, deadline=Deadline.after(TIMEOUT))
        telemetry.SIGHTINGS.labels(leaf["verdict"]).inc()
