"""Drops what is older than its rule allows, once a day, in a thread of the serving process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from controller import telemetry
from controller.errors import AssayError
from controller.inventory.dialect import cause
from controller.inventory.retention.pruning import Pruned, Pruner

FIRST = 60.0  # seconds after the start: what is warmed up comes first
INTERVAL = 24 * 3600.0  # seconds between two rounds
RETRY = 600.0  # seconds before a round that failed is tried again
BREATH = 0.2  # seconds between two transactions, in which decisions are recorded
CLOSING = 5.0  # seconds that closing waits for a database that hangs

log = logging.getLogger(__name__)


class RetentionKeeper:
    """Runs a pruner until it is closed."""

    def __init__(self, make: Callable[[Callable[[], bool]], Pruner], *, first: float = FIRST) -> None:
        """`make` is given what the pruner calls between two transactions."""
        self._stopping = threading.Event()
        self._pruner = make(lambda: self._stopping.wait(BREATH))
        self._first = first
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop after the transaction that is under way: what is left is dropped by the next process."""
        self._stopping.set()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        pause = self._first
        while not self._stopping.wait(pause):
            pause = INTERVAL if self._turn() else RETRY

    def _turn(self) -> bool:
        try:
            told(self._pruner.prune())
        except (AssayError, OSError) as exc:
            why: object = exc
        except SQLAlchemyError as exc:
            why = cause(exc)
        except Exception:  # a bug: nothing is lost by it, and it must come back
            log.exception("what is old was not dropped")
            return False
        else:
            return True
        log.error("what is old was not dropped: %s", why)
        return False


def told(rounds: Sequence[Pruned]) -> None:
    """Count and log what was dropped."""
    for one in rounds:
        telemetry.RETENTION_DROPPED.labels(str(one.rule.what)).inc(one.dropped)
        if one.dropped or one.held:
            log.info("%s: %d dropped by the rule, %d kept by a hold", one.rule.what, one.dropped, one.held)
