"""What runs in a worker process: it never raises, and what it answers can always be pickled.

An exception of a library may carry the evidence's own bytes, or break when it is unpickled: it is put down here by its
type and place, and goes back as an Error of Assay's own (guarantee 12).
"""

from __future__ import annotations

import logging
import os
import pickle
import resource
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from controller.errors import AssayError, LimitExceeded, Unacceptable
from controller.workers.allocation import economise

_IDENTIFY_HOLD = 0.05  # seconds that `identify` keeps its worker, so that another worker takes the next

_BEHIND = 10  # nice: the lowest but for what is idle

_log = logging.getLogger(__name__)


def start(memory_bytes: int) -> None:
    """Make a fresh worker ready: import what it needs, then bound how much its address space may still grow."""
    import controller.workers.preload  # noqa: F401 - for the worker of a fork server that could not preload it

    economise()
    limit = _address_space() + memory_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def start_behind(memory_bytes: int) -> None:
    """As `start`, for a worker that never takes time from another."""
    os.nice(_BEHIND)
    start(memory_bytes)


def assess(payload: bytes) -> bytes:
    """One job, pickled, to its assessment or error, pickled."""
    from controller.workers.assessment import assess as judge

    return _answer(judge, payload)


def trace(payload: bytes) -> bytes:
    """One job of `controller.workers.tracing`, pickled, to what its rules came to or an error, pickled."""
    from controller.workers.tracing import trace as judge

    return _answer(judge, payload)


def read(payload: bytes) -> bytes:
    """An artefact's bytes and the bounds on documents, pickled, to what is indexed of them or an error, pickled."""
    from controller.inventory.index.reading import read as reading

    try:
        content, documents = pickle.loads(payload)  # noqa: S301 - our own job, over our own pipe
        return pickle.dumps(_judged(partial(reading, content, documents)))
    except MemoryError:
        return pickle.dumps(LimitExceeded("worker_memory_bytes", "reading needed more memory than a worker may have"))


def identify(_payload: bytes) -> bytes:
    """The worker's process id: proof that it has started."""
    time.sleep(_IDENTIFY_HOLD)
    return pickle.dumps(os.getpid())


def _answer(judge: Callable[..., Any], payload: bytes) -> bytes:
    try:
        job, documents, policy = pickle.loads(payload)  # noqa: S301 - our own job, over our own pipe
        return pickle.dumps(_judged(partial(judge, job, documents=documents, policy=policy)))
    except MemoryError:
        return pickle.dumps(LimitExceeded("worker_memory_bytes", "judging needed more memory than a worker may have"))


def _judged(judge: Callable[[], Any]) -> Any:
    """The answer, or an error of Assay's own whatever happens."""
    try:
        return judge()
    except AssayError as error:
        return error
    except (MemoryError, SystemExit):
        raise
    except BaseException as exc:  # noqa: BLE001 - a panic of a Rust library is no Exception; any defect ends in an Error
        frames = traceback.extract_tb(exc.__traceback__)
        places = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-6:]))
        _log.error("judging failed with %s at %s", type(exc).__name__, places)
        return Unacceptable("AssessmentFailed", f"judging failed with {type(exc).__name__}, a defect of Assay")


def _address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
