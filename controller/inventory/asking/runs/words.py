"""What is said of a run, as it was known at a time: whether it went on, how it came to be, who signed.

Whoever joins on runs finds the words here. A time may be a value, or a parameter of a statement that is made once.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, case, or_, true

from controller.inventory.recording.proven import NOBODY_SIGNED
from controller.inventory.records import Admission

Condition = ColumnElement[bool]
Time = datetime | ColumnElement[Any]


def began(run: FromClause, *, as_of: Time | None, known_at: Time | None) -> Condition:
    """Whether this run (the table, or an alias of it) had begun by `as_of`, as it was known at `known_at`."""
    conditions: list[Condition] = []
    if known_at is not None:
        conditions.append(run.c.recorded_at <= known_at)
    if as_of is not None:
        conditions.append(run.c.started_at <= as_of)
    return and_(true(), *conditions)


def went_on(run: FromClause, *, as_of: Time | None, known_at: Time | None) -> Condition:
    """Whether a run went on at `as_of`, as it was known at `known_at`. Exact."""
    begun = began(run, as_of=as_of, known_at=known_at)
    return begun if as_of is None else and_(begun, ends_after(run, as_of, known_at))


def ends_after(run: FromClause, moment: Time, known_at: Time | None) -> Condition:
    """Whether a run was not known to have ended by this moment."""
    ends_later = or_(run.c.ended_at.is_(None), run.c.ended_at > moment)
    return ends_later if known_at is None else or_(ends_later, run.c.end_recorded_at > known_at)


def admission_of(run: FromClause, known_at: Time | None) -> ColumnElement[str]:
    """How a run came to be, as it was known."""
    if known_at is None:
        return run.c.admission
    return case(
        (run.c.admitted_at <= known_at, str(Admission.ADMITTED)),
        (or_(run.c.asked_at.is_(None), run.c.asked_at > known_at), str(Admission.UNADMITTED)),
        (or_(run.c.digest.is_(None), run.c.unresolved_at <= known_at), str(Admission.UNKNOWN)),
        else_=str(Admission.DRIFTED),
    )


def signers_of(run: FromClause, known_at: Time | None) -> ColumnElement[str]:
    """The set of those who signed what runs (`signer_set`), as it was known; empty if nobody had."""
    if known_at is None:
        return run.c.signers
    return case((run.c.admitted_at <= known_at, run.c.signers), else_=NOBODY_SIGNED)
