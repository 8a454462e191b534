"""kopf, as far as Assay uses it: the watches of Assay's own four resources, in a thread and loop of their own.

kopf brings an event within milliseconds, and that is all that it is asked for. It writes nothing (no annotations, no
finalizers, no Kubernetes Events), knows no peers (a paused peer does not watch) and does not decide what is gone: after
a broken watch it does not tell of objects deleted meanwhile, which is why `service` lists as well. When kopf ends it
cancels foreign tasks on its loop, hence the loop of its own.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from controller.operator.resources import GROUP, RESOURCES, VERSION, Resource

logger = logging.getLogger(__name__)

OnEvent = Callable[[Resource, str | None, Mapping[str, Any]], None]
"""(resource, ADDED | MODIFIED | DELETED | None for the first list, object). Called on kopf's thread."""

FIRST_PAUSE = 1.0  # seconds before kopf is started again after it failed
LONGEST_PAUSE = 30.0  # seconds; lists go on meanwhile
WATCH_WINDOW = 240  # seconds after which the server ends a watch and kopf resumes it
SILENCE = 90.0  # seconds without an event or bookmark after which kopf reconnects


class EventThread:
    """Runs kopf until it is stopped, again and again if it fails."""

    def __init__(self, *, on_event: OnEvent, login: Callable[[], kopf.ConnectionInfo]) -> None:
        self._on_event = on_event
        self._login = login
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="assay-kopf", daemon=True)

    def start(self) -> None:
        """Begin to watch. The four CRDs should be there: kopf looks for them once, when it starts."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ask kopf to end and wait for it at most `timeout` seconds."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            try:
                asyncio.run(self._operate())
                pause = FIRST_PAUSE
            except Exception:
                # Whatever kopf died of, the watch must come back; lists keep the snapshot right meanwhile.
                logger.exception("watching Assay's resources failed, again in %.0f s", pause)
                pause = min(pause * 2, LONGEST_PAUSE)
            self._stop.wait(0 if self._stop.is_set() else pause)

    async def _operate(self) -> None:
        await kopf.operator(
            registry=make_registry(on_event=self._on_event, login=self._login),
            settings=make_settings(),
            standalone=True,
            clusterwide=True,
            stop_flag=self._stop,
        )


def make_registry(*, on_event: OnEvent, login: Callable[[], kopf.ConnectionInfo]) -> kopf.OperatorRegistry:
    """kopf's handlers: one `on.event` a resource, and where the API server is."""
    registry = kopf.OperatorRegistry()

    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return await asyncio.to_thread(login)

    kopf.on.login(registry=registry, id="login")(log_in)
    for resource in RESOURCES:
        handler = _handler(resource, on_event)
        kopf.on.event(GROUP, VERSION, resource.plural, registry=registry, id=f"see-{resource.plural}")(handler)
    return registry


def make_settings() -> kopf.OperatorSettings:
    """kopf's settings: silent, and never the one to kill the process."""
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True  # needs no right to watch all CRDs of the cluster
    settings.process.ultimate_exiting_timeout = None  # would be a SIGKILL to the webhook, which shares the process
    settings.watching.server_timeout = WATCH_WINDOW
    settings.watching.inactivity_timeout = SILENCE
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (0.2, 0.5, 1, 2, 5)
    return settings


def _handler(resource: Resource, on_event: OnEvent) -> Callable[..., Any]:
    async def see(event: Mapping[str, Any], **_: Any) -> None:
        on_event(resource, event.get("type"), event["object"])

    return see
