"""What a serving process runs: the roles that it was given, each of its parts opened here and closed in reverse order.

The second half of the composition root: `app` makes a pipeline of settings, for the command line as for a server; this
adds what listens, watches and writes.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from controller import certificates, telemetry
from controller.app import (
    LocalNamespaces,
    fixed,
    idle_exceptions,
    now,
    open_pipeline,
    read_snapshot,
    read_surroundings,
    read_trust_roots,
)
from controller.errors import AssayError, ConfigurationError, NotReady
from controller.inventory.asking.reads import Logged
from controller.inventory.index.keeping import IndexKeeper, pace
from controller.inventory.ledger.checkpoint_files import CheckpointFiles
from controller.inventory.ledger.keeping import LedgerKeeper, open_signer, origin_of
from controller.inventory.ledger.witnessing import Witnessing, witnesses_of
from controller.inventory.querying.questions import OwnQuestions
from controller.inventory.retention.keeping import RetentionKeeper
from controller.inventory.retention.rules import rules as retention_rules
from controller.inventory.store import NOT_MIGRATED, Store, is_away, is_server, migrate
from controller.operator.holder import SnapshotHolder
from controller.reading import app as reading
from controller.reading.access import GROUP
from controller.reading.evidence import Evidence
from controller.reading.reads import ReadRecorder
from controller.registry.addresses import AddressRules
from controller.review.ports import Namespaces
from controller.settings import Settings, WebhookSettings
from controller.webhook import app as webhook
from controller.webhook.policies import Around, Glass, Known, PolicyReviews, Unbreakable
from controller.webhook.server import Server
from controller.workers.indexing import DocumentReader

log = logging.getLogger(__name__)

DATABASE_RETRY = 3.0  # seconds between two attempts to open an inventory whose server is away
CERTIFICATE_INTERVAL = 3600.0  # seconds between looks at the serving certificate's age


class Role(StrEnum):
    """What a process does (section 4 of the design)."""

    WEBHOOK = "webhook"
    OPERATOR = "operator"
    INVENTORY = "inventory"


@dataclass(frozen=True, slots=True)
class Serving:
    """A serving process: its ports (None where a role is not served), the CA of its HTTPS, and where it records."""

    webhook_port: int | None
    inventory_port: int | None
    ca_bundle: bytes
    database_url: str


class Readiness:
    """Whether this replica may judge (guarantee 9): it is warm, and its snapshot is whole and not stale."""

    def __init__(self, holder: SnapshotHolder) -> None:
        self._holder = holder

    def check(self) -> None:
        """Raise `NotReady` saying what is missing."""
        telemetry.SNAPSHOT_AGE.set(min(self._holder.age(), 1e9))
        problems = self._holder.problems()
        if problems:
            raise NotReady("NotReady", "; ".join(problems))


@asynccontextmanager
async def serving(settings: Settings, roles: Collection[Role] = tuple(Role)) -> AsyncIterator[Serving]:
    """Everything that the roles need, serving until the context ends; then stopped in the reverse order.

    Policies come from `policies` if it is set, else from the cluster.
    Raises `ConfigurationError` for whatever stands in the way of serving.
    """
    async with AsyncExitStack() as stack:
        protected = Role.INVENTORY in roles and _asks_who_reads(settings)
        made = _Certificates(settings.webhook) if Role.WEBHOOK in roles or protected else None
        store = await _store(settings, roles, stack)
        holder = await _snapshots(settings, roles, stack, made if Role.WEBHOOK in roles else None, store)
        if Role.OPERATOR in roles and (store.is_ours or store.is_shared):
            await _keep_ledger(settings, store, stack)
            _keep_index(settings, store, stack)
            months = store.keep_partitions(settings.inventory, clock=now)
            if months is not None:
                stack.callback(months.close)
            unkept = store.keep_configurations(settings.inventory)
            if unkept is not None:
                stack.callback(unkept.close)
        if _records_what_is(roles) and settings.cluster.watch_pods and not settings.cluster.policies:
            _watch_pods(settings, store, stack)
        https: Server | None = None
        http: Server | None = None
        if made is not None and holder is not None and Role.WEBHOOK in roles:
            https = await _webhook(settings, holder, store, made, stack)
        if Role.INVENTORY in roles:
            http = _inventory(settings, store, made if protected else None, stack)
        yield Serving(
            webhook_port=https.port if https else None,
            inventory_port=http.port if http else None,
            ca_bundle=made.bundle() if made else b"",
            database_url=settings.inventory.url(),
        )


def _records_what_is(roles: Collection[Role]) -> bool:
    """Whether the process records what it sees in the cluster: the operator does, where decisions are recorded too."""
    return {Role.OPERATOR, Role.WEBHOOK} <= set(roles)


class _Certificates:
    """The webhook's certificate files: given by settings, or made and renewed in a directory."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._settings = settings
        self.given = bool(settings.webhook_certificate_file)
        folder = settings.certificate_directory()
        self.certificate = Path(settings.webhook_certificate_file or folder / certificates.SERVING_CERTIFICATE)
        self.key = Path(settings.webhook_key_file or folder / certificates.SERVING_KEY)
        self.renew()

    def renew(self) -> None:
        """Make or renew what is due."""
        if not self.given:
            made = certificates.in_directory(self._settings.certificate_directory(), names=self._settings.webhook_names)
            self._bundle = made.ca_bundle()

    def bundle(self) -> bytes:
        """PEM of the CAs to trust; empty for given files, whose CA is their owner's matter."""
        return b"" if self.given else self._bundle


