"""The composition root: settings -> adapters -> pipeline, for the command line and, under `serving`, for servers.

These two are the only places that wire, and the only ones that see all settings. Every part is opened here and closed
in the reverse order, whatever happens in between.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from controller.errors import ConfigurationError, InputError, PolicyError, RecordingFailed
from controller.model.deadline import Deadline
from controller.model.policy import KeyAuthority, Namespace, TrustRoot
from controller.model.reference import Digest, Reference
from controller.operator.holder import SnapshotHolder
from controller.policy.advice import Installation
from controller.policy.files import load_snapshot
from controller.policy.lint import Surroundings
from controller.policy.snapshot import Snapshot
from controller.policy.trust import MAX_DOCUMENT, trust_root
from controller.registry.client import RegistryClient
from controller.review.budget import Budget
from controller.review.pipeline import Pipeline
from controller.review.ports import Clock, Namespaces, Recorder, Registry, Snapshots
from controller.settings import Settings
from controller.workers import WorkerPool

log = logging.getLogger(__name__)


def now() -> datetime:
    """The clock of a serving process."""
    return datetime.now(UTC)


@asynccontextmanager
async def open_pipeline(
    settings: Settings,
    *,
    snapshots: Snapshots,
    namespaces: Namespaces,
    recorder: Recorder,
    clock: Clock = now,
    denied_addresses: Iterable[str] = (),
    through: Callable[[Registry], Registry] = lambda registry: registry,
    workers: WorkerPool | None = None,
) -> AsyncIterator[Pipeline]:
    """A pipeline, warmed up, on the running event loop. `through` may put another registry in the network's place.

    `workers` are some that others share; without, it has its own.
    """
    budget = Budget(settings.review.review_max_bytes)
    async with AsyncExitStack() as stack:
        client = RegistryClient(settings.registry, clock=clock, budget=budget, denied_addresses=denied_addresses)
        registry = await stack.enter_async_context(client)
        if workers is None:
            workers = await stack.enter_async_context(open_workers(settings))
        pipeline = Pipeline(
            settings.review,
            registry=through(registry),
            assessor=workers,
            recorder=recorder,
            snapshots=snapshots,
            namespaces=namespaces,
            clock=clock,
            budget=budget,
        )
        try:
            yield pipeline
        finally:
            await pipeline.close()


@asynccontextmanager
async def open_workers(settings: Settings) -> AsyncIterator[WorkerPool]:
    """Worker processes, warmed up."""
    async with WorkerPool(settings.workers, settings.documents, settings.policy) as workers:
        await workers.warm()
        yield workers


def read_snapshot(*directories: Path, settings: Settings) -> Snapshot:
    """The snapshot that directories of policies and trust roots make, with the setting `trusted_root` beside them.

    Raises `ConfigurationError` naming the file.
    """
    snapshot = load_snapshot(
        *directories,
        limits=settings.policy,
        exceptions=settings.exceptions,
        namespace=settings.cluster.assay_namespace,
    )
    given = read_trust_roots(settings.cluster.trusted_root)
    return snapshot.with_trust_roots({**snapshot.trust_roots, **given})


def idle_exceptions(snapshot: Snapshot, moment: datetime) -> Iterator[str]:
    """A line about every exception that excepts nothing at that moment: from a file nobody else says so."""
    for name, problems in snapshot.exceptions.idle(now=moment):
        why = "; ".join(f"{problem.field} {problem.message} ({problem.code})" for problem in problems)
        yield f"EvidenceException {name} excepts nothing: {why}"


def read_trust_roots(files: Iterable[str]) -> dict[str, TrustRoot]:
    """The trust roots of the setting `trusted_root`, each `NAME=FILE` or `FILE` (then named `public-good`).

    Raises `ConfigurationError` (`SettingInvalid`, `TrustRootUnreadable`, `TrustRootMalformed`) naming root and file.
    """
    roots: dict[str, TrustRoot] = {}
    for text in files:
        name, equals, path = text.partition("=")
        name, path = (name, path) if equals else (KeyAuthority("").trust_root, text)
        if not name or not path:
            raise ConfigurationError("SettingInvalid", f"trusted_root: {text!r} is neither NAME=FILE nor FILE")
        if name in roots:
            raise ConfigurationError("SettingInvalid", f"trusted_root: {name} is named twice; each may have one file")
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_DOCUMENT + 1)
            roots[name] = trust_root(name, content)
        except OSError as exc:
            raise ConfigurationError("TrustRootUnreadable", f"trust root {name}: {path}: {exc.strerror}") from exc
        except PolicyError as exc:
            raise ConfigurationError(exc.code, f"trust root {name}: {path} {exc.message}") from exc
    return roots


def read_surroundings(settings: Settings) -> Surroundings:
    """What settings tell of where policies will be: Assay's own place, and the trust roots given by setting.

    Raises `ConfigurationError` (`SettingInvalid`, or as `read_trust_roots` does).
    """
    image = settings.cluster.assay_image
    try:
        installation = Installation(settings.cluster.assay_namespace, Reference.parse(image) if image else None)
    except InputError as exc:
        raise ConfigurationError("SettingInvalid", f"assay_image: {exc.message}") from exc
    given = frozenset(read_trust_roots(settings.cluster.trusted_root))
    return Surroundings(installation, given, read_document=_read_document)


def _read_document(root: TrustRoot) -> str:
    """Why a trust root's document cannot be used; empty if it can."""
    from controller.verification.trust import parse_root  # slow to import, and hardly ever needed

    try:
        parse_root(root)
    except ConfigurationError as exc:
        return exc.message.removeprefix(f"trust root {root.name} ")
    return ""


def fixed(snapshot: Snapshot) -> SnapshotHolder:
    """What was read from files, as the snapshot in force."""
    return SnapshotHolder.fixed(snapshot)


class LocalNamespaces:
    """Namespaces where there is no cluster to ask: those given, and any other with the one label that each has."""

    def __init__(self, given: Mapping[str, Namespace] | None = None) -> None:
        self._given = dict(given or {})

    async def fetch(self, name: str, *, deadline: Deadline) -> Namespace:  # noqa: ARG002
        """The namespace."""
        return self._given.get(name) or Namespace(name, {"kubernetes.io/metadata.name": name})


class NoRecorder:
    """For commands that decide about nothing: recording with it is a fault."""

    async def record(self, leaf: Mapping[str, Any], *, blobs: Mapping[Digest, bytes], deadline: Deadline) -> None:
        """Refuse."""
        del leaf, blobs, deadline
        raise RecordingFailed("NoInventory", "this command has no inventory to record in")
