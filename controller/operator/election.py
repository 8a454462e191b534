"""Which of several processes does what only one should: who holds the Lease, in a thread and an event loop of its own.

So a busy loop elsewhere in the process never makes it lose what it holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import uuid
from collections.abc import Callable
from datetime import datetime

from controller.cluster.client import ClusterClient
from controller.cluster.leases import RETRY, Lease, LeaseName
from controller.errors import AssayError
from controller.settings import ClusterSettings

log = logging.getLogger(__name__)


class Election:
    """Stands for election until it is stopped."""

    def __init__(self, settings: ClusterSettings, *, clock: Callable[[], datetime]) -> None:
        self._settings = settings
        self._clock = clock
        self.identity = f"{socket.gethostname()}_{uuid.uuid4()}"  # two processes of one host are two
        self._lease: Lease | None = None
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="assay-election", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def leads(self) -> bool:
        """Whether this process holds the Lease. May be asked from any thread."""
        lease = self._lease
        return lease is not None and lease.held()

    def stop(self, timeout: float = 10.0) -> None:
        """Give the Lease back and end, waiting at most `timeout` seconds."""
        self._stopping.set()
        loop, work = self._loop, self._work
        if loop is not None and work is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
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
                log.error("standing for election failed, again in %.0f s: %s", RETRY, exc)  # noqa: TRY400 - it says why
            except Exception:
                log.exception("standing for election failed, again in %.0f s", RETRY)
            self._stopping.wait(RETRY)

    async def _main(self) -> None:
        self._loop, self._work = asyncio.get_running_loop(), asyncio.current_task()
        client = await ClusterClient.connect(self._settings)
        name = LeaseName(self._settings.assay_namespace, self._settings.lease)
        lease = self._lease = Lease(client, name, identity=self.identity, clock=self._clock)
        try:
            while not self._stopping.is_set():
                await self._look(lease)
                await asyncio.sleep(RETRY)
        finally:
            with contextlib.suppress(AssayError):  # then it runs out by itself
                await lease.release()
            await client.close()

    async def _look(self, lease: Lease) -> None:
        led = lease.held()
        try:
            leads = await lease.attempt()
        except AssayError as exc:  # what is held runs out by itself
            log.warning("the Lease %s cannot be asked for: %s", self._settings.lease, exc)
            return
        if leads and not led:
            log.info("this process leads now (Lease %s, as %s)", self._settings.lease, self.identity)
        elif led and not leads:
            log.warning("this process leads no more: another holds the Lease %s", self._settings.lease)
