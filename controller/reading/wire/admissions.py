"""The JSON of how an object was judged."""

from __future__ import annotations

from pydantic import Field

from controller.inventory.asking.asker import DEFAULT_LIMIT
from controller.inventory.asking.decisions.admissions import MAX_ADMISSIONS
from controller.reading.wire import Policy
from controller.reading.wire.base import InNamespace, Moment, MomentAsked, Paged, Shown, Text


class AdmissionsAsked(Paged, InNamespace):
    """Which object: its uid, or its name."""

    uid: Text | None = Field(None, description="The object's uid.")
    name: Text | None = Field(None, description="Its name, of whatever objects bore it.")
    kind: Text = Field("Pod", description="Its kind.")
    cluster: Text | None = Field(None, description="Only in this cluster.")
    as_of: MomentAsked | None = Field(None, description="What had been decided by then; default: now.")
    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_ADMISSIONS, description="Decisions on one page.")


class RuleValue(Shown):
    """One part of a policy: `true`, `false`, `error`, or `not asked` since something before it decided."""

    rule: str
    expression: str
    value: str
    code: str
    message: str


class JudgedImage(Shown):
    """One image under one version of one policy.

    `firstUsedAt` is when that version was first decided by; where a namespace is asked about, in that namespace.
    `rules` is null where they cannot be told, and `untold` says why: `PolicyVersionAbsent` (the policy's bytes are not
    kept any more, or were not yet known) or `PolicyVersionUnreadable`.
    """

    reference: str
    container: str
    digest: str | None
    policy: Policy
    first_used_at: Moment | None
    actions: list[str]
    outcome: str
    exceptions: list[str]
    rules: list[RuleValue] | None
    untold: str


class Admission(Shown):
    """One decision about the object, with every policy that judged it."""

    id: str
    decided_at: Moment
    recorded_at: Moment
    cluster: str
    namespace: str
    kind: str
    name: str
    object_uid: str
    operation: str
    username: str
    verdict: str
    flags: list[str]
    message: str
    judged: list[JudgedImage]


class AdmissionPage(Shown):
    """Decisions about an object, newest first. `cursor` is null on the last page."""

    items: list[Admission]
    cursor: str | None
