"""The JSON of what runs and would be refused."""

from __future__ import annotations

from pydantic import Field

from controller.reading.wire import Policy, Run
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Paged, Shown, Text


class RefusedAsked(InNamespace, Paged):
    """Filters and paging of the list of refused runs."""

    as_of: MomentAsked | None = Field(None, description="What ran then, and was refused by then; default: now.")
    cluster: Text | None = Field(None, description="Only of this cluster.")
    policy: Text | None = Field(None, description="Only by this policy: name, or namespace/name.")


class Refusal(Shown):
    """A policy's newest evaluation of the image in this namespace.

    `current`: by the last version that judged anything; where one namespace is asked about, anything there.
    """

    policy: Policy
    current: bool
    digest: str
    outcome: str
    error_kind: str
    reasons: list[str]
    since: Moment
    evaluated_at: Moment
    record: str


class RefusedRun(Shown):
    """A run, and the policies that refuse its image."""

    run: Run
    refusals: list[Refusal]


class RefusedPage(Shown):
    """Refused runs, the latest started first. `cursor` is null on the last page."""

    items: list[RefusedRun]
    cursor: str | None
