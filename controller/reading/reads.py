"""Each read by somebody who is known becomes a record of the ledger before its answer leaves (setting `log_reads`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from starlette.types import Scope

from controller.inventory.asking.reads import Logged, Read, leaf
from controller.model.deadline import Deadline
from controller.model.workload import User
from controller.reading.access import ASKED, WHO
from controller.review.ports import Recorder

SECONDS = 5.0  # for one record: who reads waits for it


class ReadRecorder:
    """Records reads. What was refused or is not there showed nothing, and is no read."""

    def __init__(self, recorder: Recorder, *, logged: Logged, cluster: str, clock: Callable[[], datetime]) -> None:
        self._recorder = recorder
        self._logged = logged
        self._cluster = cluster
        self._clock = clock

    def covers(self, scope: Scope, status: int) -> bool:
        """Whether this answer is to be recorded first."""
        return status < 400 and (read := _read(scope, status, None)) is not None and self._is_covered(read)

    async def record(self, scope: Scope, status: int, body: bytes | None) -> None:
        """Return once it is durable that this answer is given. `body` is JSON, None of what goes out as a stream.

        Raises `RecordingFailed`.
        """
        read = _read(scope, status, body)
        if read is not None and self._is_covered(read):
            value = leaf(read, cluster=self._cluster, now=self._clock())
            await self._recorder.record(value, blobs={}, deadline=Deadline.after(SECONDS))

    def _is_covered(self, read: Read) -> bool:
        return self._logged.covers(verb=read.verb, resource=read.resource)


def _read(scope: Scope, status: int, body: bytes | None) -> Read | None:
    """What was read; None where nobody is known to have asked, or for what anybody may see."""
    state = scope.get("state", {})
    user: User | None = state.get(WHO)
    asked: tuple[str, str] | None = state.get(ASKED)
    if user is None or asked is None:
        return None
    verb, namespace = asked
    parts = [part for part in scope["path"].split("/") if part]
    parameters = parse_qs(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
    return Read(
        username=user.username,
        via="REST",
        verb=verb,
        resource=parts[2] if parts[:2] == ["api", "v1"] else parts[0],
        namespace=namespace,
        identity="/".join(map(str, scope.get("path_params", {}).values())),
        parameters=parameters,
        status=status,
        count=None if body is None else _count(body),
    )


def _count(body: bytes) -> int | None:
    if not body:
        return 0
    value: Any = json.loads(body)
    listed = next((value[name] for name in ("items", "rows") if isinstance(value.get(name), list)), None)
    return 1 if listed is None else len(listed)
