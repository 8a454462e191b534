"""What an expression comes to, as far as constants tell: a rule that can never be true denies everything.

Not a solver: what reads nothing is evaluated, and whatever reads something may come out any way.
"""

from __future__ import annotations

from enum import Enum

from controller.errors import AssayError
from controller.policy.cel.meter import Meter
from controller.policy.cel.program import Program
from controller.settings import PolicySettings


class Outcome(Enum):
    """How an evaluation may end."""

    TRUE = "true"
    FALSE = "false"
    FAILS = "fails"


Outcomes = frozenset[Outcome]
ANY: Outcomes = frozenset(Outcome)


def outcomes(program: Program, limits: PolicySettings) -> Outcomes:
    """Every way in which the expression may end; never less than that, often more."""
    if program.reads:
        return ANY
    try:
        held = program.holds({}, Meter(limits))
    except AssayError:
        return frozenset({Outcome.FAILS})
    return frozenset({Outcome.TRUE if held else Outcome.FALSE})
