"""Runs everything that keeps the snapshot fresh, in threads of its own, so that the serving loop never waits for it.

Thread `assay-cluster` has the loop of lists, mirrors, statuses and `caBundle`; thread `assay-kopf` only brings events;
thread `assay-compile` parses and compiles. What crosses to the serving thread is one reference to one immutable
snapshot.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from controller.cluster.client import MERGE_PATCH, NOT_FOUND, ClusterClient, load_configuration
from controller.cluster.directory import Directory
from controller.cluster.references import MAX_WATCHED, References
from controller.cluster.webhooks import inject_ca_bundle
from controller.errors import AssayError, ConfigurationError, Unavailable
from controller.model.policy import TrustRoot
from controller.operator.connection import connection_info
from controller.operator.denials import CountDenied, keep_counting
from controller.operator.distribution import Distribution, Refreshed
from controller.operator.events import EventThread
from controller.operator.exceptions import ExceptionWatch
from controller.operator.holder import SnapshotHolder
from controller.operator.keeper import Keeper, Picture, make_picture
from controller.operator.resources import CLUSTER_POLICIES, EXCEPTIONS, POLICIES, RESOURCES, TRUST_ROOTS, Resource
from controller.operator.version_watch import Inventory, VersionWatch
from controller.policy.references import Materials
from controller.policy.snapshot import Snapshot
from controller.settings import ClusterSettings, ExceptionSettings, PolicySettings
from controller.verification.tuf import CheckAddress

logger = logging.getLogger(__name__)

SETTLE = 0.02  # seconds in which events of one burst become one snapshot
RETRY = 1.0  # seconds before a failed list, status or caBundle is tried again
LONGEST_RELIST = 30.0  # seconds between lists at most; a third of snapshot_max_age if that is shorter
CA_BUNDLE_INTERVAL = 30.0  # seconds between looks at the webhook configurations
REFERENCE_WAIT = 2.0  # seconds that a new picture waits for Secrets and ConfigMaps that were not read before
BEING_DELETED = "DefinitionBeingDeleted"
DIRECTORY = "namespaces, service accounts, pull secrets and nodes"


def no_address(address: str, port: int) -> None:
    """The default rule for TUF repositories: none may be reached until somebody says which."""
    del port
    raise OSError(f"{address} may not be reached")


class Operator:
    """Keeps `snapshots` fresh from a cluster.

    `trust_roots` are those of the setting. `write_status` is the operator role's alone: webhook replicas write nothing.
    `ca_bundle` gives the PEM certificates for the webhook configurations; None leaves them alone. `limits`
    bound what policies' expressions may cost, `exceptions` what exceptions may grant. `check_address` judges where TUF
    repositories lead (guarantee 11). `denied` counts what policies denied, for their statuses; None: nobody does.
    `inventory` is where it is recorded how policies and exceptions come and go; None: nowhere.
    """

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        trust_roots: Mapping[str, TrustRoot] | None = None,
        write_status: bool = False,
        ca_bundle: Callable[[], bytes] | None = None,
        limits: PolicySettings | None = None,
        exceptions: ExceptionSettings | None = None,
        check_address: CheckAddress = no_address,
        denied: CountDenied | None = None,
        inventory: Inventory | None = None,
    ) -> None:
        self.snapshots = SnapshotHolder(
            sources=(*(resource.plural for resource in RESOURCES), DIRECTORY), max_age=settings.snapshot_max_age
        )
        self._settings = settings
        self._keeper = Keeper(trust_roots=trust_roots)
        self._write_status = write_status
        self._ca_bundle = ca_bundle
        self._limits = limits
        self._exceptions = exceptions
        self._check_address = check_address
        self._denied = denied
        self._inventory = inventory
        self._window = max(1.0, min(60.0, settings.snapshot_max_age / 2))
        self._relist = max(0.5, min(LONGEST_RELIST, settings.snapshot_max_age / 3))
        self._picture: Picture | None = None
        self._stopping = threading.Event()
        self._stopped: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="assay-cluster", daemon=True)
        self._compiler = ThreadPoolExecutor(max_workers=1, thread_name_prefix="assay-compile")

    def start(self) -> None:
        """Begin; returns at once. `snapshots.problems()` tells when the first whole snapshot is there.

        Raises `ConfigurationError` (`KubeconfigInvalid`) where no cluster is named at all.
        """
        self._compiler.submit(lambda: asyncio.run(load_configuration(self._settings))).result()
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """End all threads, waiting at most `timeout` seconds. The last snapshot stays in force."""
        self._stopping.set()
        if self._loop is not None and self._stopped is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread.ident is not None:
            self._thread.join(timeout)
        self._compiler.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                asyncio.run(self._main())
            except AssayError as exc:
                logger.error("keeping the snapshot fresh failed, again in %.0f s: %s", RETRY, exc)  # noqa: TRY400
                self._stopping.wait(RETRY)
            except Exception:
                logger.exception("keeping the snapshot fresh failed, again in %.0f s", RETRY)
                self._stopping.wait(RETRY)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        if self._stopping.is_set():
            return
        self._dirty = asyncio.Event()
        self._demands_changed = True
        self._relists = {resource: asyncio.Event() for resource in RESOURCES}
        self._listed = {resource: asyncio.Event() for resource in RESOURCES}
        events = EventThread(
            on_event=self._on_event,
            login=lambda: connection_info(self._settings),
            may_start=lambda: all(listed.is_set() for listed in self._listed.values()),
        )
        async with (
            _connected(self._settings) as client,
            _connected(self._settings, connections=MAX_WATCHED + 1) as watching,
            _references(watching, self._settings, changed=self._demand, window=self._window) as references,
            _distribution(self._settings, self._check_address, changed=self._demand) as distribution,
        ):
            directory = Directory(client, changed=self._dirty.set, window=self._window)
            watch = ExceptionWatch(
                lambda: self._picture.exceptions if self._picture is not None else None,
                objects=lambda: self._keeper.objects(EXCEPTIONS),
                client=client if self._write_status else None,
                changed=self._dirty.set,
            )
            looks = [watch.look]
            work: list[Coroutine[Any, Any, None]] = []
            if self._inventory is not None:
                versions = VersionWatch(
                    self._inventory,
                    keeper=self._keeper,
                    picture=lambda: self._picture,
                    client=client,
                    relist=lambda resource: self._relists[resource].set(),
                )
                looks.append(versions.look)
                work.append(versions.run())
            work += [
                directory.run(),
                self._watch_age(directory),
                self._watch_silence(references, distribution),
                self._build(client, directory, references, distribution, pictured=looks),
                watch.run(),
                *(self._list(client, resource) for resource in RESOURCES),
            ]
            if self._denied is not None and self._write_status:
                work.append(keep_counting(self._denied, self._keeper, client))
            if self._ca_bundle is not None and self._settings.webhook_configuration:
                work.append(self._inject(client, self._ca_bundle))
            events.start()
            try:
                await _until(self._stopped, work)
            finally:
                await asyncio.to_thread(events.stop, 5.0)

    # --- what there is: events for speed, lists for truth

    def _on_event(self, resource: Resource, kind: str | None, obj: Mapping[str, Any]) -> None:
        """On kopf's thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed already
                self._loop.call_soon_threadsafe(self._see, resource, kind, obj)

    def _see(self, resource: Resource, kind: str | None, obj: Mapping[str, Any]) -> None:
        if kind == "DELETED":
            self._relists[resource].set()
        elif self._keeper.put(resource, obj):
            self._demand()

    def _demand(self) -> None:
        """Ask for a picture anew: Assay's own objects have changed."""
        self._demands_changed = True
        self._dirty.set()

    async def _list(self, client: ClusterClient, resource: Resource) -> None:
        """List for ever: at an interval, and whenever an event says that something was deleted."""
        while True:
            pause = RETRY
            self._relists[resource].clear()
            try:
                await self._list_once(client, resource)
                pause = self._relist
            except AssayError as exc:
                if exc.code in {NOT_FOUND, BEING_DELETED} or isinstance(exc, ConfigurationError):
                    self._listed[resource].clear()
                    self.snapshots.fault(resource.plural, f"{resource.kind}: {exc.message}")
                logger.warning("cannot list %s: %s", resource.plural, exc)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._relists[resource].wait(), pause)

    async def _list_once(self, client: ClusterClient, resource: Resource) -> None:
        self._keeper.begin_list(resource)
        began = time.monotonic()
        listed: list[Mapping[str, Any]] = []
        async for page in client.pages(resource.path):
            listed += page.get("items") or ()
        if self._keeper.missing(resource, listed):
            # Deleting a CRD deletes its objects first, one by one, as if somebody had taken each policy out. Marked
            # for deletion before that, and looked at after it, it tells the two apart: policies are then kept.
            definition = await client.get(resource.definition)
            if definition["metadata"].get("deletionTimestamp"):
                raise Unavailable(BEING_DELETED, "the CRD is being deleted; its objects are kept in force")
        self.snapshots.fault(resource.plural, "")
        if self._keeper.replace(resource, listed) or not self._listed[resource].is_set():
            self._demand()
        self.snapshots.sign(resource.plural, began)
        self._listed[resource].set()

    # --- what it comes to: one snapshot, and the statuses

    async def _build(
        self,
        client: ClusterClient,
        directory: Directory,
        references: References,
        distribution: Distribution,
        *,
        pictured: Sequence[Callable[[], None]],
    ) -> None:
        await directory.synced()
        for listed in self._listed.values():
            await listed.wait()
        while True:
            await self._dirty.wait()
            await asyncio.sleep(SETTLE)
            self._dirty.clear()
            try:
                picture = self._picture
                if picture is None or self._demands_changed:  # else a namespace, account or secret has changed
                    self._demands_changed = False
                    loop = asyncio.get_running_loop()
                    wanted = self._keeper.references(namespace=self._settings.assay_namespace)
                    await references.want(wanted, timeout=REFERENCE_WAIT)
                    await distribution.want(self._keeper.repositories(), timeout=REFERENCE_WAIT)
                    materials = replace(references.materials(), distributed=distribution.documents())
                    making = self._make_picture(materials, distribution.refreshed())
                    picture = self._picture = await loop.run_in_executor(self._compiler, making)
            except Exception:
                # A bug, and no policy's author is to blame: the last whole snapshot stays in force, loudly.
                logger.exception("policies cannot be compiled")
                self.snapshots.fault("compiler", "policies cannot be compiled (see the log); the last ones bind")
                await asyncio.sleep(RETRY)
                self._demand()
                continue
            self.snapshots.fault("compiler", "")
            whole = Snapshot(policies=picture.policies, exceptions=picture.exceptions, trust_roots=picture.trust_roots)
            self.snapshots.publish(directory.fill(whole))
            for look in pictured:
                look()
            if self._write_status:
                await self._write_statuses(client, picture)

    def _make_picture(self, materials: Materials, refreshed: Mapping[str, Refreshed]) -> Callable[[], Picture]:
        policies = self._keeper.objects(CLUSTER_POLICIES, POLICIES)
        roots = self._keeper.objects(TRUST_ROOTS)
        exceptions = self._keeper.objects(EXCEPTIONS)
        previous = self._picture.policies if self._picture is not None else None
        given = self._keeper.given_trust_roots()
        limits, settings = self._limits, self._exceptions
        return lambda: make_picture(
            policies,
            roots,
            exceptions,
            given=given,
            previous=previous,
            limits=limits,
            settings=settings,
            materials=materials,
            refreshed=refreshed,
        )

    async def _write_statuses(self, client: ClusterClient, picture: Picture) -> None:
        for write in self._keeper.status_writes(picture, now=datetime.now(UTC)):
            _, namespace, name = write.key
            try:
                answer = await client.patch(
                    write.resource.status_path(namespace, name), write.patch, content_type=MERGE_PATCH
                )
                self._keeper.put(write.resource, answer)
            except AssayError as exc:
                logger.warning("cannot write the status of %s %s: %s", write.resource.kind, name, exc)

    async def _watch_age(self, directory: Directory) -> None:
        while True:
            age = directory.age()
            if age != float("inf"):
                self.snapshots.sign(DIRECTORY, time.monotonic() - age)
            await asyncio.sleep(min(1.0, self._window / 4))

    async def _watch_silence(self, references: References, distribution: Distribution) -> None:
        """Ask for a picture anew when a reference falls silent or a TUF repository too old: nothing else tells."""
        before = references.silent(), distribution.unusable()
        while True:
            await asyncio.sleep(min(1.0, self._window / 4))
            now = references.silent(), distribution.unusable()
            if now != before:
                before = now
                self._demand()

    async def _inject(self, client: ClusterClient, bundle: Callable[[], bytes]) -> None:
        while True:
            pause = CA_BUNDLE_INTERVAL
            try:
                await inject_ca_bundle(client, name=self._settings.webhook_configuration, bundle=bundle())
            except AssayError as exc:
                pause = RETRY
                logger.warning("cannot fill in caBundle: %s", exc)
            await asyncio.sleep(pause)


