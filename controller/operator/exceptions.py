"""What time alone makes of exceptions: their status, their metrics, and the Events that tell of an end that is near.

No verdict waits for any of it: each review compares an exception's end with its own clock. This is how people learn.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from controller import telemetry
from controller.cluster.client import CONFLICT, ClusterClient
from controller.errors import AssayError
from controller.model.exception import EvidenceException
from controller.model.policy import Problem
from controller.operator.resources import EXCEPTIONS, GROUP, VERSION
from controller.operator.status import Condition, object_conditions
from controller.policy.exception_index import ExceptionIndex
from controller.policy.exceptions import fault
from controller.policy.index import PolicyIndex
from controller.settings import Seconds

logger = logging.getLogger(__name__)

INTERVAL = 30.0  # seconds between looks at what time made of exceptions, if nothing changes earlier
BREAK_GLASS_SOON = Seconds(1800)  # before its end at which a break-glass exception is told of
MAX_MEASURED = 1000  # exceptions with a metric of their own, the nearest ends first: bounds the labels
MAX_NOTE = 1000  # characters of an Event's note; the API server takes 1,024
EVENTS_NAMESPACE = "default"  # where Events about cluster-scoped objects have to be
EVENTS_PATH = f"/apis/events.k8s.io/v1/namespaces/{EVENTS_NAMESPACE}/events"
BREAK_GLASS, EXPIRES_SOON, EXPIRED = "BreakGlass", "ExpiresSoon", "Expired"


def exception_conditions(
    name: str, exceptions: ExceptionIndex, *, policies: PolicyIndex, generation: int, now: datetime
) -> tuple[Condition, ...]:
    """The conditions of an exception at this time; none if it is not known in this version yet."""
    problems = exceptions.problems.get(name)
    if problems:
        return object_conditions(problems, ready="")
    exception = exceptions.by_name(name)
    if exception is None or exception.generation != generation:
        return ()
    found = fault(exception, now=now, settings=exceptions.settings)
    if found is not None:
        return object_conditions((found,), ready="", accepted=found.code == EXPIRED)
    missing = [policy for policy in exception.policies if policies.by_name(policy) is None]
    if missing:
        named = ", ".join("/".join(part for part in policy if part) for policy in missing[:10])
        problem = Problem("PolicyMissing", "spec.policies", f"there is no {named}; it excepts nothing from what is not")
        return object_conditions((problem,), ready="", accepted=True)
    reason = EXPIRES_SOON if is_soon(exception, exceptions, now) else "InForce"
    ready = f"Excepts until {_time(exception.expires)}, approved by {exception.approver}."
    return object_conditions((), ready=ready, reason=reason)


def is_soon(exception: EvidenceException, exceptions: ExceptionIndex, now: datetime) -> bool:
    """Whether the end is so near that people are told."""
    return _soon_from(exception, exceptions) <= now < exception.expires


def next_change(exceptions: ExceptionIndex, now: datetime) -> datetime | None:
    """When time alone will next change what is said of an exception; None if it never will."""
    moments = [
        moment
        for exception in exceptions
        for moment in (_soon_from(exception, exceptions), exception.expires)
        if moment > now
    ]
    return min(moments, default=None)


@dataclass(frozen=True, slots=True)
class Telling:
    """One Event, and by what it is known to be written already."""

    key: tuple[str, str, str]
    body: Mapping[str, Any]


def tellings(exceptions: ExceptionIndex, objects: Iterable[Mapping[str, Any]], *, now: datetime) -> Iterator[Telling]:
    """The Events that are due, each once for a version of an exception: the glass is broken, the end is near or here.

    An end is told of for as long again as it was told of beforehand: who starts Assay anew hears no old stories.
    """
    for obj in objects:
        exception = exceptions.by_name(obj["metadata"]["name"])
        if exception is None:
            continue
        until = f"{_time(exception.expires)}, approved by {exception.approver}: {exception.reason}"
        if fault(exception, now=now, settings=exceptions.settings) is None:
            if exception.break_glass:
                yield _telling(BREAK_GLASS, exception, obj, f"The glass is broken until {until}", now=now)
            if is_soon(exception, exceptions, now):
                yield _telling(EXPIRES_SOON, exception, obj, f"Excepts until {until}", now=now)
        lead = exception.expires - _soon_from(exception, exceptions)
        last = exception.expires - timedelta(microseconds=1)
        was_in_force = fault(exception, now=last, settings=exceptions.settings) is None
        if was_in_force and timedelta(0) <= now - exception.expires <= lead:
            note = f"Ended at {_time(exception.expires)}; what it named is judged like everything else"
            yield _telling(EXPIRED, exception, obj, note, now=now)


def _now() -> datetime:
    return datetime.now(UTC)


class ExceptionWatch:
    """Looks at the exceptions whenever time or a new picture may have changed what is to be said of them.

    `current` gives the exceptions of the last picture, `objects` the objects that they were made of; `changed` is
    called when statuses are due. Without a `client` it only measures: webhook replicas write nothing.
    """

    def __init__(
        self,
        current: Callable[[], ExceptionIndex | None],
        *,
        objects: Callable[[], Iterable[Mapping[str, Any]]],
        client: ClusterClient | None,
        changed: Callable[[], None],
        clock: Callable[[], datetime] = _now,
    ) -> None:
        self._current = current
        self._objects = objects
        self._client = client
        self._changed = changed
        self._clock = clock
        self._told: set[tuple[str, str, str]] = set()
        self._look = asyncio.Event()

    def look(self) -> None:
        """There is a new picture."""
        self._look.set()

    async def run(self) -> None:
        """Look for ever."""
        while True:
            self._look.clear()
            change: datetime | None = None
            now, exceptions = self._clock(), self._current()
            if exceptions is not None:
                change = next_change(exceptions, now)
                measure(exceptions, now=now)
                await self._tell(exceptions, now)
            pause = INTERVAL if change is None else min(INTERVAL, (change - now).total_seconds())
            try:
                await asyncio.wait_for(self._look.wait(), pause)
            except TimeoutError:
                if change is not None and change <= self._clock():
                    self._changed()

    async def _tell(self, exceptions: ExceptionIndex, now: datetime) -> None:
        if self._client is None:
            return
        due = {telling.key: telling for telling in tellings(exceptions, self._objects(), now=now)}
        self._told &= due.keys()
        for key, telling in due.items():
            if key in self._told:
                continue
            try:
                await self._client.create(EVENTS_PATH, telling.body)
            except AssayError as exc:
                if exc.code != CONFLICT:  # else another run of Assay has told it
                    logger.warning("cannot write an Event about an exception, the rest waits: %s", exc)
                    return
            self._told.add(key)


def measure(exceptions: ExceptionIndex, *, now: datetime) -> None:
    """Set the metrics of exceptions: each one's end, and how many are in which state."""
    states = dict.fromkeys(("in-force", "expiring-soon", "idle"), 0)
    states["idle"] = len(exceptions.problems)
    in_force: list[EvidenceException] = []
    for exception in exceptions:
        if fault(exception, now=now, settings=exceptions.settings) is not None:
            states["idle"] += 1
            continue
        in_force.append(exception)
        states["expiring-soon" if is_soon(exception, exceptions, now) else "in-force"] += 1
    for state, count in states.items():
        telemetry.EXCEPTIONS.labels(state).set(count)
    nearest = sorted(in_force, key=lambda each: (each.expires, each.name))[:MAX_MEASURED]
    wanted = {(each.name, str(each.break_glass).lower()): each.expires.timestamp() for each in nearest}
    (shown,) = telemetry.EXCEPTION_EXPIRES.collect()
    for labels in {(s.labels["exception"], s.labels["break_glass"]) for s in shown.samples} - wanted.keys():
        telemetry.EXCEPTION_EXPIRES.remove(*labels)
    for labels, end in wanted.items():
        telemetry.EXCEPTION_EXPIRES.labels(*labels).set(end)


