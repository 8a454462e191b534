"""The budget of one expression, and the only exception that the interpreter cannot swallow."""

from __future__ import annotations

import time

from controller.errors import AssayError, LimitExceeded
from controller.settings import PolicySettings

_CLOCK_EVERY = 128  # steps between two looks at the clock, however they were taken
BYTES_PER_STEP = 16  # what building or scanning this much costs, so that bytes cannot be had without steps


class Abort(BaseException):
    """Ends an evaluation at once with an Error.

    Not an `Exception`: cel-python turns those into values that `||`, `has` and `exists` ignore, and `f() || true` would
    be true although `f` crossed a bound or met evidence that cannot be read.
    """

    def __init__(self, error: AssayError) -> None:
        super().__init__(error)
        self.error = error


class Meter:
    """Counts what one evaluation costs: steps, wall-clock time, and the size of each value that is built."""

    __slots__ = ("_check_at", "_deadline", "_left", "_max_bytes", "_steps")

    def __init__(self, limits: PolicySettings) -> None:
        self._steps = limits.policy_cel_steps
        self._left = limits.policy_cel_steps
        self._check_at = self._left
        self._deadline = time.monotonic() + limits.policy_cel_timeout
        self._max_bytes = limits.policy_cel_max_value_bytes

    @property
    def used(self) -> int:
        """Steps taken so far."""
        return self._steps - self._left

    def step(self) -> None:
        """One node of the expression is evaluated."""
        self._left -= 1
        if self._left < 0:
            raise Abort(LimitExceeded("policy_cel_steps", f"the expression takes more than {self._steps} steps"))
        if self._left < self._check_at:
            self._check_clock()

    def charge(self, size: int) -> None:
        """Something of `size` bytes or entries is built, scanned or compared."""
        self._left -= size // BYTES_PER_STEP
        self.step()

    def build(self, size: int) -> None:
        """A value of `size` bytes or entries is about to be built."""
        self.bound(size)
        self.charge(size)

    def bound(self, size: int) -> None:
        """A value has grown to `size` bytes or entries; what it grew by is charged apart."""
        if size > self._max_bytes:
            raise Abort(LimitExceeded("policy_cel_max_value_bytes", "the expression builds too large a value"))

    def _check_clock(self) -> None:
        self._check_at = self._left - _CLOCK_EVERY
        if time.monotonic() > self._deadline:
            raise Abort(LimitExceeded("policy_cel_timeout", "the expression takes too long"))