@contextlib.asynccontextmanager
async def _connected(settings: ClusterSettings, *, connections: int | None = None) -> AsyncIterator[ClusterClient]:
    client = await ClusterClient.connect(settings, connections=connections)
    try:
        yield client
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def _distribution(
    settings: ClusterSettings, check_address: CheckAddress, *, changed: Callable[[], None]
) -> AsyncIterator[Distribution]:
    distribution = Distribution(settings, check_address=check_address, changed=changed)
    try:
        yield distribution
    finally:
        await distribution.close()


@contextlib.asynccontextmanager
async def _references(
    client: ClusterClient, settings: ClusterSettings, *, changed: Callable[[], None], window: float
) -> AsyncIterator[References]:
    references = References(
        client,
        namespace=settings.assay_namespace,
        changed=changed,
        window=window,
        max_age=settings.snapshot_max_age,
    )
    try:
        yield references
    finally:
        await references.close()


async def _until(stopped: asyncio.Event, work: list[Coroutine[Any, Any, None]]) -> None:
    """Run all until one fails (which is raised) or it is stopped; leave none behind."""
    tasks = [asyncio.ensure_future(_as_task(coroutine)) for coroutine in (*work, _wait(stopped))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _as_task(work: Awaitable[None]) -> None:
    await work


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
