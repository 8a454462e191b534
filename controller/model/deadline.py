"""A deadline is a parameter, handed down from the caller, so that every wait in Assay ends in time."""

from __future__ import annotations

import time
from dataclasses import dataclass

from controller.errors import DeadlineExceeded


@dataclass(frozen=True, slots=True)
class Deadline:
    """An instant of the monotonic clock, in seconds, by which an answer must be there."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline that lies `seconds` from now."""
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.at - time.monotonic())

    def earlier(self, seconds: float) -> Deadline:
        """The same deadline with `seconds` kept back for what must still be done after it."""
        return Deadline(self.at - seconds)

    def check(self, doing: str) -> None:
        """Raise `DeadlineExceeded` when no time is left. `doing` completes "the deadline came while …"."""
        if self.remaining() <= 0:
            raise DeadlineExceeded("DeadlineExceeded", f"the deadline came while {doing}")