async def _snapshots(
    settings: Settings, roles: Collection[Role], stack: AsyncExitStack, made: _Certificates | None, store: Store
) -> SnapshotHolder | None:
    if Role.WEBHOOK not in roles and Role.OPERATOR not in roles:
        return None
    directory = settings.cluster.policies
    if directory:
        snapshot = read_snapshot(Path(directory), settings=settings)
        for line in idle_exceptions(snapshot, now()):
            log.warning("%s", line)
        return fixed(snapshot)
    from controller.operator.service import Operator  # kopf and kubernetes are slow to import and not always needed
    from controller.operator.version_watch import Inventory

    cluster = settings.review.cluster_name
    operator = Operator(
        settings.cluster,
        trust_roots=read_trust_roots(settings.cluster.trusted_root),
        write_status=Role.OPERATOR in roles,
        limits=settings.policy,
        exceptions=settings.exceptions,
        check_address=AddressRules(settings.registry, denied=await _api_server(settings)).check,
        ca_bundle=made.bundle if made is not None and not made.given else None,
        denied=lambda since: store.queries.denied(since=since, cluster=cluster),
        inventory=Inventory(cluster, store.writer, store.queries) if _records_what_is(roles) else None,
    )
    operator.start()
    stack.callback(operator.stop)
    return operator.snapshots


async def _store(settings: Settings, roles: Collection[Role], stack: AsyncExitStack) -> Store:
    """The inventory. A server of its own that is away, or that the operator has yet to migrate, is waited for: nothing
    listens until then, so nobody is ready."""
    records = Role.WEBHOOK in roles or (Role.INVENTORY in roles and settings.inventory.log_reads != Logged.OFF)
    opening = Store.open if records else Store.open_to_read
    server = is_server(settings.inventory)
    while True:
        try:
            if server and Role.OPERATOR in roles:
                await asyncio.to_thread(migrate, settings.inventory.url(), settings=settings.inventory)
            store = opening(settings.inventory)
        except ConfigurationError as exc:
            if not is_away(exc) and not (server and exc.code == NOT_MIGRATED):
                raise
            log.error("waiting for the database, again in %.0f s: %s", DATABASE_RETRY, exc)  # noqa: TRY400 - it says why
            await asyncio.sleep(DATABASE_RETRY)
            continue
        stack.callback(store.close)
        return store


