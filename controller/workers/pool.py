"""Carries a job to a worker process and back, and never lets one job take another's worker with it.

Each job has a time after which its worker is killed and replaced, each worker a bound on its memory; then that job is
an Error and no other. `forkserver` with preload, since plain `fork` is unsafe beside threads and `spawn` imports all
anew each time. Jobs and answers cross as bytes pickled on purpose, so that nothing that cannot be pickled (some
library's exception, say) can break the pool's own channel.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from pebble import ProcessExpired, ProcessPool

from controller.errors import AssayError, DeadlineExceeded, LimitExceeded, Unacceptable, Unavailable
from controller.model.deadline import Deadline
from controller.review.ports import Assessment, AssessmentJob, Explained, TraceJob
from controller.review.shares import Places
from controller.settings import DocumentSettings, PolicySettings, WorkerSettings
from controller.workers import worker

PRELOADED = ("controller.workers.worker", "controller.workers.preload")
"""What the fork server imports once, so that every worker has it at once and shares its memory."""

WARM_TIMEOUT = 60.0  # seconds in which all workers must have started, or Assay does not
STOP_GRACE = 5.0  # seconds that jobs under way get to end at shutdown

_log = logging.getLogger(__name__)


class WorkerPool:
    """`controller.review.ports.Assessor` by worker processes: an async context manager; `warm()` it before ready."""

    def __init__(self, settings: WorkerSettings, documents: DocumentSettings, policy: PolicySettings) -> None:
        self._settings = settings
        self._limits = (documents, policy)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._pool: ProcessPool | None = None
        self._workers = Places(settings.worker_processes)
        self._under_way: set[Future[bytes]] = set()

    async def __aenter__(self) -> Self:
        self._pool = self._new_pool()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def warm(self) -> None:
        """Return once every worker has started and imported what it needs.

        Raises `Unavailable` (`WorkersNotStarted`).
        """
        deadline = Deadline.after(WARM_TIMEOUT)
        seen: set[int] = set()
        while len(seen) < self._settings.worker_processes:
            jobs = [self.run(worker.identify, bytes, deadline) for _ in range(self._settings.worker_processes)]
            try:
                seen.update(await asyncio.gather(*jobs))
            except AssayError as exc:
                raise Unavailable("WorkersNotStarted", f"only {len(seen)} worker processes started in time") from exc

    async def assess(self, job: AssessmentJob, *, deadline: Deadline) -> Assessment:
        """Judge one image under one policy in a worker.

        Raises what the worker raised; `DeadlineExceeded` where no worker was free in time; `Unacceptable`
        (`LimitExceeded` for `worker_timeout` and `worker_memory_bytes`, `WorkerLost`). A job that a worker took and
        that is too slow, or ends the worker, is never Unavailable: whoever wrote the evidence may have meant it to.
        """
        deadline.check("waiting for a worker")
        result = await self.run(worker.assess, lambda: pickle.dumps((job, *self._limits)), deadline)
        if isinstance(result, AssayError):
            raise result
        assert isinstance(result, Assessment)  # noqa: S101 - the worker gives nothing else
        return result

    async def trace(self, job: TraceJob, *, deadline: Deadline) -> Explained:
        """What the requirements and each rule of a policy came to, for its author. Raises as `assess`."""
        result = await self.run(worker.trace, lambda: pickle.dumps((job, *self._limits)), deadline)
        if isinstance(result, AssayError):
            raise result
        assert isinstance(result, Explained)  # noqa: S101 - the worker gives nothing else
        return result

    async def run(self, function: Callable[[bytes], bytes], payload: Callable[[], bytes], deadline: Deadline) -> Any:
        """What `function` makes of `payload` in a worker, unpickled. Raises as `assess`, but for the function's own.

        `payload` is asked for once a worker is there: no more copies of evidence are made than there are workers.
        """
        async with AsyncExitStack() as stack:
            try:
                # A job goes to the pool only when a worker is free: what waits here can be given up without a trace.
                async with asyncio.timeout(deadline.remaining()):
                    await stack.enter_async_context(self._workers.one())
            except TimeoutError as exc:
                raise DeadlineExceeded("DeadlineExceeded", "the deadline came before a worker was free") from exc
            return await self._run(function, payload(), min(deadline.remaining(), self._settings.worker_timeout))

    async def _run(self, function: Callable[[bytes], bytes], payload: bytes, seconds: float) -> Any:
        future = self._schedule(function, payload, seconds)
        answer = asyncio.wrap_future(future)
        answer.add_done_callback(_retrieved)
        try:
            async with asyncio.timeout(seconds):
                return pickle.loads(await asyncio.shield(answer))  # noqa: S301 - written by our own worker
        except TimeoutError as exc:
            if not (future.running() or future.done()):
                raise DeadlineExceeded("DeadlineExceeded", "the deadline came before a worker took the job") from exc
            raise LimitExceeded("worker_timeout", f"judging took more than {seconds:.1f} seconds") from exc
        except MemoryError as exc:
            raise LimitExceeded("worker_memory_bytes", "judging needed more memory than a worker may have") from exc
        except (ProcessExpired, BrokenExecutor, pickle.UnpicklingError) as exc:
            if self._pool is None:
                raise _stopped() from exc
            raise Unacceptable("WorkerLost", "the process that judged it ended unexpectedly") from exc
        except asyncio.CancelledError:
            if answer.cancelled() and self._pool is None:
                raise _stopped() from None
            raise
        finally:
            future.cancel()  # nobody waits for it now: a worker that is still at it is killed and replaced

    async def close(self) -> None:
        """Let jobs under way end for a moment, then stop every worker: nobody is left waiting, no process behind."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        if self._under_way:
            waiting = [asyncio.wrap_future(future) for future in self._under_way]
            for answer in waiting:
                answer.add_done_callback(_retrieved)
            await asyncio.wait(waiting, timeout=STOP_GRACE)
        await asyncio.to_thread(_stop, pool)
        for future in tuple(self._under_way):
            future.cancel()

    def _schedule(self, function: Callable[[bytes], bytes], payload: bytes, seconds: float) -> Future[bytes]:
        if self._pool is None:
            raise _stopped()
        try:
            future = self._pool.schedule(function, args=(payload,), timeout=seconds)
        except RuntimeError:
            _log.exception("the worker pool broke and is replaced")
            broken, self._pool = self._pool, self._new_pool()
            asyncio.get_running_loop().run_in_executor(None, _stop, broken)
            future = self._pool.schedule(function, args=(payload,), timeout=seconds)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return future

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._settings.worker_processes,
            max_tasks=self._settings.worker_max_jobs,
            initializer=worker.start,
            initargs=(self._settings.worker_memory_bytes,),
            context=self._context,
        )


def _stop(pool: ProcessPool) -> None:
    pool.stop()  # type: ignore[no-untyped-call]
    pool.join()


def _stopped() -> Unavailable:
    return Unavailable("WorkersStopped", "Assay is shutting down")


def _retrieved(answer: asyncio.Future[bytes]) -> None:
    """An answer that nobody waits for any more is no error that asyncio should report."""
    if not answer.cancelled():
        answer.exception()
