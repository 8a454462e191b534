"""Keeps a collection of the cluster mirrored in memory: list page by page, then watch with bookmarks, for ever.

The mirror is what the API server has, some milliseconds late; when the connection breaks it resumes where it was, and
when the server no longer knows that place (410) it lists anew, so that a deletion in between is noticed. What is kept
of each object is a projection, so that the size of Assay does not follow the size of the cluster's objects.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from controller.cluster.client import DENIED, EXPIRED, ClusterClient, error_of_status
from controller.errors import AssayError, Unacceptable

logger = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]
"""(namespace, name); the namespace is empty for what has none."""

FIRST_PAUSE = 0.2  # seconds before the first retry
LONGEST_PAUSE = 30.0  # seconds: bounds how long a mended API server is not noticed
UNREADABLE = "ClusterAnswerMalformed"
SILENCE_MARGIN = 10.0  # seconds past the window in which the server should have ended the watch


class Mirror(Generic[T]):
    """One collection, mirrored.

    `project` makes of an object what is kept, None meaning *not kept*; it must not raise. `changed` is called on this
    loop after each change. `window`: seconds after which the server is asked to end each watch; the next one begins
    where it ended, so that a sign of life comes at least that often even where nothing happens.

    `listed` is given each whole list, and when the last sign before it was (None: there was none); `told` each change
    of one object after it, None meaning that it is gone.
    """

    def __init__(
        self,
        client: ClusterClient,
        path: str,
        *,
        project: Callable[[Mapping[str, Any]], T | None],
        changed: Callable[[], None],
        query: Mapping[str, str] | None = None,
        window: float = 60.0,
        listed: Callable[[Mapping[Key, T], float | None], None] | None = None,
        told: Callable[[Key, T | None], None] | None = None,
    ) -> None:
        self.path = path
        self.synced = asyncio.Event()
        self.tried = asyncio.Event()  # it was listed, or could not be
        self.trouble = ""  # the reason code of what stands in the way now
        self.last_sign: float | None = None  # of the monotonic clock; None before the first whole list
        self._client = client
        self._project = project
        self._changed = changed
        self._query = dict(query or {})
        self._window = window
        self._listed = listed
        self._told = told
        self._items: dict[Key, T] = {}
        self._version = ""

    @property
    def items(self) -> Mapping[Key, T]:
        """What there is now. Read it on the mirror's own loop, copy it for others."""
        return MappingProxyType(self._items)

    async def run(self) -> None:
        """Mirror until cancelled. Errors are logged and tried again, with growing pauses."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
                await asyncio.sleep(_pause(1))
            except (AssayError, LookupError, TypeError, AttributeError) as error:
                exc = error if isinstance(error, AssayError) else _unreadable(error)
                self.trouble = exc.code
                self.tried.set()
                if exc.code in {EXPIRED, UNREADABLE}:
                    self._version = ""
                failures += 1
                level = logging.ERROR if exc.code == DENIED else logging.WARNING if failures > 1 else logging.INFO
                # A server that has forgotten the place is up: listing anew need not wait for long.
                pause = max(
                    _pause(min(failures, 3) if exc.code == EXPIRED else failures),
                    getattr(exc, "retry_after", None) or 0.0,
                )
                logger.log(level, "cannot watch %s, again in %.1f s: %s", self.path, pause, exc)
                await asyncio.sleep(min(pause, LONGEST_PAUSE))

    async def _list(self) -> None:
        items: dict[Key, T] = {}
        version = ""
        async for page in self._client.pages(self.path, query=self._query):
            version = page["metadata"]["resourceVersion"]
            for obj in page.get("items") or ():
                kept = self._project(obj)
                if kept is not None:
                    items[key_of(obj)] = kept
        if self._listed is not None:
            self._listed(items, self.last_sign)
        self._items = items
        self._version = version
        self._sign()
        self.synced.set()
        self.tried.set()
        self._changed()

    async def _watch(self) -> None:
        query = {
            **self._query,
            "resourceVersion": self._version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(self._window))),
        }
        async for event in self._client.stream(self.path, query=query, silence=self._window + SILENCE_MARGIN):
            self._take(event)
        self._sign()  # ended by the server as asked for: it was alive to its end

    def _take(self, event: Mapping[str, Any]) -> None:
        kind, obj = event["type"], event["object"]
        if kind == "ERROR":
            raise error_of_status(int(obj.get("code") or 500), str(obj.get("message", ""))[:200])
        self._version = obj["metadata"]["resourceVersion"]
        self._sign()
        if kind == "BOOKMARK":
            return
        key = key_of(obj)
        kept = None if kind == "DELETED" else self._project(obj)
        if kept is None:
            if self._items.pop(key, None) is None:
                return
        elif self._items.get(key) == kept:
            return
        else:
            self._items[key] = kept
        if self._told is not None:
            self._told(key, kept)
        self._changed()

    def _sign(self) -> None:
        self.last_sign = time.monotonic()
        self.trouble = ""


def key_of(obj: Mapping[str, Any]) -> Key:
    """An object's namespace and name."""
    metadata = obj["metadata"]
    return metadata.get("namespace") or "", metadata["name"]


def _unreadable(error: Exception) -> AssayError:
    return Unacceptable(UNREADABLE, f"the API server's answer is not what a watch gives: {type(error).__name__}")


def _pause(failures: int) -> float:
    longest: float = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 16))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
