"""Drops what is older than its rule allows, once a day, in a thread of the serving process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from controller import telemetry
from controller.errors import AssayError
from controller.inventory.daily import Daily
from controller.inventory.database.failures import cause
from controller.inventory.retention.pruning import Pruned, Pruner

FIRST = 60.0  # seconds after the start: what is warmed up comes first
BREATH = 0.2  # seconds between two transactions, in which decisions are recorded

log = logging.getLogger(__name__)


class RetentionKeeper(Daily):
    """Runs a pruner until it is closed."""

    def __init__(self, make: Callable[[Callable[[], bool]], Pruner], *, first: float = FIRST) -> None:
        """`make` is given what the pruner calls between two transactions."""
        super().__init__("retention", first=first)
        self._pruner = make(lambda: self._stopping.wait(BREATH))
        self.start()

    def turn(self) -> bool:
        """One round. Whatever goes wrong is said."""
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