def _soon_from(exception: EvidenceException, exceptions: ExceptionIndex) -> datetime:
    soon = exceptions.settings.exception_expires_soon
    if exception.break_glass:
        soon = min(soon, BREAK_GLASS_SOON)
    lead = min(soon, (exception.expires - datetime.min.replace(tzinfo=UTC)).total_seconds())
    return exception.expires - timedelta(seconds=lead)


def _telling(reason: str, exception: EvidenceException, obj: Mapping[str, Any], note: str, *, now: datetime) -> Telling:
    metadata = obj["metadata"]
    version = exception.hash.removeprefix("sha256:")[:16]
    moment = now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    body = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{exception.name[:200].rstrip('.-')}.{version}.{reason.lower()}",
            "namespace": EVENTS_NAMESPACE,
        },
        "eventTime": moment,
        "reportingController": f"{GROUP}/operator",
        "reportingInstance": socket.gethostname()[:128] or "assay",
        "action": "Except" if reason == BREAK_GLASS else "Expire",
        "reason": reason,
        "type": "Normal" if reason == EXPIRED else "Warning",
        "regarding": {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": EXCEPTIONS.kind,
            "name": exception.name,
            "uid": metadata.get("uid", ""),
            "resourceVersion": metadata.get("resourceVersion", ""),
        },
        "note": note[:MAX_NOTE],
    }
    return Telling(key=(metadata.get("uid", ""), exception.hash, reason), body=body)


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
