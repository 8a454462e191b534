"""Who read what, as JSON."""

from __future__ import annotations

from pydantic import Field

from controller.reading.wire.base import Moment, MomentAsked, Paged, Shown, Text


class ReadsAsked(Paged):
    """Filters of the list of reads."""

    as_of: MomentAsked | None = Field(None, description="What had been read by then; default: now.")
    username: Text | None = Field(None, description="Only of this user.")
    resource: Text | None = Field(None, description="Only of this: decisions, images, blobs, …")
    identity: Text | None = Field(None, description="Only of this digest or record.")
    since: MomentAsked | None = Field(None, description="Read then or later.")
    until: MomentAsked | None = Field(None, description="Read before then.")


class ReadRecord(Shown):
    """One read. `count` are the items of the answer, null where it went out as a stream; `status` 0 is a command."""

    id: str
    decided_at: Moment
    recorded_at: Moment
    cluster: str
    username: str
    via: str
    verb: str
    resource: str
    namespace: str
    identity: str
    parameters: dict[str, list[str]]
    status: int
    count: int | None


class ReadPage(Shown):
    """Who read what, the latest first. `cursor` is null on the last page."""

    items: list[ReadRecord]
    cursor: str | None
