"""Reads attested documents for the inventory's index: in a process of its own, behind everything else that runs.

Synchronous, one document at a time: whoever indexes has a thread of its own and is in no hurry. The process starts with
the first document, and a document that is too slow or too large ends that process and nothing else.
"""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import BrokenExecutor, CancelledError
from concurrent.futures import TimeoutError as Late

from pebble import ProcessExpired, ProcessPool

from controller.errors import AssayError, LimitExceeded, Unacceptable, Unavailable
from controller.inventory.index.contents import Contents
from controller.settings import DocumentSettings, WorkerSettings
from controller.workers import worker
from controller.workers.pool import PRELOADED

ATTEMPTS = 2  # a worker may end for reasons that are not the document's
PATIENCE = 10  # times worker_timeout: nobody waits for it, and it runs behind all others


class DocumentReader:
    """`controller.inventory.index.keeping.Reader` by a worker process."""

    def __init__(self, settings: WorkerSettings, documents: DocumentSettings) -> None:
        self._settings = settings
        self._documents = documents
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(PRELOADED))
        self._pool: ProcessPool | None = None
        self._closed = False

    def read(self, content: bytes) -> Contents:
        """What an artefact's bytes say.

        Raises `Unacceptable` (`LimitExceeded` for `worker_timeout` and `worker_memory_bytes`, `WorkerLost`) for a
        document that no worker could read, `Unavailable` (`WorkersStopped`).
        """
        payload = pickle.dumps((content, self._documents))
        for attempt in range(ATTEMPTS):
            try:
                return self._read(payload)
            except Unacceptable:
                if attempt + 1 == ATTEMPTS or self._closed:
                    raise
        raise AssertionError("unreachable")

    def _read(self, payload: bytes) -> Contents:
        seconds = self._settings.worker_timeout * PATIENCE
        try:
            answer = pickle.loads(self._started().schedule(worker.read, args=(payload,), timeout=seconds).result())  # noqa: S301 - written by our own worker
        except (ProcessExpired, BrokenExecutor, CancelledError, pickle.UnpicklingError, RuntimeError) as exc:
            self._stop()
            if self._closed:
                raise Unavailable("WorkersStopped", "Assay is shutting down") from exc
            raise Unacceptable("WorkerLost", "the process that read it ended unexpectedly") from exc
        except Late as exc:
            raise LimitExceeded("worker_timeout", f"reading took more than {seconds:.0f} seconds") from exc
        if isinstance(answer, AssayError):
            raise answer
        assert isinstance(answer, Contents)  # noqa: S101 - the worker gives nothing else
        return answer

    def rest(self) -> None:
        """End the process until there is a document again: one that read large ones holds 45 MiB, to no purpose."""
        self._stop()

    def close(self) -> None:
        """Stop the process; what it was reading is given up."""
        self._closed = True
        self._stop()

    def _started(self) -> ProcessPool:
        if self._closed:
            raise Unavailable("WorkersStopped", "Assay is shutting down")
        if self._pool is None:
            self._pool = ProcessPool(
                max_workers=1,
                max_tasks=self._settings.worker_max_jobs,
                initializer=worker.start_behind,
                initargs=(self._settings.worker_memory_bytes,),
                context=self._context,
            )
        return self._pool

    def _stop(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.stop()  # type: ignore[no-untyped-call]
            pool.join()
