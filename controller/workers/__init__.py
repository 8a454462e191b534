"""The process pool: what costs CPU, and everything that reads what strangers wrote, happens in processes of its own.

`assessment` says what a job is (a pure function), `pool` carries it to a worker and back. Only `pool` is imported by
the serving process: what verifies stays in the workers.
"""

from __future__ import annotations

from controller.workers.pool import WorkerPool

__all__ = ["WorkerPool"]
