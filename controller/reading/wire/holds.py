"""The JSON of legal holds."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field

from controller.inventory.asking.cursors import MAX_CURSOR
from controller.inventory.retention.holds import Hold
from controller.reading.wire.base import Moment, MomentAsked, Paged, Shown


class HoldsAsked(Paged):
    """Which holds."""

    as_of: MomentAsked | None = Field(None, description="Those in force then; default: now.")
    lifted: bool = Field(False, description="Those that were lifted too.")
    cursor: str | None = Field(None, max_length=MAX_CURSOR, description="The last page's cursor.")


class HoldRecord(Shown):
    """A hold: what it keeps (all that is given holds together), why and by whom, and when it was lifted, if it was.

    `record` and `liftedRecord` are the records that say so.
    """

    name: str
    reason: str
    by: str
    placed_at: Moment
    record: str
    digest: str | None
    namespace: str | None
    begins: Moment | None
    ends: Moment | None
    lifted_at: Moment | None
    lifted_by: str | None
    lifted_record: str | None

    @classmethod
    def of(cls, hold: Hold) -> Self:
        """The JSON of a hold."""
        told: dict[str, Any] = {
            name: getattr(hold, name) for name in ("name", "reason", "by", "placed_at", "record", "lifted_at")
        }
        kept = {name: getattr(hold.what, name) for name in ("digest", "namespace", "begins", "ends")}
        return cls(**told, **kept, lifted_by=hold.lifted_by or None, lifted_record=hold.lifted_record or None)


class HoldPage(Shown):
    """Holds, in the order in which they were placed. `cursor` is null on the last page."""

    items: list[HoldRecord]
    cursor: str | None
