"""What a judgement found: reasons, kept apart by whether they say *no* or *cannot tell* (guarantee 6)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controller.model.decision import ErrorKind, Outcome, Reason


@dataclass(frozen=True, slots=True)
class Findings:
    """Reasons against an image. `unavailable` are what asking again later may mend, `unacceptable` what it may not.

    A policy is a conjunction: one part that is *violated* is violated whatever the parts that could not be judged would
    have said, so violations decide first. Otherwise `failurePolicy: Ignore` would admit, because one source is away, an
    image that is known to break a rule. After them decides what is unacceptable, then what is unavailable.

    `annotations` are keys and values for the audit log: no part of the outcome.
    """

    violations: tuple[Reason, ...] = ()
    unacceptable: tuple[Reason, ...] = ()
    unavailable: tuple[Reason, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()

    @property
    def outcome(self) -> Outcome:
        """VIOLATED, ERROR, or SATISFIED exactly when there is no reason at all."""
        if self.violations:
            return Outcome.VIOLATED
        return Outcome.ERROR if self.unacceptable or self.unavailable else Outcome.SATISFIED

    @property
    def error_kind(self) -> ErrorKind | None:
        """Set exactly when the outcome is ERROR."""
        if self.outcome is not Outcome.ERROR:
            return None
        return ErrorKind.UNACCEPTABLE if self.unacceptable else ErrorKind.UNAVAILABLE

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """All reasons, those that decided first."""
        return (*self.violations, *self.unacceptable, *self.unavailable)

    def __add__(self, other: Findings) -> Findings:
        return Findings(
            violations=self.violations + other.violations,
            unacceptable=self.unacceptable + other.unacceptable,
            unavailable=self.unavailable + other.unavailable,
            annotations=self.annotations + other.annotations,
        )

    @classmethod
    def of(cls, parts: Iterable[Findings]) -> Findings:
        """All parts together."""
        total = cls()
        for part in parts:
            total += part
        return total