async def _keep_ledger(settings: Settings, store: Store, stack: AsyncExitStack) -> None:
    inventory = settings.inventory
    if store.is_shared and not inventory.ledger_key_file:
        log.warning("no ledger is kept: processes that share a database need one key (ledger_key_file)")
        if retention_rules(inventory):
            log.warning("nothing is dropped, though a rule asks for it: without a ledger nobody could sign for it")
        return
    directory = inventory.ledger_folder()
    origin = origin_of(inventory, settings.review.cluster_name)
    signer = open_signer(origin, key_file=inventory.ledger_key_file, directory=directory)
    witnesses = witnesses_of(inventory.ledger_witnesses, allow_http=inventory.ledger_witness_allow_loopback)
    sequencer = store.sequencer(inventory, signer=signer)
    cosigned = store.cosigned(inventory, sequencer) if witnesses else None
    keeper = LedgerKeeper(
        sequencer,
        store.ledger,
        directory=directory,
        interval=inventory.ledger_merge_delay,
        clock=now,
        leads=_election(settings, store, stack),
        files=CheckpointFiles(Path(inventory.ledger_checkpoint_dir)) if inventory.ledger_checkpoint_dir else None,
    )
    stack.callback(keeper.close)
    if retention_rules(inventory):
        cluster = settings.review.cluster_name
        retention = RetentionKeeper(lambda pause: store.pruner(inventory, signer=signer, cluster=cluster, pause=pause))
        stack.callback(retention.close)
    if cosigned is not None:
        rules = AddressRules(
            replace(settings.registry, registry_allow_loopback=inventory.ledger_witness_allow_loopback),
            denied=() if settings.cluster.policies else await _api_server(settings),
        )
        asking = Witnessing(witnesses, store.ledger, cosigned, check=rules.check, writes=keeper.writes)
        stack.callback(asking.close)


def _election(settings: Settings, store: Store, stack: AsyncExitStack) -> Callable[[], bool] | None:
    """Who says which process leads: the cluster's Lease. Nobody where there is no cluster, or the database is ours."""
    if settings.cluster.policies or not settings.cluster.lease or not store.is_shared:
        return None
    from controller.operator.election import Election

    election = Election(settings.cluster, clock=now)
    election.start()
    stack.callback(election.stop)
    return election.leads


def _keep_index(settings: Settings, store: Store, stack: AsyncExitStack) -> None:
    reader = DocumentReader(settings.workers, settings.documents)
    indexer = store.indexer(settings.inventory, read=reader.read, clock=now, pace=pace)
    keeper = IndexKeeper(indexer, reader, interval=settings.inventory.index_delay, clock=now)
    stack.callback(keeper.close)


def _watch_pods(settings: Settings, store: Store, stack: AsyncExitStack) -> None:
    from controller.operator.watching import PodWatch

    watch = PodWatch(
        settings.cluster, cluster=settings.review.cluster_name, recorder=store.writer, memory=store.queries
    )
    watch.start()
    stack.callback(watch.stop)


async def _webhook(
    settings: Settings, holder: SnapshotHolder, store: Store, made: _Certificates, stack: AsyncExitStack
) -> Server:
    local = bool(settings.cluster.policies)
    namespaces: Namespaces = LocalNamespaces()
    if not local:
        from controller.cluster.directory import ClusterNamespaces

        namespaces = ClusterNamespaces(settings.cluster)
        stack.push_async_callback(namespaces.close)
    pipeline = await stack.enter_async_context(
        open_pipeline(
            settings,
            snapshots=holder,
            namespaces=namespaces,
            recorder=store.writer,
            denied_addresses=() if local else await _api_server(settings),
        )
    )
    policies = PolicyReviews(
        settings.policy,
        settings.exceptions,
        around=_around(settings, stack),
        glass=_glass(settings, stack),
        clock=now,
    )
    stack.callback(policies.close)
    app = webhook.create_app(settings.webhook, pipeline=pipeline, readiness=Readiness(holder), policies=policies)
    server = Server(
        app,
        host=settings.webhook.webhook_host,
        port=settings.webhook.webhook_port,
        certificate=made.certificate,
        key=made.key,
        client_ca=Path(settings.webhook.webhook_client_ca_file) if settings.webhook.webhook_client_ca_file else None,
    )
    await server.start()
    stack.push_async_callback(server.stop)
    renewal = asyncio.create_task(_renew(made, server))
    stack.callback(renewal.cancel)
    return server


def _around(settings: Settings, stack: AsyncExitStack) -> Around:
    """What lies around Assay's own resources as they are written: asked of the cluster, where there is one."""
    known = read_surroundings(settings)
    if settings.cluster.policies:
        return Known(replace(known, trust_roots=None))
    from controller.cluster.surroundings import ClusterSurroundings

    asking = ClusterSurroundings(settings.cluster, known)
    stack.push_async_callback(asking.close)
    return asking


