"""kopf, as far as Assay uses it: the watches of Assay's own four resources, in a thread and loop of their own.

kopf brings an event within milliseconds, and that is all that it is asked for. It writes nothing (no annotations, no
finalizers, no Kubernetes Events), knows no peers (a paused peer does not watch) and does not decide what is gone: after
a broken watch it does not tell of objects deleted meanwhile, which is why `service` lists as well. When kopf ends it
cancels foreign tasks on its loop, hence the loop of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
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
POLL = 0.2  # seconds between looks whether the CRDs are there
WATCH_WINDOW = 240  # seconds after which the server ends a watch and kopf resumes it
CHATTY = ("kopf.objects", "kopf._core.reactor.running")  # loggers with a line for each event handled
FAREWELL = 0.5  # seconds in which kopf's connections are closed before their loop is; aiohttp asks for 0.25
SILENCE = 90.0  # seconds without an event or bookmark after which kopf reconnects


class EventThread:
    """Runs kopf until it is stopped, again and again if it fails.

    kopf looks for the four CRDs once, when it starts, and dies when one goes away: it is started when `may_start`.
    """

    def __init__(
        self, *, on_event: OnEvent, login: Callable[[], kopf.ConnectionInfo], may_start: Callable[[], bool]
    ) -> None:
        self._on_event = on_event
        self._login = login
        self._may_start = may_start
        self._stop = threading.Event()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._thread = threading.Thread(target=self._run, name="assay-kopf", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        for name in CHATTY:
            logging.getLogger(name).setLevel(logging.ERROR)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Ask kopf to end and wait for it at most `timeout` seconds."""
        self._stop.set()
        if self._running is not None:
            loop, flag = self._running
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(flag.set)
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            if not self._may_start():
                self._stop.wait(POLL)
                continue
            try:
                asyncio.run(self._operate())
                pause = FIRST_PAUSE
            except Exception as exc:  # noqa: BLE001 - whatever kopf died of, the watch must come back
                # kopf has logged it whole; lists keep the snapshot right meanwhile.
                logger.warning("watching Assay's resources failed, again in %.0f s: %s", pause, type(exc).__name__)
                pause = min(pause * 2, LONGEST_PAUSE)
            self._stop.wait(pause)

    async def _operate(self) -> None:
        # An asyncio flag: for a threading one kopf keeps a thread waiting, which the interpreter's end would wait for.
        flag = asyncio.Event()
        self._running = asyncio.get_running_loop(), flag
        if self._stop.is_set():
            return
        try:
            await kopf.operator(
                registry=make_registry(on_event=self._on_event, login=self._login),
                settings=make_settings(),
                standalone=True,
                clusterwide=True,
                stop_flag=flag,
            )
        finally:
            # kopf closes its session, but TLS says goodbye in turns of the loop that must still come.
            await asyncio.sleep(FAREWELL)


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
