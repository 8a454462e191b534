"""The Secrets and ConfigMaps that policies and trust roots refer to, each watched, so that no review asks for any.

Each is watched by its own name (`fieldSelector metadata.name=…`): Assay asks for no Secret that no policy names, and
keeps only the keys that are named. The connections are of a client of their own, since each watch holds one; their
number is bounded: Assay's own namespace first, then the others in turns, so that none takes what another needs.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.cluster.client import ClusterClient
from controller.cluster.watch import Mirror
from controller.policy.references import SECRET, Materials, ObjectRef, Value, only

logger = logging.getLogger(__name__)

MAX_WATCHED = 256  # objects in all: each is a connection to the API server
MAX_WATCHED_OF_A_TENANT = 16  # objects of one namespace that is not Assay's own


@dataclass(frozen=True, slots=True)
class _Watched:
    keys: frozenset[str]
    mirror: Mirror[Mapping[str, Value]]
    task: asyncio.Task[None]


class References:
    """What is referred to, as the cluster has it. Belongs to the loop that it was made on.

    `namespace` is Assay's own. `changed` is called on this loop after each change. What gave no sign for `max_age`
    seconds is no longer believed: an Error instead of a key that may have been taken away.
    """

    def __init__(
        self,
        client: ClusterClient,
        *,
        namespace: str,
        changed: Callable[[], None],
        window: float,
        max_age: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._namespace = namespace
        self._changed = changed
        self._window = window
        self._max_age = max_age
        self._clock = clock
        self._watched: dict[ObjectRef, _Watched] = {}
        self._beyond: frozenset[ObjectRef] = frozenset()

    async def want(self, wanted: Mapping[ObjectRef, frozenset[str]], *, timeout: float) -> None:
        """Watch exactly these from now on.

        Returns once each was read or could not be, or after `timeout` seconds: what comes later is a change.
        """
        chosen = within_bounds(wanted, namespace=self._namespace)
        self._beyond = frozenset(wanted.keys() - chosen.keys())
        for ref, watched in list(self._watched.items()):
            if chosen.get(ref) != watched.keys:
                del self._watched[ref]
                watched.task.cancel()
        for ref, keys in chosen.items():
            if ref not in self._watched:
                self._watched[ref] = self._watch(ref, keys)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for watched in self._watched.values():
                    await watched.mirror.tried.wait()

    def materials(self) -> Materials:
        """What there is now."""
        objects: dict[ObjectRef, Mapping[str, Value]] = {}
        many = f"more are referred to than are watched ({MAX_WATCHED_OF_A_TENANT} of a namespace, {MAX_WATCHED} in all)"
        unread = dict.fromkeys(self._beyond, many)
        for ref, watched in self._watched.items():
            why = self._silence(watched.mirror)
            if why:
                unread[ref] = why
                continue
            found = watched.mirror.items.get((ref.namespace, ref.name))
            if found is not None:
                objects[ref] = found
        return Materials(namespace=self._namespace, objects=objects, unread=unread)

    def silent(self) -> frozenset[ObjectRef]:
        """What is not believed, or not yet: of which no sign came, or none for too long."""
        return frozenset(ref for ref, watched in self._watched.items() if self._silence(watched.mirror))

    async def close(self) -> None:
        """End all watches."""
        tasks = [watched.task for watched in self._watched.values()]
        self._watched.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self, ref: ObjectRef, keys: frozenset[str]) -> _Watched:
        plural = "secrets" if ref.kind == SECRET else "configmaps"
        mirror: Mirror[Mapping[str, Value]] = Mirror(
            self._client,
            f"/api/v1/namespaces/{ref.namespace}/{plural}",
            project=lambda obj: only(data_of(ref.kind, obj), keys),
            changed=self._changed,
            query={"fieldSelector": f"metadata.name={ref.name}"},
            window=self._window,
        )
        task = asyncio.get_running_loop().create_task(mirror.run(), name=f"mirror {ref}")
        task.add_done_callback(lambda done: _report(ref, done))
        return _Watched(keys, mirror, task)

    def _silence(self, mirror: Mirror[Mapping[str, Value]]) -> str:
        if mirror.last_sign is None:
            return f"the API server did not give it ({mirror.trouble or 'not yet'})"
        age = self._clock() - mirror.last_sign
        return f"no sign of it for {age:.0f} s (bound: snapshot_max_age {self._max_age:g} s)" * (age > self._max_age)


def within_bounds(wanted: Mapping[ObjectRef, frozenset[str]], *, namespace: str) -> Mapping[ObjectRef, frozenset[str]]:
    """Of what is wanted as much as is watched: all of Assay's own namespace, then the others in turns.

    Each other namespace's first comes before anybody's second, so that who refers to much takes nothing from the rest.
    """
    turns: list[tuple[int, ObjectRef]] = []
    taken: Counter[str] = Counter()
    for ref in sorted(wanted):
        turns.append((0 if ref.namespace == namespace else taken[ref.namespace], ref))
        taken[ref.namespace] += 1
    turns.sort(key=lambda turn: (turn[1].namespace != namespace, *turn))
    fitting = [ref for turn, ref in turns if turn < MAX_WATCHED_OF_A_TENANT]
    return {ref: wanted[ref] for ref in fitting[:MAX_WATCHED]}


def data_of(kind: str, obj: Mapping[str, Any]) -> dict[str, bytes]:
    """The data of a Secret or ConfigMap."""
    return _decoded(obj) if kind == SECRET else _encoded(obj)


def _decoded(obj: Mapping[str, Any]) -> dict[str, bytes]:
    """A Secret's data. What is no base64 is empty, and so no key: the API server stores none such."""
    found = {}
    for key, text in (obj.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError, TypeError):
            found[key] = b""
    return found


def _encoded(obj: Mapping[str, Any]) -> dict[str, bytes]:
    """A ConfigMap's data."""
    return {key: str(text).encode(errors="replace") for key, text in (obj.get("data") or {}).items()}


def _report(ref: ObjectRef, task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        # Its last word is believed for max_age, then no longer. The type alone: a message may quote what was read.
        logger.error("watching %s ended: %s", ref, type(task.exception()).__name__)