def _glass(settings: Settings, stack: AsyncExitStack) -> Glass:
    """Who may break the glass: whom the cluster says. Without one there is nobody to ask."""
    if settings.cluster.policies:
        return Unbreakable()
    from controller.cluster.permissions import ClusterGlass

    asking = ClusterGlass(settings.cluster)
    stack.push_async_callback(asking.close)
    return asking


async def _renew(made: _Certificates, server: Server) -> None:
    while True:
        await asyncio.sleep(CERTIFICATE_INTERVAL)
        try:
            await asyncio.to_thread(made.renew)
            server.renew()
        except (AssayError, OSError) as exc:
            log.error("the serving certificate could not be renewed: %s", exc)  # noqa: TRY400 - the cause is in it


async def _api_server(settings: Settings) -> tuple[str, ...]:
    """The API server's own address and port: no registry may lead there (guarantee 11)."""
    from controller.cluster.client import load_connection

    url = urlsplit((await load_connection(settings.cluster)).server)
    port = url.port or (80 if url.scheme == "http" else 443)
    found = await asyncio.get_running_loop().getaddrinfo(url.hostname or "", port, type=socket.SOCK_STREAM)
    return tuple(sorted({f"[{a[4][0]}]:{port}" if ":" in str(a[4][0]) else f"{a[4][0]}:{port}" for a in found}))


def _reads(settings: Settings, store: Store) -> ReadRecorder | None:
    """Who records what is read; None where that is off."""
    logged = Logged(settings.inventory.log_reads)
    if logged is Logged.OFF:
        return None
    return ReadRecorder(store.writer, logged=logged, cluster=settings.review.cluster_name, clock=now)


def _asks_who_reads(settings: Settings) -> bool:
    """Whether readers show a token. Raises `ConfigurationError` (`SettingInvalid`) for an inventory open to others."""
    if settings.inventory.inventory_access == "Kubernetes":
        return True
    host = settings.inventory.inventory_host
    try:
        alone = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        alone = False
    if settings.inventory.log_reads != Logged.OFF:
        message = "log_reads records who reads, so inventory_access must be Kubernetes"
        raise ConfigurationError("SettingInvalid", message)
    if not alone:
        message = f"inventory_host {host} can be reached by others, so inventory_access must be Kubernetes"
        raise ConfigurationError("SettingInvalid", message)
    return False


def _inventory(settings: Settings, store: Store, made: _Certificates | None, stack: AsyncExitStack) -> Server:
    """The read-only inventory, on an event loop of its own: by HTTPS and to those who may, or on loopback to all."""
    host, port = settings.inventory.inventory_host, settings.inventory.inventory_port
    if store.is_shared and store.readers_may_write():
        log.warning("the database would let readers write: give them a role that cannot (database_reader_url)")
    own, evidence = OwnQuestions(settings.inventory), Evidence(settings.documents, settings.inventory)
    if made is None:
        app = reading.create_app(store.questions, own=own, evidence=evidence)
        return _in_thread(lambda: Server(app, host=host, port=port), stack)
    from controller.cluster.readers import ClusterReaders

    readers = ClusterReaders(settings.cluster, group=GROUP)
    reads = _reads(settings, store)
    app = reading.create_app(store.questions, own=own, readers=readers, reads=reads, evidence=evidence)
    return _in_thread(
        lambda: Server(app, host=host, port=port, certificate=made.certificate, key=made.key),
        stack,
        beside=lambda server: _renew(made, server),
        after=readers.close,
    )


def _in_thread(
    make: Callable[[], Server],
    stack: AsyncExitStack,
    *,
    beside: Callable[[Server], Coroutine[Any, Any, None]] | None = None,
    after: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> Server:
    """A server on an event loop and a thread of its own: no reader's question delays an admission.

    `beside` runs there as long as it serves, `after` once it has stopped.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="assay-inventory", daemon=True)
    thread.start()

    async def end() -> None:
        if work is not None:
            work.cancel()
        await server.stop()
        if after is not None:
            await after()

    def stop() -> None:
        asyncio.run_coroutine_threadsafe(end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    server = make()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result()
    work = asyncio.run_coroutine_threadsafe(beside(server), loop) if beside is not None else None
    stack.callback(stop)
    return server
