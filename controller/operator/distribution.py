"""TUF repositories, refreshed in the background: no review ever waits for one; the last good copy outlives failures.

What a refresh refuses changes nothing but the TrustRoot's status, a metric and a line of the log. A copy is believed
until `maxStale` after its metadata expired; then what needs it is an Error.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from controller import telemetry
from controller.errors import AssayError
from controller.model.policy import Problem, TufRepository
from controller.settings import ClusterSettings
from controller.verification import tuf
from controller.verification.tuf import CheckAddress, Document

logger = logging.getLogger(__name__)

FIRST_PAUSE = 10.0  # seconds before a failed refresh is tried again
LONGEST_PAUSE = 3600.0  # seconds between tries while it fails, or the repository's own interval if that is shorter
MAX_REPOSITORIES = 16  # TrustRoots with a repository: each is a task, and a thread while it refreshes

METRICS = (telemetry.TRUST_ROOT_REFRESHED, telemetry.TRUST_ROOT_EXPIRES, telemetry.TRUST_ROOT_FAILURES)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What a TrustRoot's status says of its repository. `at`: RFC 3339, empty before the first time."""

    at: str
    trouble: str


@dataclass(slots=True)
class _Followed:
    repository: TufRepository
    document: Document | None = None
    trouble: str = ""
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Distribution:
    """Follows the repositories that are wanted. Belongs to one loop; `changed` is called on it."""

    def __init__(
        self,
        settings: ClusterSettings,
        *,
        check_address: CheckAddress,
        changed: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._check_address = check_address
        self._changed = changed
        self._clock = clock
        self._followed: dict[str, _Followed] = {}
        self._beyond: Mapping[TufRepository, Problem] = {}
        # Threads of its own: in the loop's, slow repositories would keep names from being resolved.
        self._threads = ThreadPoolExecutor(MAX_REPOSITORIES, thread_name_prefix="assay-tuf")

    async def want(self, repositories: Mapping[str, TufRepository], *, timeout: float) -> None:
        """Follow exactly these, by the TrustRoot's name, and wait a little for those that are new."""
        chosen = dict(sorted(repositories.items())[:MAX_REPOSITORIES])
        why = f"only {MAX_REPOSITORIES} TrustRoots may have a TUF repository (MAX_REPOSITORIES)"
        beyond = {repository for name, repository in repositories.items() if name not in chosen}
        self._beyond = {repository: Problem("TufUnread", "spec.tuf", why) for repository in beyond}
        for name, followed in list(self._followed.items()):
            if chosen.get(name) != followed.repository:
                del self._followed[name]
                if followed.task is not None:
                    followed.task.cancel()
                for metric in METRICS:
                    with contextlib.suppress(KeyError):
                        metric.remove(name)
        for name, repository in chosen.items():
            if name not in self._followed:
                followed = self._followed[name] = _Followed(repository)
                followed.task = asyncio.create_task(self._follow(name, followed), name=f"follow {name}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for followed in self._followed.values():
                    await followed.tried.wait()

    def documents(self) -> Mapping[TufRepository, bytes | Problem]:
        """What each distributes, or why that may not be believed."""
        followed = {followed.repository: self._believed(followed) for followed in self._followed.values()}
        return {**self._beyond, **followed}

    def unusable(self) -> frozenset[str]:
        """The TrustRoots without a copy that may be believed now."""
        return frozenset(name for name, one in self._followed.items() if isinstance(self._believed(one), Problem))

    def refreshed(self) -> Mapping[str, Refreshed]:
        """How each fares."""
        return {
            name: Refreshed(
                one.document.refreshed_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if one.document else "",
                one.trouble,
            )
            for name, one in self._followed.items()
        }

    async def close(self) -> None:
        """Follow none any more."""
        tasks = [followed.task for followed in self._followed.values() if followed.task is not None]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _believed(self, followed: _Followed) -> bytes | Problem:
        repository, document = followed.repository, followed.document
        if document is None:
            why = followed.trouble or f"nothing was read of {repository.url[:200]} yet"
            return Problem("TufUnread", "spec.tuf", why)
        # Compared so, since metadata that expires in the year 9999 has no date after it.
        if self._clock() - document.expires_at > timedelta(seconds=repository.max_stale):
            expired = document.expires_at.strftime("%Y-%m-%dT%H:%M:%SZ")
            why = f"the metadata of the last good copy expired at {expired}, which is longer ago than maxStale"
            return Problem("TufStale", "spec.tuf", f"{why}. {followed.trouble}".rstrip())
        return document.content

    async def _follow(self, name: str, followed: _Followed) -> None:
        repository = followed.repository
        loop = asyncio.get_running_loop()
        remembering = partial(tuf.remembered, repository, settings=self._settings)
        followed.document = await loop.run_in_executor(self._threads, remembering)
        if followed.document is not None:
            followed.tried.set()
            self._measure(name, followed.document)
        failures = 0
        while True:
            try:
                refreshing = partial(
                    tuf.refresh,
                    repository,
                    settings=self._settings,
                    check_address=self._check_address,
                    now=self._clock(),
                )
                followed.document = await loop.run_in_executor(self._threads, refreshing)
                failures, followed.trouble = 0, ""
                self._measure(name, followed.document)
            except AssayError as exc:
                failures += 1
                followed.trouble = str(exc)
                telemetry.TRUST_ROOT_FAILURES.labels(name).inc()
                logger.error("TrustRoot %s was not refreshed, the last good copy stays: %s", name, exc)  # noqa: TRY400
            except Exception as exc:
                # A bug, ours or the library's: to follow no longer would let the copy age in silence.
                failures += 1
                followed.trouble = f"refreshing failed: {type(exc).__name__}"
                telemetry.TRUST_ROOT_FAILURES.labels(name).inc()
                logger.exception("TrustRoot %s was not refreshed, the last good copy stays", name)
            followed.tried.set()
            self._changed()
            pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 16), LONGEST_PAUSE) if failures else repository.refresh
            await asyncio.sleep(max(FIRST_PAUSE, min(pause, repository.refresh)))

    @staticmethod
    def _measure(name: str, document: Document) -> None:
        telemetry.TRUST_ROOT_REFRESHED.labels(name).set(document.refreshed_at.timestamp())
        telemetry.TRUST_ROOT_EXPIRES.labels(name).set(document.expires_at.timestamp())
