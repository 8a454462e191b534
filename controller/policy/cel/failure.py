"""The ordinary error of an expression: the one thing that `||`, `&&`, `exists` and `all` may pass over."""

from __future__ import annotations

from controller.policy.cel.syntax import Place


class CelError(Exception):
    """A part of an expression that has no value, such as a missing field or a division by zero.

    The message names types and fields, never a value (guarantee 12). `place` is filled in by the call that failed. What
    must not be passed over is `meter.Abort`; what is neither is a fault of ours, and ends the evaluation too.
    """

    def __init__(self, message: str, place: Place | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.place = place
